"""LiNeS: Wang et al. 2024, arXiv:2410.17146, §4."""

from collections.abc import Sequence

from .task_arithmetic import task_arithmetic


def lines(
    deltas: Sequence[Sequence[float]], weights: Sequence[float], *, alpha: float, beta: float, layer: int, layers: int
) -> list[float]:
    """λ = α + β (l - 1) / (L - 1) times the merged task vector, in layer l (from 1) of L."""
    factor = alpha + beta * (layer - 1) / (layers - 1)
    return [factor * x for x in task_arithmetic(deltas, weights)]
