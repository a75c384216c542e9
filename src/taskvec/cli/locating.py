"""`taskvec locate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import OutputError, RecipeError
from ..evaluate.classification import Classification
from ..evaluate.data import Examples, Source, some_of
from ..evaluate.model import Model
from ..evaluate.results import Row, score_data
from ..evaluate.summary import difference
from ..finetune.lessons import Lesson
from ..locating.contest import BASE, Contest, FewShot
from ..locating.few import TEST, few_of, lesson_of
from ..locating.known import Known, known_models, names_in
from ..locating.locate import By, locate_task
from ..locating.place import Place
from ..locating.realise import write_recipe
from ..ops.location import Location
from ..progress import Progress
from ..store.catalog import Catalog
from ..suite.left_out import lessons_of
from ..suite.load import load_suite
from .evaluating import said
from .show import as_json, progress, say, table

SHOWN = 20
"""Known models that are printed, those with the largest weights and cosines; JSON has all."""

NEXT = {
    "retrieve": "The known models hold this task: take their merge as it is.",
    "recombine": "A merge of known models goes some of the way: take it, or fine-tune from it.",
    "learn": "Most of this task is new: fine-tune. Where examples are few, try it from the merge, too (--evaluate).",
    "undecided": "Give examples of known tasks (--calibrate tasks.yaml), or see its worth (--evaluate test.tsv).",
}


@dataclass(frozen=True)
class Few:
    """Where the few examples are, how they are read, and which of them are taken."""

    data: str | None
    columns: Sequence[str]
    labels: Sequence[str]
    head: str
    count: int | None
    seed: int

    def source(self, path: str) -> Source:
        """Return a file of examples of the task."""
        return Source(path=path, columns=tuple(self.columns), labels=tuple(self.labels))

    def read(self) -> Examples | None:
        """Return the few examples; None where there are none."""
        if self.data is None:
            return None
        found = few_of(self.source(self.data))
        if self.count is not None and self.count < 2:
            raise RecipeError(f"--examples must be at least 2, got {self.count}.")
        return found if self.count is None else some_of(found, self.count, self.seed)


@dataclass(frozen=True)
class How:
    """What a task is located by, and what is scored."""

    signal: Any
    metric: Any
    weights: str
    checkpoint: str | None
    top: int
    calibrate: Path | None
    evaluate: str | None
    steps: int
    rate: float
    unrelated: bool


def locate(
    base: str,
    known: Sequence[str],
    catalog: Path | None,
    few: Few,
    how: How,
    recipe: Path | None,
    layers: bool,
    device: str,
    force: bool,
    json: bool,
    quiet: bool,
) -> int:
    """Locate a task, print where it lies, write the merge, score it."""
    if recipe is not None and recipe.exists() and not force:
        raise OutputError(f"{recipe} exists. Type --force to replace it, or another name.")
    training = FewShot(steps=how.steps, rate=how.rate, seed=few.seed)
    among, examples = _among(base, known, catalog, how.unrelated), few.read()
    if examples is None and how.evaluate:
        raise RecipeError("--evaluate trains on a few examples of the task. Give --data.")
    held_out = few_of(few.source(str(how.evaluate)), TEST) if how.evaluate else None
    model, shown = Model(base, device=device), progress(quiet or json)
    lesson = None if examples is None else lesson_of(model, Path(str(few.data)).name.split(".")[0], examples, few.head)
    task = Classification(lesson.name, held_out, lesson.head, lesson.reading) if lesson and held_out else None
    if task:
        task.check(model)
    calibrated = _calibrated(how.calibrate, model, among, examples, few.seed)
    by = By(signal=how.signal, metric=how.metric, checkpoint=how.checkpoint, top=how.top, layers=how.weights == "layer")
    place = locate_task(model, among, lesson, by, calibrated, shown)
    rows = _contest(model, task, place, lesson, training, shown)
    for name in place.zeros:
        say(f"note: '{name}' is equal to the base: a task vector of zeros, which has no direction and no weight.")
    if json:
        written = str(recipe) if recipe and place.recipe else None
        as_json({**place.data, "examples": len(examples) if examples else 0, "recipe": written,
                 "scores": {row.name: {**row.facts, **score_data(row.scores[0])} for row in rows}})  # fmt: skip
    else:
        _print(place, examples, layers)
        _print_rows(rows)
    _write(place, recipe, few)  # last: where there is no merge to write, what was found has been said
    if recipe and not json:
        print(f"{recipe}: the merge that realises it. Type: taskvec merge {recipe} -o located")
    return 0


def _among(base: str, known: Sequence[str], catalog: Path | None, unrelated: bool) -> Known | Catalog:
    """Return the known models, or the catalogue that holds them."""
    if known and catalog:
        raise RecipeError("give either --known or --catalog, not both.")
    if catalog is None:
        return known_models(base, known, unrelated)
    held = Catalog(catalog)
    for note in held.notes:
        say(f"note: {note}")
    names_in(held, base)
    return held


def _calibrated(
    path: Path | None, base: Model, among: Known | Catalog, examples: Examples | None, seed: int
) -> list[Lesson]:
    """Return as many examples of each known task as there are of the new one."""
    if path is None:
        return []
    if examples is None:
        raise RecipeError("a checkpoint is a whole task vector and needs no calibration. Leave --calibrate out.")
    loaded = load_suite(path)
    names = among.names if isinstance(among, Known) else tuple(names_in(among, str(base.path)))
    if strange := [name for name in loaded.suite.tasks if name not in names]:
        raise RecipeError(f"'{strange[0]}' in {path} is none of the known models, which are {', '.join(names[:8])}.")
    return lessons_of(loaded, base, len(examples), seed)


def _contest(
    base: Model, task: Classification | None, place: Place, lesson: Lesson | None, how: FewShot, shown: Progress
) -> list[Row]:
    if task is None or lesson is None:
        return []
    arena = Contest(base, task, how, progress=shown)
    rows = arena.all(place, lesson)
    for note in arena.notes:
        say(f"note: {note}")
    return rows


def _write(place: Place, path: Path | None, few: Few) -> None:
    if path is None:
        return
    if place.recipe is None:
        raise RecipeError("no known vector points the task's way, so there is no merge to write. Fine-tune the base.")
    by = f"checkpoint {place.facts['checkpoint']}" if place.signal == "checkpoint" else f"{place.signal} of {few.data}"
    norm = (
        "its weights are those of the nearest point of the cone"
        if place.signal == "checkpoint"
        else "its norm is the mean of its task vectors' norms, by their shares"
    ) + (", layer by layer" if place.by_layer else "")
    said = [f"Found by taskvec locate: {by}, {place.metric}; {norm}.", f"{place.verdict}: {place.reason}."]
    write_recipe(place.recipe, path, said)


def _print(place: Place, examples: Examples | None, layers: bool) -> None:
    if examples is not None:
        loss = f", loss {place.facts['loss']:.3f} at the base" if "loss" in place.facts else ""
        print(f"{len(examples)} examples of {len(examples.names)} classes{loss}")
    cosines = place.overall.cosines
    order = sorted(range(len(place.known.names)), key=lambda i: (-place.weights[i], -cosines[i]))
    rows = [
        [place.known.names[i], f"{place.weights[i]:.3f}", f"{cosines[i]:+.4f}", f"{place.norms[i]:.3g}"]
        for i in order[:SHOWN]
    ]
    table("", ["model", "weight", "cosine", "norm"], rows)
    if len(order) > SHOWN:
        print(f"and {len(order) - SHOWN} more")
    if layers:
        table("\nlayer by layer", ["layer", "span", "nearest", "cosine", "verdict"], _layers(place))
    print(_shares(place))
    print(f"{place.verdict}: {place.reason}.\n{NEXT[place.verdict]}")


def _layers(place: Place) -> list[list[str]]:
    def line(name: str, one: Location) -> list[str]:
        best = place.nearest_in(one)
        cosine = f"{one.cosines[place.known.names.index(best)]:+.4f}"
        share = f"{100 * float(one.span.explained):.3g} %"
        return [name, share, best, cosine, str(one.verdict)]

    return [line(name, one) for name, one in place.groups.items()]


def _shares(place: Place) -> str:
    """Say what is explained, by what, and what is left."""
    found = place.overall
    span, cone = float(found.span.explained), float(found.cone.explained)
    known = "" if place.reference is None else f", a known task has {100 * place.reference:.3g} %"
    return (
        f"{place.signal}, {place.metric}: the span of the known vectors explains {100 * span:.3g} % of it, merges with "
        f"weights above 0 {100 * cone:.3g} %; a random direction {100 * float(found.random_mean):.2g} %{known}. "
        f"Residual: {100 * (1 - span):.4g} %."
    )


def _print_rows(rows: Sequence[Row]) -> None:
    if not rows:
        return
    base = next(row for row in rows if row.name == BASE)
    lines = []
    for row in rows:
        gain = difference(row.scores, base.scores)
        over = "" if row is base else f"{100 * gain.value:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
        named = f"{row.name} ({row.facts['model']})" if "model" in row.facts else row.name
        lines.append([named, said(row.scores[0]), over])
    count = rows[0].scores[0].count
    table(f"\n{rows[0].scores[0].metric} on {count} held-out examples", ["model", "score", "over base"], lines)
    print("with 95 % bootstrap intervals over the examples, differences in pairs.")
