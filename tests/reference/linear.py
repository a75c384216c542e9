"""Model soups: Wortsman et al. 2022, arXiv:2203.05482, §2."""

from collections.abc import Sequence


def linear(models: Sequence[Sequence[float]], weights: Sequence[float], *, normalize: bool = True) -> list[float]:
    """θ_soup = Σ w_t θ_t / Σ w_t; the uniform soup has w_t = 1."""
    total = sum(weights) if normalize else 1.0
    soup = []
    for entries in zip(*models, strict=True):
        parameter = 0.0
        for weight, theta in zip(weights, entries, strict=True):
            parameter += weight / total * theta
        soup.append(parameter)
    return soup
