"""Model soups of all models, or of the best: Wortsman et al. 2022, arXiv:2203.05482, §2."""

from collections.abc import Sequence

from .linear import linear


def model_soup(models: Sequence[Sequence[float]], scores: Sequence[float], best: int) -> list[float]:
    """The uniform soup of those that fewer than `best` others beat; of all where `best` is 0."""
    beaten_by = [sum(other > score for other in scores) for score in scores]
    kept = [model for model, count in zip(models, beaten_by, strict=True) if count < (best or len(models))]
    return linear(kept, [1.0] * len(kept))
