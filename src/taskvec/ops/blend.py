"""What most methods do to a slice, as data: drop entries by chance, keep a band, then add up with weights or by vote.

A method that says what it does in these terms gets a fast way through the stream: one pass from the stored bits of
every input to the stored bits of the result.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import Array, columns_of
from .chance import RESOLUTION, Chance, drop, drop_by_rank, keep_chance
from .combine import Band, Combine, Elect, Tied, elect_and_average, weighted_sum
from .kernels import fused_for
from .shapes import Float

Odds = tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32], npt.NDArray[np.float64], int]
"""Each task's key, in how many of 65,536 cases an entry is kept, what it is divided by; the first entry's offset."""


Ranks = tuple[int, npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Entries a row, and each task's density and reach."""


@dataclass(frozen=True)
class Drop:
    """Keep an entry with a probability (one number, or one a task) and divide it by that; see `chance.drop`."""

    density: float | Sequence[float]
    rescale: bool = True

    def __call__(self, stack: Float[Array, " task *shape"], chance: Chance | None) -> Float[Array, " task *shape"]:
        """Return the stack with dropped entries as 0."""
        return drop(stack, self.density, chance or Chance(), rescale=self.rescale)

    def lengths(self) -> dict[str, int]:
        """Return how many numbers are given, where they are one a task."""
        return {"densities": len(self.density)} if isinstance(self.density, Sequence) else {}

    def odds(self, chance: Chance | None, tasks: int) -> Odds:
        """Return the same as numbers, for a fused kernel."""
        chance = chance or Chance()
        given = self.density if isinstance(self.density, Sequence) else [self.density] * tasks
        kept_of = np.array([keep_chance(d) for d in given], np.int32)
        p = kept_of / RESOLUTION if self.rescale else np.ones(tasks)
        return np.array([chance.key(t) for t in range(tasks)]), kept_of, p, chance.start


@dataclass(frozen=True)
class RankedDrop:
    """Keep an entry with a probability that grows with its rank in its row; see `chance.cases_by_rank`.

    Each task's density, how far probabilities reach from it on both sides, and what the kept entries are divided by:
    each by its own probability where nothing is given.
    """

    density: Sequence[float]
    reach: Sequence[float]
    divisor: npt.NDArray[np.float64] | None = None

    def __call__(self, stack: Float[Array, " task *shape"], chance: Chance | None) -> Float[Array, " task *shape"]:
        """Return the stack with dropped entries as 0."""
        return drop_by_rank(stack, self.density, self.reach, chance or Chance(), self.divisor)

    def lengths(self) -> dict[str, int]:
        """Return how many numbers are given, where they are one a task."""
        divisors = {} if self.divisor is None else {"divisors": len(self.divisor)}
        return {"densities": len(self.density), "reaches": len(self.reach), **divisors}

    def odds(self, chance: Chance | None, tasks: int) -> Odds:
        """Return what a fused kernel need not rank for; a divisor of 0 stands for each entry's own."""
        chance = chance or Chance()
        p = np.zeros(tasks) if self.divisor is None else self.divisor
        return np.array([chance.key(t) for t in range(tasks)]), np.zeros(tasks, np.int32), p, chance.start

    def ranks(self, columns: int) -> Ranks:
        """Return what a fused kernel needs for ranking."""
        density = np.array(self.density, np.float64)
        return columns, density, np.where(density >= 1, 0.0, self.reach)


@dataclass(frozen=True)
class Vote:
    """Elect a sign for each entry and average what has it; see `combine.elect_and_average`."""

    elect: Elect = "sum"
    combine: Combine = "mean"
    tied: Tied = "zero"


@dataclass(frozen=True)
class Blend:
    """The steps, in this order; those that are None are left out. Without a vote it is a weighted sum."""

    weights: Float[np.ndarray, " task"]
    drop: Drop | RankedDrop | None = None
    band: Band | None = None
    vote: Vote | None = None

    def check(self, tasks: int) -> None:
        """Refuse numbers that are not one a task: kernels do not check bounds.

        Raises:
            ValueError: which, and how many.
        """
        given = {
            "weights": len(self.weights),
            "lower ends": len(self.band[0]) if self.band else tasks,
            "upper ends": len(self.band[1]) if self.band else tasks,
            **(self.drop.lengths() if self.drop else {}),
        }
        for what, count in given.items():
            if count != tasks:
                raise ValueError(f"{count} {what} for {tasks} tasks")

    def terms(self, chance: Chance | None, columns: int) -> tuple[Any, ...]:
        """Return the steps as a fused kernel takes them; `columns`: entries a row."""
        odds = self.drop.odds(chance, len(self.weights)) if self.drop else None
        ranks = self.drop.ranks(columns) if isinstance(self.drop, RankedDrop) else None
        return self.weights, odds, ranks, self.band, astuple(self.vote) if self.vote else None


def vote_above(weights: Float[np.ndarray, " task"], threshold: Float[np.ndarray, "task 1"], vote: Vote) -> Blend:
    """Return a vote among what reaches each task's threshold."""
    return Blend(weights, band=(threshold[:, 0], np.full(len(threshold), np.inf)), vote=vote)


def blend(stack: Float[Array, " task *shape"], how: Blend, chance: Chance | None = None) -> Float[Array, "*shape"]:
    """Return what a method makes of a stack of tensors.

    Raises:
        ValueError: weights, densities or ends of a band that are not one a task.

    >>> blend(np.array([[3.0, 0.1], [1.0, -4.0]]), Blend(np.ones(2), vote=Vote()))
    array([ 2., -4.])
    """
    how.check(stack.shape[0])
    if fused := fused_for(stack):
        return fused.blend_rows(stack, *how.terms(chance, columns_of(stack.shape[1:])))
    if how.drop:
        stack = how.drop(stack, chance)
    if how.vote:
        elect, combine, tied = astuple(how.vote)
        return elect_and_average(stack, how.weights, band=how.band, elect=elect, combine=combine, tied=tied)
    return weighted_sum(stack, how.weights, how.band)
