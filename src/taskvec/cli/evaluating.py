"""`taskvec eval`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from ..evaluate.data import Source, split_names
from ..evaluate.figure import figure
from ..evaluate.kept import Kept, default_folder, score_all
from ..evaluate.model import Model
from ..evaluate.results import Results, Row, as_data
from ..evaluate.score import Score
from ..evaluate.summary import Number
from ..evaluate.task import hashes
from ..merge.registry import suggest
from ..store.writer import room_for, write_whole
from ..suite.load import Loaded, load_suite
from ..suite.schema import ClassifyEntry, Suite
from ..suite.tasks import chosen, tasks_of
from .show import as_json, progress, say, table

DEFAULT_HEAD = "labels"


@dataclass(frozen=True)
class How:
    """How models are scored: on which split, in which precision, where, and where scores are kept."""

    split: Any
    precision: Any
    device: str
    cache: Path | None
    keep: bool

    def model(self, path: str, precision: Any, base: Model | None = None) -> Model:
        """Return a model to be scored; `precision` is what the file says, and the base reads what it cannot read."""
        inputs = base.path if base else None
        return Model(path, device=self.device, precision=self.precision or precision, inputs=inputs)

    @property
    def kept(self) -> Kept:
        """Where scores are kept."""
        return Kept(self.cache or default_folder()) if self.keep else Kept(None)


def loaded_from(tasks: Path | None, one: dict[str, Any], base: str | None, root: Path | None) -> Loaded:
    """Return the file of tasks, or the one task that options describe."""
    if tasks is not None and one.get("data"):
        raise RecipeError("give either --tasks or --data, not both.")
    for option in ("columns", "labels", "head") if tasks is not None else ():
        if one.get(option) and one[option] != DEFAULT_HEAD:
            raise RecipeError(f"--{option} describes the file of --data; with --tasks, write it into {tasks}.")
    if tasks is not None:
        loaded = load_suite(tasks, root)
        suite = loaded.suite.model_copy(update={"base": base}) if base else loaded.suite
        return Loaded(suite, loaded.file, loaded.root)
    if not one.get("data"):
        raise RecipeError("there is nothing to score on. Type --tasks tasks.yaml, or --data test.tsv.")
    path = Path(one["data"])
    name = path.name.split(".")[0] if not one["data"].startswith("datasets:") else one["data"].split("/")[-1]
    data = {"data": one["data"], "columns": one["columns"], "labels": one["labels"], "head": _head(one["head"])}
    source = Source(path=one["data"], columns=tuple(one["columns"]))
    if not one["data"].startswith("datasets:") and not split_names(source):
        data["splits"] = {"train": None, "test": None}
    suite = Suite.model_validate({"base": base, "tasks": {name: data}})
    return Loaded(suite, path, Path())


def _head(said: str) -> dict[str, str]:
    """Return the entry of a head: one of the kinds that are made, or a file."""
    made = ("labels", "class_means", "ridge", "trained")
    if said in made:
        return {"kind": said}
    if not Path(said).is_file():
        raise RecipeError(f"--head is one of {', '.join(made)}, or a head's file, got '{said}'.{suggest(said, made)}")
    return {"kind": "file", "file": said}


def evaluate(
    models: Sequence[str],
    loaded: Loaded,
    only: Sequence[str],
    how: How,
    per_class: bool,
    picture: Path | None,
    save_heads: bool,
    json: bool,
    quiet: bool,
) -> int:
    """Score models and print a table."""
    suite = loaded.suite
    if picture is not None:
        room_for(picture)
    named = how.model(loaded.place(suite.base), suite.precision) if suite.base else None
    hands = [how.model(path, suite.precision, named) for path in models]
    base = named or hands[0]
    for hand in hands if save_heads else ():
        room_for(hand.path / "heads" / "head")
    if not suite.base and not (quiet or json):
        _note_on_base(loaded, base)
    if how.split == "validation":
        say("note: scores on validation examples choose settings; report those on the test split.")
    tasks = tasks_of(loaded, base, how.split, only)
    shown = progress(quiet or json)
    rows = [Row(m.name, score_all(m, tasks, how.kept, shown), {"fingerprint": m.content}) for m in hands]
    results = Results(rows, _specialists(loaded, chosen(loaded, only), tasks, how, base, shown))
    if picture is not None:
        write_whole(picture, figure(results, loaded.name if suite.name else "scores"))
    if save_heads:
        _save_heads(hands, tasks)
    if json:
        as_json({**as_data(results), "split": how.split, "data": hashes(tasks)})
        return 0
    print_results(results)
    if per_class:
        _print_classes(results)
    if picture is not None and not quiet:
        say(f"The picture is {picture}.")
    return 0


def _note_on_base(loaded: Loaded, first: Model) -> None:
    entries = loaded.suite.tasks.values()
    if any(isinstance(e, ClassifyEntry) and e.head.kind not in ("file", "checkpoint") for e in entries):
        say(f"note: heads are made with {first.name}; to compare merges, name the base they start from: --base.")


def _specialists(
    loaded: Loaded, names: Sequence[str], tasks: Sequence[Any], how: How, base: Model, shown: Any
) -> dict[str, Score]:
    """Return the specialists' scores on their own tasks, where the file names one for every task."""
    paths = {name: loaded.suite.tasks[name].model for name in names}
    if not all(paths.values()):
        return {}
    scores = {}
    for task in tasks:
        specialist = how.model(loaded.place(str(paths[task.name])), loaded.suite.precision, base)
        scores[task.name] = score_all(specialist, [task], how.kept, shown)[0]
    return scores


def _save_heads(models: Sequence[Model], tasks: Sequence[Any]) -> None:
    for model in models:
        for task in tasks:
            if head := getattr(task, "head", None):
                head.save(model.path / "heads" / f"{task.name}.safetensors")


def print_results(results: Results) -> None:
    """Print a row a model: its score on every task, and what they come to."""
    columns = ["model", *results.tasks]
    summaries = [results.summary(row) for row in results.rows]
    several = results.comparable and len(results.tasks) > 1
    columns += ["mean", "worst"] if several else []
    columns += ["normalised"] if several and results.specialists else []
    lines = []
    for row, summary in zip(results.rows, summaries, strict=True):
        line = [row.name, *(said(s) for s in row.scores)]
        if several and summary:
            line += [numbered(summary.mean), numbered(summary.worst)]
            line += [numbered(summary.normalised)] if summary.normalised else []
        lines.append(line)
    table("", columns, lines)
    metrics = dict.fromkeys(s.metric for row in results.rows for s in row.scores)
    print(f"{', '.join(metrics)}, with 95 % bootstrap intervals over the examples.")


def said(score: Score) -> str:
    """Say a score with its interval: shares in per cent."""
    return numbered(Number(score.value, score.low, score.high), score.larger_is_better)


def numbered(number: Number, share: bool = True) -> str:
    """Say a number with its interval.

    >>> numbered(Number(0.7712, 0.751, 0.79)), numbered(Number(31.25, 30.0, 33.5), share=False)
    ('77.1 (75.1–79.0)', '31.25 (30–33.5)')

    Without an interval the number stands alone.
    """
    if number.low == number.high:
        return f"{100 * number.value:.1f}" if share and -1 <= number.value <= 2 else f"{number.value:.4g}"
    if share and number.low >= -1 and number.high <= 2:
        return f"{100 * number.value:.1f} ({100 * number.low:.1f}–{100 * number.high:.1f})"
    return f"{number.value:.4g} ({number.low:.4g}–{number.high:.4g})"


def _print_classes(results: Results) -> None:
    for row in results.rows:
        for score in row.scores:
            classes = score.details.get("per_class", {})
            lines = [
                [name, *(f"{100 * c[key]:.1f}" for key in ("precision", "recall", "f1")), str(c["examples"])]
                for name, c in classes.items()
            ]
            table(f"\n{row.name}: {score.task}", ["class", "precision", "recall", "F1", "examples"], lines)
