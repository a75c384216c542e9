"""What most methods do to a slice, as data: drop entries by chance, keep a band, then add up with weights or by vote.

A method that says what it does in these terms gets a fast way through the stream: one pass from the stored bits of
every input to the stored bits of the result.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import Array
from .chance import RESOLUTION, Chance, drop, keep_chance
from .combine import Band, Combine, Elect, Tied, elect_and_average, weighted_sum
from .kernels import fused_for
from .shapes import Float

Odds = tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32], npt.NDArray[np.float64], int]
"""Each task's key, in how many of 65,536 cases an entry is kept, what it is divided by; the first entry's offset."""


@dataclass(frozen=True)
class Drop:
    """Keep an entry with a probability (one number, or one a task) and divide it by that; see `chance.drop`."""

    density: float | Sequence[float]
    rescale: bool = True

    def __call__(self, stack: Float[Array, " task *shape"], chance: Chance | None) -> Float[Array, " task *shape"]:
        """Return the stack with dropped entries as 0."""
        return drop(stack, self.density, chance or Chance(), rescale=self.rescale)

    def odds(self, chance: Chance | None, tasks: int) -> Odds:
        """Return the same as numbers, for a fused kernel."""
        chance = chance or Chance()
        given = self.density if isinstance(self.density, Sequence) else [self.density] * tasks
        kept_of = np.array([keep_chance(d) for d in given], np.int32)
        p = kept_of / RESOLUTION if self.rescale else np.ones(tasks)
        return np.array([chance.key(t) for t in range(tasks)]), kept_of, p, chance.start


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
    drop: Drop | None = None
    band: Band | None = None
    vote: Vote | None = None

    def check(self, tasks: int) -> None:
        """Refuse numbers that are not one a task: kernels do not check bounds.

        Raises:
            ValueError: which, and how many.
        """
        densities = self.drop.density if self.drop else ()
        given = {
            "weights": len(self.weights),
            "densities": len(densities) if isinstance(densities, Sequence) and densities else tasks,
            "lower ends": len(self.band[0]) if self.band else tasks,
            "upper ends": len(self.band[1]) if self.band else tasks,
        }
        for what, count in given.items():
            if count != tasks:
                raise ValueError(f"{count} {what} for {tasks} tasks")

    def terms(self, chance: Chance | None) -> tuple[Any, ...]:
        """Return the steps as a fused kernel takes them."""
        odds = self.drop.odds(chance, len(self.weights)) if self.drop else None
        return self.weights, odds, self.band, astuple(self.vote) if self.vote else None


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
        return fused.blend_rows(stack, *how.terms(chance))
    if how.drop:
        stack = how.drop(stack, chance)
    if how.vote:
        elect, combine, tied = astuple(how.vote)
        return elect_and_average(stack, how.weights, band=how.band, elect=elect, combine=combine, tied=tied)
    return weighted_sum(stack, how.weights, how.band)
