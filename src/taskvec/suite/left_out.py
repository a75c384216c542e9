"""Each task of a suite left out in turn, and located among the others from a few of its examples."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import RecipeError
from ..evaluate.classification import Classification
from ..evaluate.data import Examples, read, some_of
from ..evaluate.digest import digest_of
from ..evaluate.kept import versions
from ..evaluate.model import Model
from ..evaluate.score import Score
from ..finetune.lessons import Lesson
from ..locating import contest
from ..locating.contest import Contest, FewShot, put_base
from ..locating.few import check_few
from ..locating.known import Known, known_models
from ..locating.place import Place, place
from ..locating.products import Products, products_of
from ..locating.signals import Kind, signal_of
from ..progress import Progress, Silent
from .examples import examples_of, is_classification, source_of
from .heads import head_of, reading_of
from .load import Loaded
from .notes import Notes
from .specialists import Places, base_of, specialist_of, trained
from .tasks import chosen

MAKING = "2"
"""Raised when what a cell holds changes, so that older ones are not found again."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is tried.

    examples: how many of the task that is left out, the same number of the others for calibration.
    seeds: how often, each time with other examples. test: at most so many held-out examples are scored.
    signal: see `locating.signals.signal_of`. how: how the few examples are trained on.
    """

    examples: tuple[int, ...] = (16, 64, 256)
    seeds: int = 5
    test: int | None = 500
    signal: Kind = "gradient"
    how: FewShot = field(default_factory=FewShot)

    def __post_init__(self) -> None:
        """Refuse what tries nothing.

        Raises:
            RecipeError: a number below 1, or no number of examples.
        """
        numbers = {"examples": min(self.examples, default=0), "seeds": self.seeds, "test": self.test or 1}
        for name, number in numbers.items():
            if number < (2 if name == "examples" else 1):
                raise RecipeError(f"--{name} must be at least {2 if name == 'examples' else 1}, got {number}.")


@dataclass(frozen=True)
class Cell:
    """One task left out, with so many examples: what was found and whether each answer was right.

    right: row → a digit an example of the test, 1 where the answer is the label.
    """

    task: str
    examples: int
    seed: int
    verdict: str
    reason: str
    reference: float
    explained: float
    nearest: str
    weights: Mapping[str, float]
    fitted: Mapping[str, float]
    right: Mapping[str, str]
    seconds: float


def leave_out(
    loaded: Loaded,
    places: Places,
    asked: Asked | None = None,
    *,
    device: str = "auto",
    only: Sequence[str] = (),
    progress: Progress | None = None,
    tell: Any = None,
) -> list[Cell]:
    """Leave every task out in turn; what was done before an interruption is found again.

    A cell is (task, number of examples, seed). The specialists of the other tasks are the known models; the verdict is
    calibrated by as many examples of each of these. Models are scored in the suite's precision. The task's own
    specialist is never looked at, and its test examples for nothing but scores.

    Args:
        loaded: the suite.
        places: where its specialists are, and where the notes are kept.
        asked: what is tried.
        device: where models are run.
        only: the tasks that are left out; all when empty. All are known.
        progress: told how far a single step is.
        tell: told of every cell.

    Raises:
        RecipeError: fewer than three tasks, or one that has no classes.
        StoreError: a specialist that is not there, or was trained otherwise.
    """
    work = LeftOut(loaded, places, asked or Asked(), device, progress or Silent())
    out = []
    tried = chosen(loaded, only)
    for seed in range(work.asked.seeds):
        for count in work.asked.examples:
            for task in tried:
                found = work.notes.find("cell", task, count, seed)
                data = found or work.notes.add("cell", task, count, seed, _cell(work, task, count, seed))
                out.append(Cell(task, count, seed, **data))
                if tell and not found:
                    tell(f"{len(out)}/{work.asked.seeds * len(work.asked.examples) * len(tried)} {_said(out[-1])}")
    return out


def _said(cell: Cell) -> str:
    means = {row: f"{100 * digits.count('1') / len(digits):.1f}" for row, digits in cell.right.items()}
    numbers = ", ".join(f"{row} {mean}" for row, mean in means.items())
    return f"{cell.task}, {cell.examples} examples, seed {cell.seed}: {numbers}; {cell.verdict} in {cell.seconds:.0f} s"


def lessons_of(loaded: Loaded, base: Model, count: int, seed: int = 0) -> list[Lesson]:
    """Return a few examples of the training split of every task of a file, and their heads.

    Raises:
        RecipeError: a task that has no classes.
        TaskVecError: data that cannot be read, or a head that cannot be made.
    """
    out = []
    for name in loaded.suite.tasks:
        if not is_classification(loaded, name):
            raise RecipeError(f"'{name}' has no classes, so a few of its examples have no gradient to locate it by.")
        few = some_of(read(replace(source_of(loaded, name, "train"), limit=None)), count, seed)
        check_few(few)
        out.append(Lesson(name, few, head_of(loaded, name, base, few.names), reading_of(loaded, name)))
    return out


class LeftOut:
    """A suite in hand, and what was found so far."""

    def __init__(self, loaded: Loaded, places: Places, asked: Asked, device: str, progress: Progress) -> None:
        self.loaded, self.places, self.progress = loaded, places, progress
        training = loaded.suite.training
        how = replace(asked.how, frozen=tuple(training.frozen), precision=training.precision)
        self.asked = replace(asked, how=how)
        self.names = chosen(loaded)
        _check(loaded, self.names)
        self.base = base_of(loaded, device=device, precision="float32")
        self.scored = base_of(loaded, device=device)
        trained(loaded, places, self.base)
        paths = [specialist_of(loaded, name, places) for name in self.names]
        vectors = known_models(str(self.base.path), paths).vectors.values()
        by_name = dict(zip(self.names, vectors, strict=True))
        self.known = Known(str(self.base.path), by_name, dict(zip(self.names, paths, strict=True)))
        self.tests = {name: self._test(name) for name in self.names}
        self._train: dict[str, Examples] = {}
        self._products: dict[tuple[int, int], Products] = {}
        settings = {k: v for k, v in asdict(self.asked).items() if k not in ("examples", "seeds")}
        facts = [MAKING, versions(), settings, str(self.base.device), self.scored.precision, self.base.content]
        facts += [[Model(path).content for path in paths], [task.digest for task in self.tests.values()]]
        self.notes = Notes(places.folder / "left-out" / f"{digest_of(*facts)[:12]}.jsonl")

    def _test(self, name: str) -> Classification:
        examples = examples_of(self.loaded, name, "test")
        most = self.asked.test
        few = examples if most is None or len(examples) <= most else some_of(examples, most, 0)
        return Classification(name, few, self._head(name, few), reading_of(self.loaded, name))

    def lesson(self, name: str, count: int, seed: int) -> Lesson:
        """Return a few examples of a task's training split."""
        if name not in self._train:
            self._train[name] = read(replace(source_of(self.loaded, name, "train"), limit=None))
        few = some_of(self._train[name], count, seed)
        check_few(few)
        return Lesson(name, few, self._head(name, few), reading_of(self.loaded, name))

    def _head(self, name: str, examples: Examples) -> Any:
        return head_of(self.loaded, name, self.base, examples.names, self.places.heads)

    def products(self, count: int, seed: int) -> Products:
        """Return the inner products of every task's signal with every known vector, in the order of the tasks."""
        if (count, seed) not in self._products:
            put_base(self.base)
            found = [self._probe(name, count, seed) for name in self.names]
            first = _products(found[0])
            sums, energy = (np.concatenate([np.array(p[key]) for p in found], axis=1) for key in ("products", "energy"))
            self._products = {(count, seed): replace(first, products=sums, energy=energy)}
        return self._products[count, seed]

    def _probe(self, name: str, count: int, seed: int) -> dict[str, Any]:
        """Return the inner products of one task's signal with every known vector, as data."""
        if found := self.notes.find("probe", name, count, seed):
            return found
        signal = signal_of(self.base, self.lesson(name, count, seed), self.asked.signal, self.progress)
        products = products_of(self.known, [signal], progress=self.progress)
        data = {key: x.tolist() if hasattr(x, "tolist") else list(x) for key, x in vars(products).items()}
        return self.notes.add("probe", name, count, seed, data)

    def score(self, what: str, task: str, make: Any) -> str:
        """Return the digits of a score that no example decides: found again, or found out."""
        if not (found := self.notes.find(what, task, 0, 0)):
            found = self.notes.add(what, task, 0, 0, {"right": _digits(make())})
        return str(found["right"])


def _check(loaded: Loaded, names: Sequence[str]) -> None:
    if len(names) < 3:
        raise RecipeError(f"{loaded.file} has {len(names)} tasks. To leave one out and know some, give at least three.")
    if strange := [name for name in names if not is_classification(loaded, name)]:
        raise RecipeError(f"'{strange[0]}' has no classes, so a few of its examples have no gradient to locate it by.")


def _products(data: Mapping[str, Any]) -> Products:
    """Return inner products from what was noted of them."""
    arrays = {key: np.array(data[key]) for key in ("gram", "products", "energy", "entries", "plain", "lengths")}
    return Products(tuple(data["tasks"]), tuple(data["groups"]), **arrays)


def _digits(score: Score) -> str:
    assert score.values is not None, "an accuracy is a mean of examples"
    return "".join(str(int(x)) for x in score.values)


def located(work: LeftOut, task: str, count: int, seed: int) -> Place:
    """Locate a task among the others; the reference is what these others' own examples have explained."""
    known = work.known.without(task)
    products = work.products(count, seed).among(known.names)
    others = [work.names.index(name) for name in known.names]
    probes = products.of_signals(others)
    return place(known, products, work.names.index(task), kind=work.asked.signal, probes=probes)


def _cell(work: LeftOut, task: str, count: int, seed: int) -> dict[str, Any]:
    """Locate a task, and score every row."""
    began = time.perf_counter()
    found = located(work, task, count, seed)
    lesson = work.lesson(task, count, seed)
    how = replace(work.asked.how, seed=seed)
    arena = Contest(work.base, work.tests[task], how, scored=work.scored, progress=work.progress)
    right = {
        contest.BASE: work.score(contest.BASE, task, lambda: arena.base(found)),
        contest.UNIFORM: work.score(contest.UNIFORM, task, lambda: arena.uniform(found)),
        contest.NEAREST: work.score(f"single {found.nearest}", task, lambda: arena.single(found, found.nearest)),
        contest.LOCATED: _digits(arena.located(found)),
        contest.TUNED: _digits(arena.tuned(found, lesson)),
        contest.LOCATED_TUNED: _digits(arena.located_tuned(found, lesson)),
    }
    score, fitted = arena.weights(found, lesson)
    return {
        "verdict": found.verdict, "reason": found.reason, "reference": found.reference,
        "explained": float(found.overall.span.explained), "nearest": found.nearest,
        "weights": _named(found.known, found.weights.tolist()), "fitted": _named(found.known, fitted),
        "right": {**right, contest.WEIGHTS: _digits(score)}, "seconds": time.perf_counter() - began,
    }  # fmt: skip


def _named(known: Known, numbers: Sequence[float]) -> dict[str, float]:
    return {name: round(float(x), 4) for name, x in zip(known.names, numbers, strict=True)}
