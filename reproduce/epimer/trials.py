"""A merge at the α that is best on the validation examples, scored on the test examples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from taskvec.evaluate.score import RESAMPLES, Score, bounds
from taskvec.evaluate.summary import Number, summarise

from .changes import Vector
from .measures import measures, with_count
from .study import Study
from .ways import Way, merged


@dataclass(frozen=True)
class Tuned:
    """A merge at its best α, and what it then scores on the test examples."""

    way: Way
    scale: float
    scores: list[Score]

    @property
    def at_edge(self) -> bool:
        """Whether the best α is the last that was tried."""
        return len(self.way.grid) > 1 and self.scale == self.way.grid[-1]


class Candidate:
    """A merged vector, made when it is first needed."""

    def __init__(self, study: Study, way: Way) -> None:
        """Take what is merged."""
        self.study, self.way = study, with_count(study, way)

    @cached_property
    def vector(self) -> Vector:
        """The merged task vector of all tasks."""
        return merged(self.study.changes, self.way, self.study.every, measures(self.study, self.way))

    def scores(self, scale: float, split: str) -> list[Score]:
        """Return its scores at one α."""
        return self.study.scores(self.way.key, lambda: self.vector, scale, split)


def tuned(study: Study, way: Way) -> Tuned:
    """Return a merge at its best α by the mean normalised accuracy on validation examples.

    α climbs along the way's grid from `Way.start` on, until both neighbours score less.
    """
    candidate = Candidate(study, way)

    @cache
    def value(place: int) -> float:
        return normalised(candidate.scores(way.grid[place], "validation"), study.specialists["validation"])

    best = climb(value, way.start, len(way.grid)) if len(way.grid) > 1 else 0
    return Tuned(candidate.way, way.grid[best], candidate.scores(way.grid[best], "test"))


def climb(value: Callable[[int], float], start: int, count: int) -> int:
    """Return a place of 0 … count - 1 than which neither neighbour is better.

    >>> climb([0.1, 0.3, 0.2, 0.9].__getitem__, 2, 4)
    3
    """
    here = start
    while True:
        near = [place for place in (here - 1, here + 1) if 0 <= place < count]
        best = max(near, key=value)
        if value(best) <= value(here):
            return here
        here = best


def normalised(scores: Sequence[Score], specialists: dict[str, Score]) -> float:
    """Return the mean over tasks of a score over its specialist's."""
    return float(np.mean([s.value / specialists[s.task].value for s in scores]))


def mean_of(scores: Sequence[Score]) -> Number:
    """Return the mean over tasks."""
    return summarise(scores).mean


def worst_of(scores: Sequence[Score]) -> Number:
    """Return the worst task's score; its interval draws all tasks' examples, so that another may be the worst."""
    low, high = bounds(np.stack([_drawn(s, i)[:, 0] for i, s in enumerate(scores)]).min(axis=0))
    return Number(min(s.value for s in scores), low, high)


def worst_difference(scores: Sequence[Score], others: Sequence[Score]) -> Number:
    """Return how much better a model's worst task is than another's worst: min_t s_t − min_t s'_t, drawn together."""
    drawn = np.stack([_drawn(a, i, b) for i, (a, b) in enumerate(zip(scores, others, strict=True))]).min(axis=0)
    value = min(s.value for s in scores) - min(s.value for s in others)
    return Number(value, *bounds(drawn[:, 0] - drawn[:, -1]))


def _drawn(score: Score, seed: int, *others: Score) -> np.ndarray:
    """Return resampled means of a task's examples, (resample, model)."""
    stacked = np.stack([np.asarray(s.values) for s in (score, *others)], axis=1)
    return _resampled(stacked.tobytes(), stacked.shape, seed)


@cache
def _resampled(values: bytes, shape: tuple[int, ...], seed: int) -> np.ndarray:
    stacked = np.frombuffer(values, dtype=np.float64).reshape(shape)
    chance = np.random.default_rng(seed)
    counts = chance.multinomial(shape[0], np.full(shape[0], 1 / shape[0]), RESAMPLES)
    return np.asarray(counts @ stacked / shape[0])
