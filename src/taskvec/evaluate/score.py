"""What a model scored on a task, and between which bounds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Score:
    """The score of one model on one task.

    values: Shape (example,): what each example contributes, where the score is their mean (0 or 1 for accuracy).
    draws: Shape (resample,): what the bootstrap found, where the score is no mean of examples (ρ, perplexity).
    low, high: the bounds of the 95 % bootstrap interval.
    details: whatever the metric has to add, in plain data: a report per class, settings, hashes.
    """

    task: str
    metric: str
    value: float
    low: float
    high: float
    count: int
    larger_is_better: bool = True
    values: Values | None = None
    draws: Values | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


def interval(
    values: npt.NDArray[Any], of: Callable[[Any], Any] | None = None, *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a statistic of examples, by default their mean.

        s_b = of(values[i_b]),  i_b: n draws with replacement;   (2.5 % quantile, 97.5 % quantile) of s_b

    Shape: `values` is (example, …); `of` takes (resample, example, …) and returns (resample,).
    Edge: one example gives an interval of no width; none gives NaN.
    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, §13.3.
    """
    if not len(values):
        return float("nan"), float("nan")
    found = resampled(values, of or (lambda drawn: drawn.mean(axis=1)), seed, resamples)
    return bounds(found)


def resampled(values: npt.NDArray[Any], of: Callable[[Any], Any], seed: int, resamples: int = RESAMPLES) -> Values:
    """Return a statistic of many resamples, (resample,), drawn in portions that fit the cache."""
    chance = np.random.default_rng(seed)
    portion = max(1, 1_000_000 // max(len(values), 1))
    parts = []
    for start in range(0, resamples, portion):
        count = min(portion, resamples - start)
        parts.append(np.asarray(of(values[chance.integers(0, len(values), (count, len(values)))]), dtype=np.float64))
    return np.concatenate(parts)


def bounds(found: Values) -> tuple[float, float]:
    """Return the quantiles that hold 95 % of resampled statistics between them."""
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def mean_score(
    task: str, metric: str, values: npt.NDArray[Any], details: Mapping[str, Any] | None = None, seed: int = 0
) -> Score:
    """Return a score that is the mean of what the examples contribute."""
    each = np.asarray(values, dtype=np.float64)
    low, high = interval(each, seed=seed)
    return Score(
        task=task, metric=metric, value=float(each.mean()), low=low, high=high, count=len(each), values=each,
        details=details or {},
    )  # fmt: skip
