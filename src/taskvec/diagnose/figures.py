"""What follows from the sums of a group of tensors: cosines, shares, and how far chance can move them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..ops.shapes import Float64, Int64
from .report import Group, Matrix, Rounding

NEAR = 0.99
"""Cosine from which two task vectors count as near copies, and below minus which as near opposites."""

SINGULAR = 1e-10
"""Directions of a Gram matrix with less than this share of the largest do not count."""


@dataclass(frozen=True)
class Share:
    """Shares of entries, and one standard error of each from having looked at a part of them.

    Edge: a share of nothing is NaN.
    """

    value: Float64[np.ndarray, "..."]
    error: Float64[np.ndarray, "..."]


def cosines(group: Group) -> Float64[np.ndarray, "task task"]:
    """Return cos_ij = K_ij / (|τ_i| |τ_j|).

    Zero: a vector of zeros has no direction: its cosines are 0, that with itself too.
    """
    norms = group.norms
    both = np.outer(norms, norms)
    found = np.divide(group.gram, both, out=np.zeros_like(both), where=both > 0)
    np.fill_diagonal(found, norms > 0)
    clipped: Float64[np.ndarray, "task task"] = np.clip(found, -1, 1)
    return clipped


def mean_cosine(group: Group) -> float:
    """Return the mean cosine of all pairs of vectors that are not zero; NaN where there is no pair."""
    some = np.flatnonzero(group.norms > 0)
    if len(some) < 2:
        return float("nan")
    return float(cosines(group)[np.ix_(some, some)][np.triu_indices(len(some), 1)].mean())


def relative_change(group: Group) -> Float64[np.ndarray, " task"]:
    """Return |τ_t| / |θ|.

    Zero: where the base is all zeros, 0 for vectors of zeros and Inf for others.
    """
    norms, base = group.norms, np.sqrt(group.base)
    change: Float64[np.ndarray, " task"] = norms / base if base > 0 else np.where(norms > 0, np.inf, 0.0)
    return change


def in_span(group: Group) -> Float64[np.ndarray, " task"]:
    """Return the share of |τ_t|² that lies in the span of the other vectors: 1 - 1 / (K_tt (K⁻¹)_tt).

    Singular: found as k_tᵀ K_others⁺ k_t / K_tt, which is the same where K can be inverted, and holds where it cannot:
    1 for each of two copies.

    Zero: a vector of zeros has no share outside, nor inside: 0.
    """
    cos = cosines(group)
    shares = np.zeros(len(cos))
    for t in np.flatnonzero(np.diagonal(cos)):
        others = np.delete(np.arange(len(cos)), t)
        if others.size:
            inverse = np.linalg.pinv(cos[np.ix_(others, others)], rcond=SINGULAR, hermitian=True)
            shares[t] = cos[t, others] @ inverse @ cos[t, others]
    return np.clip(shares, 0, 1)


def sign_conflict(group: Group) -> Share:
    """Return the share of entries of opposite sign, among those where both vectors are not 0."""
    counts = group.counts
    return _share(counts.opposite, counts.nonzero, counts.sampled, group.entries)


def trimmed_conflict(group: Group) -> Share:
    """Return the share of entries of opposite sign, among those that are among the largest of both vectors."""
    counts = group.counts
    return _share(counts.kept_opposite, counts.kept, counts.sampled, group.entries)


def overlap(group: Group) -> Share:
    """Return how far the largest entries of two vectors are the same ones: |A ∩ B| / |A ∪ B| (Jaccard).

    By chance it would be k / (2 - k) where each keeps a share k.
    """
    kept = group.counts.kept
    own = np.diagonal(kept)
    union = np.where(np.outer(own, own) > 0, own[:, None] + own[None, :] - kept, 0)
    return _share(kept, union, group.counts.sampled, group.entries)


def mean_pair(values: Float64[np.ndarray, "task task"]) -> float:
    """Return the mean over all pairs of two different vectors; NaN where none is a number."""
    pairs = values[np.triu_indices(len(values), 1)]
    pairs = pairs[np.isfinite(pairs)]
    return float(pairs.mean()) if pairs.size else float("nan")


def lost(rounding: Rounding) -> Float64[np.ndarray, " task+1"]:
    """Return |round(θ + Δ) - (θ + Δ)|² / |Δ|², for each task and last for their average.

    Zero: 0 where Δ is zero.
    """
    return _divided(rounding.lost, rounding.energy)


def gone(rounding: Rounding) -> Float64[np.ndarray, " task+1"]:
    """Return the share of entries with Δ ≠ 0 that the output stores as the base has them; 0 where there are none."""
    return _divided(rounding.gone, rounding.changed)


def zero_vectors(group: Group) -> npt.NDArray[np.bool_]:
    """Tell which models are equal to the base."""
    zero: npt.NDArray[np.bool_] = group.norms == 0
    return zero


def nearest(group: Group) -> list[tuple[int, float] | None]:
    """Return for each vector which other one has the largest cosine with it, and that cosine; None without another."""
    cos = cosines(group)
    some = np.flatnonzero(np.diagonal(cos))
    found: list[tuple[int, float] | None] = []
    for t in range(len(cos)):
        others = some[some != t]
        best = others[np.argmax(cos[t, others])] if t in some and others.size else None
        found.append(None if best is None else (int(best), float(cos[t, best])))
    return found


def near_copies(group: Group, above: float = NEAR) -> list[tuple[int, int, float]]:
    """Return pairs of vectors whose cosine is larger than `above`, and the cosine."""
    return _pairs(cosines(group), above)


def near_opposites(group: Group, above: float = NEAR) -> list[tuple[int, int, float]]:
    """Return pairs of vectors whose cosine is smaller than minus `above`, and the cosine."""
    return [(i, j, -cos) for i, j, cos in _pairs(-cosines(group), above)]


def stable_rank(matrix: Matrix) -> Float64[np.ndarray, " task"]:
    """Return |τ_t|_F² / σ_1²: how many directions a matrix has, counted by their energy; 0 for one of zeros."""
    return _divided(matrix.energy, matrix.values[:, 0] ** 2)


def shared_subspace(cosines_of_angles: Float64[np.ndarray, "task task k"]) -> Float64[np.ndarray, "task task"]:
    """Return Σ cos² φ_i / k over the principal angles: 1 for the same subspace, 0 for orthogonal ones."""
    mean: Float64[np.ndarray, "task task"] = np.mean(cosines_of_angles**2, axis=-1)
    return mean


def interference(matrix: Matrix) -> float:
    """Return a matrix's singular task interference as a share of what its vectors weigh alone; 0 for zeros."""
    return matrix.interference / matrix.alone if matrix.alone > 0 else 0.0


def _divided(of: npt.NDArray[Any], by: npt.NDArray[Any]) -> Float64[np.ndarray, " n"]:
    """Return of / by, and 0 where there is nothing to divide by."""
    out: Float64[np.ndarray, " n"] = np.divide(of, by, out=np.zeros(len(by)), where=by > 0)
    return out


def changed(matrices: Sequence[Matrix]) -> list[Matrix]:
    """Return the matrices that at least one task changed; frozen ones have no directions."""
    return [matrix for matrix in matrices if matrix.energy.any()]


def _pairs(cos: Float64[np.ndarray, "task task"], above: float) -> list[tuple[int, int, float]]:
    first, second = np.triu_indices(len(cos), 1)
    return [(int(i), int(j), float(cos[i, j])) for i, j in zip(first, second, strict=True) if cos[i, j] > above]


def _share(
    of: Int64[np.ndarray, "task task"], among: Int64[np.ndarray, "task task"], sampled: int, entries: int
) -> Share:
    """Return of / among, with the error of a binomial count, which is less the more of the entries were seen."""
    n = among.astype(np.float64)
    value = np.divide(of, n, out=np.full_like(n, np.nan), where=n > 0)
    unseen = max(0.0, 1 - sampled / entries) if entries else 0.0
    variance = np.divide(value * (1 - value), n, out=np.full_like(n, np.nan), where=n > 0)
    return Share(value, np.sqrt(variance * unseen))
