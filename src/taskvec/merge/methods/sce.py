"""SCE: select the entries on which tasks differ most, calculate weights from them, erase minority signs."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ...ops.arrays import Array
from ...ops.combine import Tied, elect_and_average
from ...ops.gram import energy_parts
from ...ops.select import count_of, kth_largest
from ...ops.shapes import Float, Float64
from ...ops.spread import differing, keep_apart, spread
from ..registry import MANY, Needs, Share, merge_method
from ..statistics import MagnitudeSearch, Question, Settings, Stages, Statistic, Sums, flat


def selected_of(stack: Float[Array, " task *shape"], least: float) -> Float[Array, " task *shape"]:
    """Return the stack with 0 where the tasks' spread is below `least`."""
    return stack if least == 0 else keep_apart(stack, least)


def rank(select_topk: float, differing: float) -> int:
    """Return the rank of the smallest spread that is selected; 0 (select nothing) where nothing differs."""
    return max(1, count_of(select_topk, int(differing))) if differing else 0


DIFFERING = Sums(lambda rows, _: [np.array([differing(rows)], np.float64)], lambda tasks: (1,))
"""How many entries differ between tasks."""


def energy_above(least: float) -> Sums:
    """Return the sums of squares of each task's selected entries, as a statistic."""
    return Sums(lambda rows, _: energy_parts(selected_of(rows, least)), lambda tasks: (tasks,))


class Selection(Statistic):
    """The smallest spread that is selected, and each task's sum of squares of its selected entries."""

    count = 1

    def passes(self, settings: Settings) -> int:
        """See `Statistic`."""
        return 1 if settings["select_topk"] == 1 else 3

    def example(self, tasks: int) -> npt.NDArray[np.float64]:
        """See `Statistic`."""
        return np.append(0.0, np.ones(tasks))

    def search(self, asked: Question) -> Stages:
        """See `Statistic`: how many entries differ, then which spread is the last selected, then the sums."""
        topk = asked.settings["select_topk"]

        def begin(found: list[npt.NDArray[np.floating]]) -> Any:
            if topk == 1 or len(found) == 2:
                return energy_above(0.0 if topk == 1 else float(found[1][0, 0])).search(asked)
            if not found:
                return DIFFERING.search(asked)
            k = rank(topk, float(found[0][0]))
            hint = spread(asked.sample()) if k else np.zeros(0, asked.dtype)
            return MagnitudeSearch([[asked.kth(k, hint)]], derive=lambda x, _: spread(x)[None])

        return Stages(
            self.passes(asked.settings), begin, lambda found: np.append(0.0 if topk == 1 else found[1], found[-1])
        )

    def whole(self, stack: Array, settings: Settings) -> npt.NDArray[np.float64]:
        """Return the same of whole tensors in memory."""
        topk, rows, least = settings["select_topk"], flat(stack), 0.0
        if topk < 1:
            least = float(kth_largest(spread(rows)[None], rank(topk, differing(rows)))[0])
        return np.append(least, energy_above(least).whole(rows, settings))


SELECTED = Selection()


@merge_method(
    needs=Needs(space="delta", tasks=range(2, MANY), weighted=False, statistics={"selected": SELECTED}),
    laws=("any_order", "homogeneous"),
    paper="Wan et al. 2024, arXiv:2408.07990, §3 (SCE)",
)
def sce(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    select_topk: Share = 1.0,
    tied: Tied = "zero",
    selected: Float64[np.ndarray, " values"] | None = None,
) -> Float[Array, "*shape"]:
    """Average task vectors where they differ most, weighing each by its energy there, without minority signs.

        S = the share select_topk of the entries that differ, those of largest variance over tasks     Select
        x_t = τ_t in S, else 0
        η_t = Σ x_t² / Σ_i Σ x_i²                                                                      Calculate
        s = sign(Σ x_t)                                                                                Erase
        out = Σ η_t x_t [sign(x_t) = s] / Σ η_t [sign(x_t) = s]

    Shape: `deltas` is (task, *shape); the result is (*shape). Weights are not used: the method finds its own.
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  entries that are not selected, or whose signs are tied, come out as exactly 0. With select_topk below 1,
           an entry on which all tasks agree to the bit is never selected; identical models then give the base.
    Ties:  all entries of the smallest selected variance are selected, so the result does not depend on any order.
    Scale: nothing is absolute: vectors a million times smaller have the same weights.
    Reads: once for the weights; three times with select_topk below 1: how many entries differ, the variance of the last
           that is selected, the weights.
    Paper: a parameter matrix is a tensor here. As in mergekit, what is not selected is not merged, and the weights of
           those that agree are made to sum to 1; the authors' code selects for the weights only and merges all
           entries. mergekit takes equal weights where the mean squares of a tensor sum to less than 1e-6, as those of
           most fine-tunes do; here and in the authors' code they count at any size.

    Args:
        deltas: the task vectors.
        weights: not used.
        select_topk: share of the entries that differ between tasks, in each tensor, that is selected.
        tied: what a tied vote gives: zero, or the positive side (as in mergekit).
        selected: the smallest selected spread and each task's sum of squares; found in `deltas` when not given.

    >>> sce(np.array([[3.0, 1.0], [1.0, -2.0]]), np.ones(2)).round(2)
    array([ 2.33, -2.  ])
    """
    del weights
    if selected is None:
        selected = SELECTED.whole(deltas, {"select_topk": select_topk})
    least, energy = float(selected[0]), selected[1:]
    shares = energy / energy.sum() if energy.any() else np.full(len(energy), 1 / len(energy))
    return elect_and_average(selected_of(deltas, least), shares, tied=tied)
