"""Consensus task arithmetic: Wang et al. 2024, arXiv:2405.07813, eq. 4 and §5."""

from collections.abc import Sequence


def tall_mask(tau: float, merged: float, tall: float) -> bool:
    """m_t: the multi-task model is nearer to the fine-tuned one, λ times as far as it is, than the base is."""
    return abs(tau) >= tall * abs(merged - tau)


def consensus_ta(
    deltas: Sequence[Sequence[float]], weights: Sequence[float], *, tall: Sequence[float], k: float
) -> list[float]:
    """τ_MTL where at least k masks are 1, else 0."""
    out = []
    for entries in zip(*deltas, strict=True):
        merged = 0.0
        for weight, entry in zip(weights, entries, strict=True):
            merged += weight * entry
        wanted = sum(tall_mask(tau, merged, lam) for tau, lam in zip(entries, tall, strict=True))
        out.append(merged if wanted >= k else 0.0)
    return out
