"""What every kind of evaluation offers."""

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
