"""Several tasks in a few numbers: mean, normalised mean, worst task, each with an interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import RecipeError
from .score import RESAMPLES, Score, Values, bounds, resampled


@dataclass(frozen=True)
class Number:
    """A number between its bounds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """A model on several tasks.

    mean: of the tasks' scores (absolute accuracy).
    normalised: the mean of the tasks' ratios to the specialists; None where there are none.
    worst: the worst of the tasks' scores, with that task's own interval, and whose it is.
    """

    mean: Number
    normalised: Number | None
    worst: Number
    worst_task: str


def summarise(scores: Sequence[Score], specialists: Mapping[str, Score] | None = None, seed: int = 0) -> Summary:
    """Sum up a model's scores on several tasks.

        mean = (1/T) Σ_t s_t,    normalised = (1/T) Σ_t s_t / s_t(specialist of t),    worst = min_t s_t

    Where smaller is better (perplexity) the ratio is the other way round, and the worst score is the largest.

    The bootstrap draws each task's examples anew; where a specialist was scored on the same examples, both are drawn
    together, so that what is hard for both does not widen the interval of their ratio.

    Source: Ilharco et al. 2023, arXiv:2212.04089, §4; Ortiz-Jimenez et al. 2023, arXiv:2305.12827, §5 (mean of
        ratios, not ratio of means).

    Raises:
        RecipeError: no scores, a task without its specialist, or a specialist that scored 0.
    """
    if not scores:
        raise RecipeError("there is no score to sum up. Give a task.")
    drawn = [_drawn(score, seed + i) for i, score in enumerate(scores)]
    mean = Number(_mean([s.value for s in scores]), *bounds(np.mean(drawn, axis=0)))
    up = scores[0].larger_is_better
    worst = (min if up else max)(scores, key=lambda s: s.value)
    lowest = Number(worst.value, worst.low, worst.high)
    normalised = _normalised(scores, specialists, seed) if specialists else None
    return Summary(mean, normalised, lowest, worst.task)


def difference(scores: Sequence[Score], others: Sequence[Score], seed: int = 0) -> Number:
    """Return how much better one model is than another: the mean over tasks of the differences of their scores.

        (1/T) Σ_t (s_t − s'_t),   both drawn together: they were scored on the same examples

    Where smaller is better (perplexity) the difference is the other way round, so that a gain is always above 0.

    Edge: without the examples' own values the interval has no width.

    Raises:
        RecipeError: the scores are of other tasks.
    """
    if [s.task for s in scores] != [s.task for s in others]:
        raise RecipeError("the two models were scored on other tasks, so they cannot be compared.")
    pairs = [(a, b) if a.larger_is_better else (b, a) for a, b in zip(scores, others, strict=True)]
    value = _mean([a.value - b.value for a, b in pairs])
    drawn = []
    for i, (a, b) in enumerate(pairs):
        if a.draws is not None and b.draws is not None and a.count == b.count:
            drawn.append(a.draws - b.draws)
        elif a.values is None or b.values is None or len(a.values) != len(b.values):
            drawn.append(np.full(RESAMPLES, a.value - b.value))
        else:
            drawn.append(resampled(a.values - b.values, lambda part: part.mean(axis=1), seed + i))
    return Number(value, *bounds(np.mean(drawn, axis=0)))


def _normalised(scores: Sequence[Score], specialists: Mapping[str, Score], seed: int) -> Number:
    for score in scores:
        if score.task not in specialists:
            raise RecipeError(
                f"task '{score.task}' has no specialist to compare with. Name one, or leave the task out."
            )
        if specialists[score.task].value <= 0:
            value = specialists[score.task].value
            raise RecipeError(f"the specialist of '{score.task}' scored {value:.4g}, so no ratio to it means anything.")
    pairs = [(s, specialists[s.task]) if s.larger_is_better else (specialists[s.task], s) for s in scores]
    ratios = [above.value / below.value for above, below in pairs]
    drawn = [_drawn_ratio(above, below, seed + i) for i, (above, below) in enumerate(pairs)]
    return Number(_mean(ratios), *bounds(np.mean(drawn, axis=0)))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _drawn(score: Score, seed: int) -> Values:
    if score.values is None:
        return np.full(RESAMPLES, score.value) if score.draws is None else score.draws
    return resampled(score.values, lambda drawn: drawn.mean(axis=1), seed)


def _drawn_ratio(above: Score, below: Score, seed: int) -> Values:
    a, b = above.values, below.values
    if above.draws is not None and below.draws is not None and above.count == below.count:
        return above.draws / np.maximum(below.draws, 1e-12)
    if a is None or b is None or len(a) != len(b):
        return _drawn(above, seed) / below.value

    def ratio(drawn: Values) -> Values:
        means = drawn.mean(axis=1)
        return np.asarray(means[:, 0] / np.maximum(means[:, 1], 1e-12))

    return resampled(np.stack([a, b], axis=1), ratio, seed)
