"""Spearman's rank correlation, of the examples and of many resamples of them at once."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .score import Score, Values, bounds, resampled

Places = npt.NDArray[np.intp]


def spearman(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return Spearman's ρ of two columns of numbers: Pearson's correlation of their ranks, ties sharing the mean rank.

    Edge: where one column is constant it orders nothing, and ρ is 0 here (other tools say NaN).
    Source: Spearman 1904, American Journal of Psychology 15.

    >>> round(spearman([1.0, 2.0, 2.0, 4.0], [10.0, 20.0, 30.0, 40.0]), 4)
    0.9487
    """
    return float(_correlation(_places(a, b)[None])[0])


def spearman_score(
    task: str, answers: npt.ArrayLike, labels: npt.ArrayLike, details: Mapping[str, Any] | None = None, seed: int = 0
) -> Score:
    """Return ρ as a score; its interval draws examples, and ranks each draw anew."""
    places = _places(answers, labels)
    draws = resampled(places, _correlation, seed)
    low, high = bounds(draws)
    return Score(
        task=task, metric="spearman", value=float(_correlation(places[None])[0]), low=low, high=high,
        count=len(places), draws=draws, details=details or {},
    )  # fmt: skip


def _places(a: npt.ArrayLike, b: npt.ArrayLike) -> Places:
    """Return each number's place among its column's distinct numbers, (example, 2): all that ranks depend on."""
    return np.stack([np.unique(np.asarray(x, dtype=np.float64), return_inverse=True)[1] for x in (a, b)], axis=1)


def _correlation(drawn: Places) -> Values:
    """Return ρ of every resample; `drawn` is (resample, example, 2)."""
    x, y = (_centred(_mean_ranks(drawn[..., column])) for column in (0, 1))
    scale = np.sqrt((x * x).sum(1) * (y * y).sum(1))
    return np.asarray(np.divide((x * y).sum(1), scale, out=np.zeros(len(scale)), where=scale > 0))


def _mean_ranks(places: Places) -> Values:
    """Return mean ranks within each row without sorting: how many lie below, and the middle of the equals."""
    rows, width = len(places), int(places.max()) + 1
    flat = (places + width * np.arange(rows)[:, None]).ravel()
    equals = np.bincount(flat, minlength=rows * width).reshape(rows, width)
    middle = equals.cumsum(1) - (equals - 1) / 2
    return np.take_along_axis(middle, places, axis=1)


def _centred(x: Values) -> Values:
    return np.asarray(x - x.mean(1, keepdims=True))
