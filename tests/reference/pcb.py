"""PCB-Merging: Du et al. 2024, arXiv:2410.02396, §3.2, as the authors' code has it, without tanh."""

import math
from collections.abc import Sequence


def nearest(share: float, n: int) -> int:
    """The nearest number of entries to a share of n."""
    return min(n, math.floor(share * n + 0.5))


def clamp(tau: Sequence[float], clip: float) -> list[float]:
    """Magnitudes, the smallest and the largest moved to the next."""
    by_size = sorted(abs(x) for x in tau)
    cut = min(nearest(clip, len(tau)), (len(tau) - 1) // 2)
    low, high = by_size[cut], by_size[len(tau) - 1 - cut]
    return [min(max(abs(x), low), high) for x in tau]


def normalize(x: Sequence[float]) -> list[float]:
    """To 0 … 1."""
    low, high = min(x), max(x)
    return [(v - low) / (high - low) if high > low else 0.0 for v in x]


def score(deltas: Sequence[Sequence[float]], clip: float) -> list[list[float]]:
    """Intra-balancing times inter-balancing."""
    totals = [math.fsum(entries) for entries in zip(*deltas, strict=True)]
    out = []
    for tau in deltas:
        intra = [math.exp(len(deltas) * s * s) for s in normalize(clamp(tau, clip))]
        out.append([i * x * total for i, x, total in zip(intra, tau, totals, strict=True)])
    return out


def balance(scores: Sequence[float], ratio: float) -> list[float]:
    """β: what is above the best score outside the share, rescaled; nothing below 0 is kept."""
    capped = [max(s, 0.0) for s in scores]
    by_size = sorted(capped, reverse=True)
    k = max(1, nearest(ratio, len(capped)))
    least = by_size[k] if k < len(capped) else 0.0
    top = by_size[0]
    if top <= least * (1 + 1e-12):  # equal but for rounding
        return [1.0 if s >= least * (1 - 1e-12) and s > 0 else 0.0 for s in capped]
    return [max(s - least, 0.0) / (top - least) for s in capped]


def pcb(deltas: Sequence[Sequence[float]], weights: Sequence[float], *, ratio: float, clip: float) -> list[float]:
    """Σ w β τ / Σ β, of clamped τ."""
    if not deltas[0]:
        return []
    betas = [balance(s, ratio) for s in score(deltas, clip)]
    clamped = [[math.copysign(a, x) for a, x in zip(clamp(tau, clip), tau, strict=True)] for tau in deltas]
    out = []
    for beta, entries in zip(zip(*betas, strict=True), zip(*clamped, strict=True), strict=True):
        total = sum(w * b * x for w, b, x in zip(weights, beta, entries, strict=True))
        out.append(total / sum(beta) if sum(beta) else 0.0)
    return out
