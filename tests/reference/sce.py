"""SCE: Wan et al. 2024, arXiv:2408.07990, §3: select, calculate, erase."""

import math
from collections.abc import Sequence


def variance(entries: Sequence[float]) -> float:
    """Over the tasks, dividing by their number."""
    mean = math.fsum(entries) / len(entries)
    return math.fsum((x - mean) ** 2 for x in entries) / len(entries)


def select(deltas: Sequence[Sequence[float]], topk: float) -> list[bool]:
    """The entries of the largest variance, and all that have as much as the last of them; of those that differ."""
    columns = list(zip(*deltas, strict=True))
    if topk >= 1:
        return [True] * len(columns)
    differs = [any(x != entries[0] for x in entries) for entries in columns]
    variances = [variance(entries) if d else 0.0 for entries, d in zip(columns, differs, strict=True)]
    k = max(1, math.floor(topk * sum(differs) + 0.5)) if any(differs) else 0
    least = sorted(variances, reverse=True)[k - 1] if k else math.inf
    return [v >= least * (1 - 1e-9) for v in variances]  # equal but for rounding


def calculate(deltas: Sequence[Sequence[float]], selected: Sequence[bool]) -> list[float]:
    """η_t: the share of each task in the squares of what is selected."""
    energy = [math.fsum(x * x for x, s in zip(row, selected, strict=True) if s) for row in deltas]
    return [e / sum(energy) for e in energy] if sum(energy) else [1 / len(energy)] * len(energy)


def sce(deltas: Sequence[Sequence[float]], *, select_topk: float = 1.0, tied: str = "zero") -> list[float]:
    """Merge what is selected and has the sign of the sum."""
    selected = select(deltas, select_topk)
    eta = calculate(deltas, selected)
    out = []
    for entries, kept in zip(zip(*deltas, strict=True), selected, strict=True):
        total = sum(entries) if kept else 0.0
        sign = 1 if total > 0 or (total == 0 and tied == "positive") else -1 if total < 0 else 0
        agree = [(w, x) for w, x in zip(eta, entries, strict=True) if kept and x * sign > 0]
        share = sum(w for w, _ in agree)
        out.append(sum(w * x for w, x in agree) / share if share else 0.0)
    return out
