"""What every kind of evaluation offers."""

from collections.abc import Sequence
from typing import Protocol

from .model import Model
from .score import Score


class Task(Protocol):
    """Something that models are scored on: data, and whatever turns a model's answers into a number."""

    @property
    def name(self) -> str:
        """What it is called in tables."""

    @property
    def metric(self) -> str:
        """What the number is: accuracy, spearman, perplexity."""

    @property
    def larger_is_better(self) -> bool:
        """Whether a larger number is a better one."""

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides a score but the model."""

    def check(self, model: Model) -> None:
        """Refuse a model that this task does not fit, before any work."""

    def score(self, model: Model, share: float = 1.0) -> Score:
        """Return the score of a model, on a share of the examples where one is asked for."""


def hashes(tasks: Sequence[Task]) -> dict[str, dict[str, str | None]]:
    """Return of each task the hash of its examples, and that of all that decides its scores but the model.

    By the first two results are known to be of one split, whatever heads they were scored with.
    """
    return {task.name: {"examples": _examples(task), "task": task.digest} for task in tasks}


def _examples(task: Task) -> str | None:
    parts = [getattr(task, part, None) for part in ("examples", "queries", "documents")]
    return " ".join(part.digest for part in parts if part is not None) or None
