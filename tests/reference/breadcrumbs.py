"""Model Breadcrumbs: Davari & Belilovsky 2024, arXiv:2312.06795, §3."""

import math
from collections.abc import Sequence

from .ties import elect_and_merge, norm_back


def nearest(share: float, n: int) -> int:
    """The nearest number of entries to a share of n."""
    return min(n, math.floor(share * n + 0.5))


def mask(tau: Sequence[float], density: float, gamma: float) -> list[float]:
    """m^{β,γ}: zero for the γ largest and the β smallest of a layer, one for the density = 1 - β - γ between.

    At least one entry stays. Entries as large as the first or the last that stays, stay too.
    """
    n = len(tau)
    if n == 0:
        return []
    by_size = sorted((abs(x) for x in tau), reverse=True)
    outliers = min(nearest(gamma, n), n - 1)
    kept = max(1, min(nearest(density, n), n - outliers))
    largest, smallest = by_size[outliers], by_size[outliers + kept - 1]
    return [x if smallest <= abs(x) <= largest else 0.0 for x in tau]


def masks(
    deltas: Sequence[Sequence[float]], density: Sequence[float], gamma: Sequence[float], rescale: str
) -> list[list[float]]:
    """Each task's mask, applied; with its L1 norm given back where that is asked for."""
    masked = [mask(tau, d, g) for tau, d, g in zip(deltas, density, gamma, strict=True)]
    if rescale == "mergekit":
        return [norm_back(tau, kept) for tau, kept in zip(deltas, masked, strict=True)]
    return masked


def breadcrumbs(
    deltas: Sequence[Sequence[float]],
    weights: Sequence[float],
    *,
    density: Sequence[float],
    gamma: Sequence[float],
    rescale: str = "none",
) -> list[float]:
    """θ* = θ + Σ w_t m_t τ_t, without θ."""
    masked = masks(deltas, density, gamma, rescale)
    merged = []
    for entries in zip(*masked, strict=True):
        tau = 0.0
        for weight, entry in zip(weights, entries, strict=True):
            tau += weight * entry
        merged.append(tau)
    return merged


def breadcrumbs_ties(
    deltas: Sequence[Sequence[float]],
    weights: Sequence[float],
    *,
    density: Sequence[float],
    gamma: Sequence[float],
    elect: str = "sum",
    combine: str = "mean",
    tied: str = "zero",
    rescale: str = "none",
) -> list[float]:
    """The masks, then steps 2 and 3 of TIES-Merging."""
    masked = masks(deltas, density, gamma, rescale)
    return elect_and_merge(masked, weights, elect=elect, combine=combine, tied=tied)
