"""MetaGPT: Zhou et al. 2024, arXiv:2406.11385, eq. 15."""

import math
from collections.abc import Sequence

from .task_arithmetic import task_arithmetic


def coefficients(deltas: Sequence[Sequence[float]]) -> list[float]:
    """λ_t = |θ_t - θ_0|² / Σ_k |θ_k - θ_0|²; equal where nothing has changed."""
    squares = [math.fsum(x * x for x in delta) for delta in deltas]
    total = sum(squares)
    return [s / total if total else 1 / len(squares) for s in squares]


def metagpt(deltas: Sequence[Sequence[float]]) -> list[float]:
    """Task arithmetic with these."""
    return task_arithmetic(deltas, coefficients(deltas))
