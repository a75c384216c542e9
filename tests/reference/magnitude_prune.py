"""The trim of TIES-Merging alone: Yadav et al. 2023, arXiv:2306.01708, Algorithm 1, step 1."""

from collections.abc import Sequence

from .task_arithmetic import task_arithmetic
from .ties import keep_topk


def magnitude_prune(
    deltas: Sequence[Sequence[float]], weights: Sequence[float], *, density: Sequence[float]
) -> list[float]:
    """Trim, then add."""
    return task_arithmetic([keep_topk(tau, d) for tau, d in zip(deltas, density, strict=True)], weights)
