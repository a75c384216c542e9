"""TIES-Merging: Yadav et al. 2023, arXiv:2306.01708, Algorithm 1."""

import math
from collections.abc import Sequence


def sgn(x: float) -> int:
    """The paper's sign: that of 0 is 0."""
    return (x > 0) - (x < 0)


def keep_topk(tau: Sequence[float], density: float) -> list[float]:
    """Step 1: keep the largest share of entries by magnitude, and all that are as large as the last of them."""
    k = max(1, math.floor(density * len(tau) + 0.5))
    magnitudes = sorted((abs(x) for x in tau), reverse=True)
    threshold = magnitudes[k - 1] if magnitudes else 0.0
    return [x if abs(x) >= threshold else 0.0 for x in tau]


def norm_back(tau: Sequence[float], kept: Sequence[float]) -> list[float]:
    """mergekit's rescaling: one factor that gives what was kept the L1 norm of the whole."""
    before, after = math.fsum(abs(x) for x in tau), math.fsum(abs(x) for x in kept)
    return [x * before / after for x in kept] if after else list(kept)


def elect_sign(entries: Sequence[float], weights: Sequence[float], elect: str, tied: str) -> int:
    """Step 2: γ = sgn(Σ τ̂_t); of the weighted entries or of the signs alone where that is asked for."""
    vote = 0.0
    for weight, entry in zip(weights, entries, strict=True):
        if elect == "sum":
            vote += entry
        elif elect == "weighted":
            vote += abs(weight) * entry
        elif elect == "count":
            vote += sgn(entry)
    if vote == 0:
        return 1 if tied == "positive" else 0
    return sgn(vote)


def disjoint_merge(entries: Sequence[float], weights: Sequence[float], winner: int, combine: str) -> float:
    """Step 3: the mean over A = {t : sgn(τ̂_t) = γ}, or another sum over A."""
    agreeing = [(abs(w), x) for w, x in zip(weights, entries, strict=True) if sgn(x) == winner and x != 0]
    total = 0.0
    for weight, entry in agreeing:
        total += weight * entry
    if combine == "sum":
        return total
    share = sum(w for w, _ in agreeing) if combine == "mean" else len(agreeing)
    return total / share if share else 0.0


def ties(
    deltas: Sequence[Sequence[float]],
    weights: Sequence[float],
    *,
    density: Sequence[float],
    elect: str = "sum",
    combine: str = "mean",
    tied: str = "zero",
    rescale: str = "none",
) -> list[float]:
    """Trim, elect, merge. A negative weight turns its task vector around first."""
    trimmed = [keep_topk(tau, d) for tau, d in zip(deltas, density, strict=True)]
    if rescale == "mergekit":
        trimmed = [norm_back(tau, kept) for tau, kept in zip(deltas, trimmed, strict=True)]
    return elect_and_merge(trimmed, weights, elect=elect, combine=combine, tied=tied)


def elect_and_merge(
    trimmed: Sequence[Sequence[float]], weights: Sequence[float], *, elect: str, combine: str, tied: str
) -> list[float]:
    """Steps 2 and 3, whatever was kept of the task vectors."""
    merged = []
    for entries in zip(*trimmed, strict=True):
        turned = [-x if w < 0 else x for w, x in zip(weights, entries, strict=True)]
        winner = elect_sign(turned, weights, elect, tied)
        merged.append(disjoint_merge(turned, weights, winner, combine))
    return merged
