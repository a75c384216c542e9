"""ExPO: Zheng et al. 2024, arXiv:2404.16792, §2."""

from collections.abc import Sequence


def expo(deltas: Sequence[Sequence[float]], *, alpha: float) -> list[float]:
    """θ_2 - θ_0, where θ_2 = θ_1 + α Δθ and Δθ = θ_1 - θ_0."""
    (delta,) = deltas
    return [x + alpha * x for x in delta]
