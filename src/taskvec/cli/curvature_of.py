"""`taskvec curvature`."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..curvature import Cost, Estimating, measure_curvature
from ..diagnose.kinds import kind_of
from ..errors import RecipeError
from ..evaluate.data import read
from ..evaluate.model import Model
from ..finetune.lessons import Lesson
from ..store.statistics import Statistics, check_new
from ..suite.examples import source_of
from ..suite.heads import head_of, reading_of
from ..suite.load import Loaded
from ..suite.schema import ClassifyEntry
from ..suite.tasks import chosen
from .evaluating import loaded_from
from .show import as_json, duration, progress, say, size, table


@dataclass(frozen=True)
class Places:
    """Where the models and the tasks are, and how models are run."""

    model: str | None
    base: str | None
    tasks: Path | None
    only: Sequence[str]
    root: Path | None
    precision: Any
    device: str


def measure(
    places: Places, one: dict[str, Any], how: Estimating, out: Path, force: bool, json: bool, quiet: bool
) -> int:
    """Measure one task, or each task of a file, and print what was found."""
    if places.tasks is None and not one["data"]:
        raise RecipeError("there is no data to measure on. Type --data train.tsv, or --tasks tasks.yaml.")
    loaded = loaded_from(places.tasks, one, places.base, places.root)
    names = chosen(loaded, places.only)
    folders = {name: out / name if places.tasks else out for name in names}
    paths = {name: _model_of(loaded, name, places) for name in names}
    for folder in folders.values() if not places.tasks else ():
        check_new(folder, force)
    calm = quiet or json
    if not (calm or loaded.suite.base):
        say("note: the model itself makes the head; where that was made with the base, name it: --base.")
    found = {}
    for name, model, lesson in _lessons(loaded, paths, places):
        tell = None if calm else (lambda cost, name=name: say(_beforehand(name, cost, how)))
        kept = places.tasks is not None and not force  # a file of tasks is gone on with
        found[name] = measure_curvature(model, lesson, folders[name], how, progress(calm), force, tell, kept)
        if not calm:
            _print(name, found[name])
    if json:
        as_json({name: {"path": str(folders[name]), **one.facts} for name, one in found.items()})
    return 0


def _model_of(loaded: Loaded, name: str, places: Places) -> str:
    """Return the model that is measured on a task.

    Raises:
        RecipeError: there is none, or the task has no classes.
    """
    entry = loaded.suite.tasks[name]
    if not isinstance(entry, ClassifyEntry):
        raise RecipeError(f"'{name}' is of the kind '{entry.kind}'; curvature is measured on tasks with classes.")
    if places.model:
        return places.model
    if not entry.model:
        what = f"'{name}' in {loaded.file} names no model. Type 'model: …' there, or" if places.tasks else "Type"
        raise RecipeError(f"there is no model to measure. {what} --model.")
    return loaded.place(entry.model)


def _lessons(loaded: Loaded, paths: dict[str, str], places: Places) -> Iterator[tuple[str, Model, Lesson]]:
    suite = loaded.suite
    precision = places.precision or suite.precision
    base = Model(loaded.place(suite.base), device=places.device) if suite.base else None
    for name, path in paths.items():
        model = Model(path, device=places.device, precision=precision, inputs=base.path if base else None)
        entry = suite.tasks[name]
        assert isinstance(entry, ClassifyEntry), "others were refused"
        whole = entry.splits.train is None and entry.splits.test is None  # a file without splits is taken whole
        split: Any = "test" if whole else "train"
        examples = read(replace(source_of(loaded, name, split), limit=None))
        head = head_of(loaded, name, base or model, examples.names or tuple(entry.labels))
        yield name, model, Lesson(name, examples, head, reading_of(loaded, name))


def _beforehand(name: str, cost: Cost, how: Estimating) -> str:
    """Say what a measurement will take."""
    passes = (
        f"{cost.forward} × forward and {cost.backward} × backward" if cost.backward else f"{cost.forward} × forward"
    )
    alone = "; one by one, as some weights cannot be told apart in batches" if cost.alone else ""
    return (
        f"{name}: {how.estimator} of {cost.examples} examples in {cost.batches} batches{alone}; each {passes}; "
        f"{size(cost.disk)} on disk, {size(cost.memory)} in memory and the activations of a batch"
    )


def _print(name: str, found: Statistics) -> None:
    facts = found.facts
    tensors = (facts["stability"] or {}).get("tensors", {})
    groups: dict[str, list[str]] = defaultdict(list)
    for tensor in found.names:
        groups[kind_of(tensor)].append(tensor)
    total = facts["total"] or 1.0
    rows = []
    for kind, inside in sorted(groups.items(), key=lambda group: -_trace(facts, group[1])):
        trace = _trace(facts, inside)
        errors = sorted(tensors[t][0] for t in inside if t in tensors and tensors[t][0] is not None)
        middle = f"{100 * errors[len(errors) // 2]:.3g} %" if errors else "—"
        rows.append([kind, str(len(inside)), f"{trace:.3g}", f"{100 * trace / total:.3g} %", middle])
    table(f"{name}: {facts['kind']}, {len(found.names)} tensors", ["kind", "tensors", "trace", "share", "error"], rows)
    print(f"trace {facts['total']:.4g} over {facts['count']:,} entries, in {duration(facts['seconds'])}: {found.path}")
    print(_stability(facts))
    for what, why in (("unseen", "no gradient reaches"), ("unnamed", "the model's files have no name for")):
        if facts[what]:
            more = f" and {len(facts[what]) - 1} more" if len(facts[what]) > 1 else ""
            print(f"without statistics, as {why} them: {facts[what][0]}{more}")


def _trace(facts: dict[str, Any], tensors: Sequence[str]) -> float:
    return float(sum(facts["traces"][tensor] for tensor in tensors))


def _stability(facts: dict[str, Any]) -> str:
    found = facts["stability"]
    if not found or found["error"] is None:
        return "error: not known, as there are no two halves to compare"
    expected = ", ".join(f"{100 * error:.3g} % with {count}" for count, error in found["expected"].items())
    return (
        f"error {100 * found['error']:.3g} % by two halves of the {found['examples']} examples "
        f"(cosine {found['cosine']:.4f}); expected: {expected}"
    )
