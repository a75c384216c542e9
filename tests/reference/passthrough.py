"""Passthrough: Goddard et al. 2024, arXiv:2403.13257, §3."""

from collections.abc import Sequence


def passthrough(models: Sequence[Sequence[float]], *, factor: float) -> list[float]:
    """The one model, times a factor."""
    (theta,) = models
    return [factor * x for x in theta]
