"""DARE with TIES: drop and rescale at random, then trim, elect signs and average."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, Drop, Vote, blend, vote_above
from ...ops.chance import Chance
from ...ops.combine import Combine, Elect, Tied
from ...ops.select import count_of
from ...ops.shapes import Float
from ..registry import Needs, Shares, each, merge_method
from ..statistics import Magnitudes, Settings


def ranks(settings: Settings, task: int, total: int) -> tuple[int, ...]:
    """Return the rank of the smallest magnitude that the trim keeps; a trim of 1 keeps all and needs no pass."""
    trim = each(settings["trim"], task)
    return (total + 1,) if trim == 1 else (max(1, count_of(trim, total)),)


def dropping(settings: Settings) -> Drop:
    """Return the step before the ranking."""
    return Drop(settings["density"], settings["rescale"])


KEPT = Magnitudes(ranks, drop=dropping)


def steps(
    weights: Float[np.ndarray, " task"],
    *,
    elect: Elect,
    combine: Combine,
    tied: Tied,
    threshold: Float[np.ndarray, "task 1"],
    **settings: Any,
) -> Blend:
    """Return TIES' steps after dropping."""
    return replace(vote_above(weights, threshold, Vote(elect, combine, tied)), drop=dropping(settings))


@merge_method(
    needs=Needs(space="delta", chance=True, blend=steps, statistics={"threshold": KEPT}),
    laws=("any_order", "homogeneous"),
    paper="Yu et al. 2024, arXiv:2311.03099, §3 (DARE with TIES-Merging)",
)
def dare_ties(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    density: Shares = 0.1,
    trim: Shares = 0.2,
    rescale: bool = True,
    scope: Literal["model", "tensor"] = "model",
    elect: Elect = "sum",
    combine: Combine = "mean",
    tied: Tied = "zero",
    chance: Chance | None = None,
    threshold: Float[np.ndarray, "task 1"] | None = None,
) -> Float[Array, "*shape"]:
    """Drop and rescale entries at random, then merge what is left by TIES.

        d_t = m_t τ_t / p,  m ~ Bernoulli(p)             as in `dare_linear`
        out = TIES of d_t with density `trim`            as in `ties`

    Shape: `deltas` is (task, *shape), `weights` is (task,); the result is (*shape).
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  an entry that nobody kept, or whose vote is tied, comes out as exactly 0. Where `trim` exceeds the share
           that survived the drop, every survivor is kept.
    Chance: as in `dare_linear`.
    Paper: DARE is a step before TIES, whose own trim (top 20 %) stays. mergekit leaves the trim out and adds instead
           of averaging: `trim: 1, combine: sum, elect: weighted, tied: positive`.

    Args:
        deltas: the task vectors.
        weights: one number a task; a negative one turns its vector around.
        density: probability of keeping an entry; one number, or one a task.
        trim: share of all entries that TIES keeps afterwards, by magnitude; 1 trims nothing; one number, or one a task.
        rescale: divide what is kept by its probability.
        scope: over what entries are ranked for the trim: the whole model, or each tensor.
        elect: as in `ties`.
        combine: as in `ties`.
        tied: as in `ties`.
        chance: where the random words come from; seed 0 when not given.
        threshold: each task's smallest kept magnitude after dropping; found when not given.

    >>> dare_ties(np.array([[3.0, 0.1], [1.0, -4.0]]), np.ones(2), density=1.0, trim=1.0)
    array([ 2., -4.])
    """
    del scope  # the planner's: it decides which tensors share a threshold
    drop = Drop(density, rescale)
    if threshold is None:
        threshold = KEPT.whole(drop(deltas, chance), {"trim": trim})
    return blend(deltas, replace(vote_above(weights, threshold, Vote(elect, combine, tied)), drop=drop), chance)
