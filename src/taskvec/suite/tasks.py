"""From the entries of a file to tasks that score models."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import RecipeError
from ..evaluate.classification import Classification
from ..evaluate.model import Model
from ..evaluate.task import Task
from ..merge.registry import suggest
from .examples import Split, examples_of
from .heads import head_of, reading_of
from .load import Loaded
from .other_kinds import other_task
from .schema import ClassifyEntry


def chosen(loaded: Loaded, only: Sequence[str] = ()) -> list[str]:
    """Return the names of the tasks that are merged, all but the control, or of those asked for.

    Raises:
        RecipeError: one that is not there.
    """
    known = list(loaded.suite.tasks)
    for name in only:
        if name not in known:
            raise RecipeError(f"{loaded.file} has no task '{name}'.{suggest(name, known)} It has {', '.join(known)}.")
    return [name for name in known if (name in only if only else name != loaded.suite.control)]


def tasks_of(
    loaded: Loaded, base: Model, split: Split = "test", only: Sequence[str] = (), heads: Path | None = None
) -> list[Task]:
    """Return the tasks of a suite on a split, with their heads.

    Args:
        loaded: the suite.
        base: the model that heads are made with.
        split: which examples are scored; training examples never are.
        only: the tasks asked for; all when empty.
        heads: where made heads are kept.

    Raises:
        RecipeError: a task that is not there, or the training split.
        TaskVecError: data that cannot be read, or a head that cannot be made.
    """
    if split == "train":
        raise RecipeError("models are not scored on the split that they were trained on. Type 'test' or 'validation'.")
    return [_task(loaded, name, base, split, heads) for name in chosen(loaded, only)]


def _task(loaded: Loaded, name: str, base: Model, split: Split, heads: Path | None) -> Task:
    entry = loaded.suite.tasks[name]
    if isinstance(entry, ClassifyEntry):
        examples = examples_of(loaded, name, split)
        head = head_of(loaded, name, base, examples.names or tuple(entry.labels), heads)
        return Classification(name, examples, head, reading_of(loaded, name))
    return other_task(loaded, name, split)
