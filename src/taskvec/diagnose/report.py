"""What one pass over a set of models finds: sums for each group of tensors, which add up to sums for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..ops.shapes import Float64, Int64

if TYPE_CHECKING:
    from .mergeability import Mergeability


@dataclass(frozen=True)
class Counts:
    """How often the entries of two task vectors meet, in blocks at even distances; (task, task) each.

    sampled: entries that were looked at. nonzero: those where both are not 0, and `opposite` those where their signs
    differ. kept: those that are among the largest of both, and `kept_opposite` those where their signs differ then.
    The diagonals say how many entries of each task are nonzero, and kept.
    """

    sampled: int
    nonzero: Int64[np.ndarray, "task task"]
    opposite: Int64[np.ndarray, "task task"]
    kept: Int64[np.ndarray, "task task"]
    kept_opposite: Int64[np.ndarray, "task task"]

    def __add__(self, other: "Counts") -> "Counts":
        """Add up disjoint groups of entries."""
        return Counts(
            self.sampled + other.sampled,
            self.nonzero + other.nonzero,
            self.opposite + other.opposite,
            self.kept + other.kept,
            self.kept_opposite + other.kept_opposite,
        )


@dataclass(frozen=True)
class Rounding:
    """What is lost where θ + Δ is rounded to the type of the output.

    For each task (Δ = τ_t), and last for the average merge (Δ = mean_t τ_t): `energy` is |Δ|², `lost` is
    |round(θ + Δ) - (θ + Δ)|², `gone` counts the entries with Δ ≠ 0 whose stored bits do not change, `changed` those
    with Δ ≠ 0. Of the sampled blocks alone.
    """

    energy: Float64[np.ndarray, " task+1"]
    lost: Float64[np.ndarray, " task+1"]
    gone: Int64[np.ndarray, " task+1"]
    changed: Int64[np.ndarray, " task+1"]

    def __add__(self, other: "Rounding") -> "Rounding":
        """Add up disjoint groups of entries."""
        return Rounding(
            self.energy + other.energy,
            self.lost + other.lost,
            self.gone + other.gone,
            self.changed + other.changed,
        )


@dataclass(frozen=True)
class Matrix:
    """The spectra of one matrix's task vectors: their leading k directions, and how they lie to each other.

    values: (task, k) leading singular values, falling. energy: (task,) |τ|_F². sure: (task,) the largest error of a
    singular value, relative to the first one; 0 where the decomposition was exact.
    left, right: (task, task, k) cosines of the principal angles between the spans of the leading left (right)
    singular vectors, falling. interference: Σ |(UᵀU - I) Σ (VᵀV - I)|₁ over the tasks' vectors side by side, and
    `alone` Σ_t Σ_i σ_ti, which it is divided by. (singular task interference, Gargiulo et al. 2025)
    """

    name: str
    shape: tuple[int, int]
    values: Float64[np.ndarray, "task k"]
    energy: Float64[np.ndarray, " task"]
    sure: Float64[np.ndarray, " task"]
    left: Float64[np.ndarray, "task task k"]
    right: Float64[np.ndarray, "task task k"]
    interference: float
    alone: float


@dataclass(frozen=True)
class Group:
    """The tensors of one kind in one layer, or of many.

    layer: the number of the layer; None outside of layers, and for sums over layers. stack: what is before the number
    in the names ("model.layers"). kind: "q", "k", "v", "o", "attention" (fused or other), "mlp", "norm", "embedding",
    "head", "experts", "convolution", "other", or "all".
    base: |θ|². gram: K_ij = ⟨τ_i, τ_j⟩, exact over all entries. largest: (task,) max |τ| over entries.
    matrices: spectra, where they were asked for.
    """

    stack: str
    layer: int | None
    kind: str
    tensors: int
    entries: int
    base: float
    gram: Float64[np.ndarray, "task task"]
    largest: Float64[np.ndarray, " task"]
    counts: Counts
    rounding: Rounding
    matrices: tuple[Matrix, ...] = ()

    @property
    def norms(self) -> Float64[np.ndarray, " task"]:
        """|τ_t|."""
        norms: Float64[np.ndarray, " task"] = np.sqrt(np.diagonal(self.gram))
        return norms

    def __add__(self, other: "Group") -> "Group":
        """Add up disjoint groups; the sum has the layer and the kind that both have, or None and "all"."""
        return Group(
            self.stack if self.stack == other.stack else "",
            self.layer if (self.stack, self.layer) == (other.stack, other.layer) else None,
            self.kind if self.kind == other.kind else "all",
            self.tensors + other.tensors,
            self.entries + other.entries,
            self.base + other.base,
            self.gram + other.gram,
            np.maximum(self.largest, other.largest),
            self.counts + other.counts,
            self.rounding + other.rounding,
            self.matrices + other.matrices,
        )


@dataclass(frozen=True)
class Report:
    """How a set of models relates.

    models: names, in the order of every "task" axis. groups: in the order of the model, one for each layer and kind.
    dtype: the type that rounding was measured for. kept: the share of each tensor's entries that counted as largest.
    dead: tensors that no model changed; exploding: (model, tensor, ratio) where |τ| > |θ|.
    spectra: how many directions of each matrix were looked at; 0 where none were.
    mergeability: what a merge is expected to cost; None where curvature was not measured.
    """

    base: str
    models: tuple[str, ...]
    dtype: str
    kept: float
    groups: tuple[Group, ...]
    dead: tuple[str, ...] = ()
    exploding: tuple[tuple[str, str, float], ...] = ()
    spectra: int = 0
    read_bytes: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    mergeability: "Mergeability | None" = None

    @property
    def total(self) -> Group:
        """All tensors together."""
        return summed(self.groups)

    def by_layer(self) -> tuple[Group, ...]:
        """One group for each layer of each stack, and one for what is outside of layers."""
        keys = dict.fromkeys((g.stack, g.layer) for g in self.groups)
        parts = [[g for g in self.groups if (g.stack, g.layer) == key] for key in keys]
        return tuple(replace(summed(own), kind="all") for own in parts)

    def by_kind(self) -> tuple[Group, ...]:
        """One group for each kind, over all layers."""
        kinds = dict.fromkeys(g.kind for g in self.groups)
        return tuple(replace(summed([g for g in self.groups if g.kind == k]), stack="", layer=None) for k in kinds)


def summed(groups: Sequence[Group]) -> Group:
    """Add up disjoint groups."""
    out = groups[0]
    for group in groups[1:]:
        out = out + group
    return out
