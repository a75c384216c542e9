"""The splits of a task: what is trained on, what coefficients are chosen on, what is reported."""

from typing import Literal

from ..errors import RecipeError
from ..evaluate.data import Examples, Source, read, split_names
from .load import Loaded
from .schema import ClassifyEntry, DataEntry

Split = Literal["train", "validation", "test"]


def source_of(loaded: Loaded, name: str, split: Split) -> Source:
    """Return where the examples of a task's split are.

    Without a validation split of its own, a share of the training split is held out label by label, and the training
    split is what remains. The two never share an example, and the test split is never read for either.

    Raises:
        RecipeError: the task has no such split.
    """
    suite, entry = loaded.suite, loaded.suite.tasks[name]
    assert isinstance(entry, DataEntry), "only tasks with data of their own have splits"
    asked, examples = entry.splits, suite.examples
    own = {"train": asked.train, "validation": asked.validation, "test": asked.test}[split]
    carved = asked.validation is None and split != "test"
    if carved and asked.train is None:
        raise RecipeError(f"task '{name}' has no {split} split. Name one under 'splits'.")
    label = None if entry.kind == "perplexity" else entry.label
    limits = {"train": suite.training.examples, "validation": examples.validation, "test": examples.test}
    return Source(
        path=loaded.place(entry.data),
        columns=tuple(entry.columns),
        text=entry.text[0] if entry.text and len(entry.text) == 1 else tuple(entry.text or ()) or None,
        image=entry.image,
        label=label,
        labels=tuple(entry.labels) if label else (),
        scores=entry.kind == "similarity" or getattr(entry, "metric", "") == "spearman",
        split=asked.train if carved else own,
        held_out=examples.held_out if carved else 0.0,
        part=("held_out" if split == "validation" else "kept") if carved else "all",
        limit=limits[split],
        seed=examples.seed,
    )


def examples_of(loaded: Loaded, name: str, split: Split) -> Examples:
    """Return the examples of a task's split.

    Raises:
        TaskVecError: they cannot be read; the message says of which task.
    """
    try:
        source = source_of(loaded, name, split)
        if split == "test":
            _check_apart(loaded, name, source)
        return read(source)
    except Exception as exc:
        exc.add_note(f"the {split} split of task '{name}' in {loaded.file}")
        raise


def _check_apart(loaded: Loaded, name: str, source: Source) -> None:
    """Refuse to score on a whole file of which a part is trained on."""
    entry = loaded.suite.tasks[name]
    assert isinstance(entry, DataEntry), "only tasks with data of their own have splits"
    learnt = {entry.splits.train, entry.splits.validation} & set(split_names(source)) if source.split is None else {}
    if learnt:
        raise RecipeError(
            f"task '{name}' has no 'test' split, so all of {source.path} would be scored, '{min(map(str, learnt))}' "
            f"included. Name its test split under 'splits', or type 'train: null'."
        )


def is_classification(loaded: Loaded, name: str) -> bool:
    """Tell whether a task is one of classes, for which heads and specialists can be made."""
    return isinstance(loaded.suite.tasks[name], ClassifyEntry)
