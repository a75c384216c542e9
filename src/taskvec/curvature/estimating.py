"""What is estimated, how, and what comes out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..errors import RecipeError
from ..merge.registry import suggest

if TYPE_CHECKING:
    import torch

Estimator = Literal["empirical_fisher", "batch_fisher", "fisher", "ggn", "kfac", "ekfac", "gram"]
Kind = Literal["diagonal", "kronecker", "eigen", "gram"]

KINDS: Mapping[str, Kind] = {
    "empirical_fisher": "diagonal",
    "batch_fisher": "diagonal",
    "fisher": "diagonal",
    "ggn": "diagonal",
    "kfac": "kronecker",
    "ekfac": "eigen",
    "gram": "gram",
}
"""Estimator → how what it finds is stored."""


@dataclass(frozen=True, kw_only=True)
class Estimating:
    """How curvature is estimated.

    estimator: which, see `estimate`.
    examples: at most so many of the lesson's, evenly over the labels; None: all.
    batch: examples a pass, at most. Only `batch_fisher` depends on it: it squares the mean gradients of batches.
    draws: how many labels are drawn for each example, where labels are drawn.
    seed: of the choice of examples, of the labels that are drawn, and of the two halves that stability is measured by.
    labels: of `kfac` and `ekfac`: drawn from the model (`sampled`), or the examples' own (`data`).
    gradient: whether the mean gradient is kept, too.
    """

    estimator: Estimator = "empirical_fisher"
    examples: int | None = None
    batch: int = 32
    draws: int = 1
    seed: int = 0
    labels: Literal["sampled", "data"] = "sampled"
    gradient: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be done.

        Raises:
            RecipeError: an unknown estimator, other labels, or a number below 1.
        """
        if self.estimator not in KINDS:
            near = suggest(self.estimator, list(KINDS))
            raise RecipeError(f"unknown estimator '{self.estimator}'.{near} Known: {', '.join(KINDS)}.")
        if self.labels not in ("sampled", "data"):
            raise RecipeError(f"'labels' is 'sampled' or 'data', got {self.labels!r}.")
        for name, number in (("examples", self.examples), ("batch", self.batch), ("draws", self.draws)):
            if number is not None and number < 1:
                raise RecipeError(f"'{name}' must be at least 1, got {number}.")

    @property
    def kind(self) -> Kind:
        """How what is found is stored."""
        return KINDS[self.estimator]

    @property
    def drawn(self) -> bool:
        """Whether labels are drawn from the model."""
        return self.estimator == "fisher" or (self.kind in ("kronecker", "eigen") and self.labels == "sampled")


@dataclass(frozen=True)
class Estimate:
    """Curvature in memory.

    kind: how it is stored. tensors: the weight's name in the model's files → part → values; the part '' is of the
    weight's own shape, the others are those of `store.statistics`. facts: what statistics.json will say.
    """

    kind: Kind
    tensors: Mapping[str, Mapping[str, "torch.Tensor"]]
    facts: Mapping[str, Any]


ESTIMATORS = get_args(Estimator)
