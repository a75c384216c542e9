"""Sums from which the price of a merge follows; those of disjoint tensors add up to those of a model."""

from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from .shapes import Float64

Which = Literal["plain", "flat", "curved"]
"""The mean of task vectors; the mean in the subspace without curvature; the same with it."""


@dataclass(frozen=True)
class Merged:
    """How each task's loss lies along one merge m; (task,) each.

    bend: ⟨m, H_t m⟩. apart: ⟨m - δ_t, H_t (m - δ_t)⟩. inside: ⟨m - S d_t, H_t (m - S d_t)⟩, the part of it that lies in
    the subspace (of the plain mean, which does not lie there, this says nothing). norm: |m|².
    """

    bend: Float64[np.ndarray, " task"]
    apart: Float64[np.ndarray, " task"]
    inside: Float64[np.ndarray, " task"]
    norm: float

    def __add__(self, other: "Merged") -> "Merged":
        """Add up disjoint tensors."""
        return Merged(
            self.bend + other.bend, self.apart + other.apart, self.inside + other.inside, self.norm + other.norm
        )


@dataclass(frozen=True, kw_only=True)
class MergeSums:
    """What is known before some tensors are merged; see `mergeability.merge_sums`, which makes it of one.

    Units: those of the curvature; of losses, for curvature of losses. Quadratic forms have no ½ in them.

    weights: (task,) λ, which sum to 1. tensors, entries, directions: how many; directions are coordinates, p.
    own: (task,) ⟨δ_t, H_t δ_t⟩. kept: (task,) ⟨S d_t, H_t S d_t⟩. residual: (task,) ⟨r_t, H_t r_t⟩, r_t = δ_t - S d_t.
    flat, curved, plain: three merges. eta: η = cᵀH̄⁻¹c. cross: (d_I - d_H)ᵀ H̄ d_H.
    traces, inside: (task,) tr(H_t) and tr(SᵀH_tS); NaN where metrics do not know theirs.
    uneven: (task,) |H̃_t - H̄|_F². size: |H̄|_F². least, largest: the ends of H̄'s spectrum.
    negative: tensors in which H̄ has negative eigenvalues. unsolved: the largest residual of the equations for d_H.
    shared: (task, task) ½(|U_sᵀU_t|_F² + |V_sᵀV_t|_F²) of the tasks' own singular vectors. ranks: (task, task) of how
    many. estimated: tensors of which `uneven` and the ends of the spectrum are estimates.
    """

    weights: Float64[np.ndarray, " task"]
    tensors: int
    entries: int
    directions: int
    own: Float64[np.ndarray, " task"]
    kept: Float64[np.ndarray, " task"]
    residual: Float64[np.ndarray, " task"]
    flat: Merged
    curved: Merged
    plain: Merged
    eta: float
    cross: float
    traces: Float64[np.ndarray, " task"]
    inside: Float64[np.ndarray, " task"]
    uneven: Float64[np.ndarray, " task"]
    size: float
    least: float
    largest: float
    negative: int
    unsolved: float
    shared: Float64[np.ndarray, "task task"]
    ranks: Float64[np.ndarray, "task task"]
    estimated: int

    def __add__(self, other: "MergeSums") -> "MergeSums":
        """Add up disjoint tensors; of the spectrum, its ends are kept.

        Raises:
            ValueError: other weights.
        """
        if not np.array_equal(self.weights, other.weights):
            raise ValueError("sums under different weights do not add up")
        ends: dict[str, Any] = {"least": min(self.least, other.least), "largest": max(self.largest, other.largest)}
        ends |= {"unsolved": max(self.unsolved, other.unsolved), "weights": self.weights}
        added = [f.name for f in fields(self) if f.name not in ends]
        return MergeSums(**ends, **{name: getattr(self, name) + getattr(other, name) for name in added})

    @property
    def gains(self) -> Float64[np.ndarray, " task"]:
        """What each task's own vector takes off its loss, as the quadratic has it: ½⟨δ_t, H_t δ_t⟩; (task,)."""
        return self.own / 2

    def excess(self, which: Which = "curved", scale: float = 1.0) -> Float64[np.ndarray, " task"]:
        """Return L_t(θ_0 + s m) - L_t(θ_t) as the quadratics have it: ½⟨s m - δ_t, H_t (s m - δ_t)⟩; (task,).

        |s m - δ|² = s |m - δ|² + (s² - s) |m|² + (1 - s) |δ|²: no small difference of large numbers at s = 0 and 1.
        """
        merged = self._of(which)
        return (scale * merged.apart + (scale * scale - scale) * merged.bend + (1 - scale) * self.own) / 2

    def best_scale(self, which: Which = "curved") -> float:
        """Return the scale of a mean with the least mean excess loss: Σ λ_t ⟨m, H_t δ_t⟩ / Σ λ_t ⟨m, H_t m⟩.

        Zero: 1 where no curvature lies along the merge.
        """
        bend = float(self.weights @ self._of(which).bend)
        return float(self.weights @ self.pull(which)) / bend if bend > 0 else 1.0

    def pull(self, which: Which = "curved") -> Float64[np.ndarray, " task"]:
        """Return ⟨m, H_t δ_t⟩, (task,): up to a constant, the excess loss at scale s is s²/2 · bend - s · pull."""
        merged = self._of(which)
        pull: Float64[np.ndarray, " task"] = (merged.bend + self.own - merged.apart) / 2
        return pull

    def variance(self, which: Which = "curved", scale: float = 1.0) -> float:
        """Return F(s d) = Σ λ_t (s d - d_t)ᵀ H̃_t (s d - d_t), the subspace Fréchet variance V_S.

        Its least value is that of the curved mean, at scale 1; merges that sum have a scale of T.
        """
        merged = self._of(which)
        each = scale * merged.inside + (scale * scale - scale) * merged.bend + (1 - scale) * self.kept
        return float(self.weights @ each)

    @property
    def residual_energy(self) -> float:
        """R_S = Σ λ_t ⟨r_t, H_t r_t⟩: what the subspace leaves out."""
        return float(self.weights @ self.residual)

    def bounds(self, which: Which = "curved", scale: float = 1.0) -> tuple[float, float]:
        """Return V_S + R_S, and the tighter ½(√V_S + √R_S)²: neither is less than the weighted mean excess loss.

        Source: EpiMer, Theorem 2, without its third-order remainder; the tighter one is Minkowski's inequality.
        """
        v, r = max(0.0, self.variance(which, scale)), max(0.0, self.residual_energy)
        return v + r, (v**0.5 + r**0.5) ** 2 / 2

    def scaled_gain(self, scale: float) -> tuple[float, float]:
        """Return F(s d_I) - F(s d_H) as its two terms: s² η, and 2 s (s - 1) (d_I - d_H)ᵀ H̄ d_H, which has no sign.

        So curvature never loses at s = 1, and may lose where merges sum (s = T).
        """
        return scale * scale * self.eta, 2 * scale * (scale - 1) * self.cross

    @property
    def relative_eta(self) -> float:
        """η / F(d_I), between 0 and 1; 0 where F(d_I) is 0."""
        flat = self.variance("flat")
        return self.eta / flat if flat > 0 else 0.0

    @property
    def condition(self) -> float:
        """The largest eigenvalue of H̄ over its least; Inf where the least is not above 0."""
        return self.largest / self.least if self.least > 0 else float("inf")

    @property
    def non_uniformity(self) -> Float64[np.ndarray, " task"]:
        """|H̃_t - H̄|_F / |H̄|_F, (task,): 0 where a task bends its loss as the mean does."""
        return np.sqrt(self.uneven / self.size) if self.size > 0 else np.zeros_like(self.uneven)

    @property
    def interference(self) -> Float64[np.ndarray, "task task"]:
        """½(|U_sᵀU_t|_F² + |V_sᵀV_t|_F²) / k: 1 for the same directions, 0 for orthogonal ones or none."""
        found: Float64[np.ndarray, "task task"]
        found = np.divide(self.shared, self.ranks, out=np.zeros_like(self.shared), where=self.ranks > 0)
        return found

    def _of(self, which: Which) -> Merged:
        found: Merged = getattr(self, which)
        return found
