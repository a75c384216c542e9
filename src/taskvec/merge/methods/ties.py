"""TIES-Merging: trim each task vector, elect a sign per entry, average the tasks that have it."""

from typing import Any, Literal

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, Vote, blend, vote_above
from ...ops.combine import Combine, Elect, Tied
from ...ops.select import count_of
from ...ops.shapes import Float
from ..registry import Needs, Shares, each, merge_method
from ..statistics import Magnitudes, Settings
from ..trim import Rescale, Trim, trimmed


def ranks(settings: Settings, task: int, total: int) -> tuple[int, ...]:
    """Return the rank of the smallest magnitude kept: the nearest number to density · total, at least 1."""
    return (max(1, count_of(each(settings["density"], task), total)),)


KEPT = Trim(Magnitudes(ranks))


def steps(
    weights: Float[np.ndarray, " task"],
    *,
    elect: Elect,
    combine: Combine,
    tied: Tied,
    rescale: Rescale,
    threshold: Float[np.ndarray, "task numbers"],
    **settings: Any,
) -> Blend | None:
    """Return a vote among what reaches each task's threshold, where that is left as it is."""
    del settings  # they were needed for the threshold
    return None if rescale == "mergekit" else vote_above(weights, threshold[:, :1], Vote(elect, combine, tied))


@merge_method(
    needs=Needs(space="delta", blend=steps, statistics={"threshold": KEPT}),
    laws=("any_order", "homogeneous"),
    paper="Yadav et al. 2023, arXiv:2306.01708, Algorithm 1",
)
def ties(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    density: Shares = 0.2,
    scope: Literal["model", "tensor"] = "model",
    elect: Elect = "sum",
    combine: Combine = "mean",
    tied: Tied = "zero",
    rescale: Rescale = "none",
    threshold: Float[np.ndarray, "task numbers"] | None = None,
) -> Float[Array, "*shape"]:
    """Merge task vectors entry by entry, counting only the tasks that win the sign vote.

        t = τ where |τ| ≥ threshold, else 0              trimmed, per task; with `rescale`, times Σ |τ| / Σ |t|
        s = sign(Σ t_i)                                  elected sign
        out = Σ w_i t_i [sign(t_i) = s] / Σ w_i [sign(t_i) = s]

    Shape: `deltas` is (task, *shape), `weights` is (task,); the result is (*shape).
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  an entry that nobody kept, or whose vote is tied, comes out as exactly 0.
    Ties:  all entries as large as the smallest one kept are kept, so the result does not depend on any order; in
           bf16 deltas, where many magnitudes are equal, a little more than `density` may survive.
    Paper: the threshold is taken over all parameters of a task at once (`scope: model`), signs are elected by the
           plain sum, and agreeing entries are averaged; all three are the defaults. The authors' code settles a sum
           of exactly zero by the majority sign of the whole vector; the paper's sgn(0) = 0 is kept here.
           mergekit is `scope: tensor, elect: weighted, tied: positive` (and `combine: sum` for its
           `normalize: false`, `rescale: mergekit` for its `rescale: true`); PEFT is `scope: tensor, combine: count,
           tied: positive`.

    Args:
        deltas: the task vectors.
        weights: one number a task; they weigh the average, and with `elect: weighted` the vote. A negative weight
            turns its vector around first.
        density: share of each task's entries that is kept; one number, or one a task.
        scope: over what a task's entries are ranked: the whole model, or each tensor.
        elect: what is added up for the vote: sum (the entries), weighted (weights times entries), count (signs).
        combine: mean (divide by the agreeing weights), sum (do not divide), count (divide by the agreeing tasks).
        tied: what a tied vote gives: zero, or the positive side.
        rescale: what is kept is left as it is (none), or multiplied by one factor a task that gives it the L1 norm
            it had, over what `scope` says (mergekit).
        threshold: each task's smallest kept magnitude, and with `rescale` that factor; found in `deltas` when not
            given.

    >>> ties(np.array([[3.0, 0.1], [1.0, -4.0]]), np.ones(2), density=1.0)
    array([ 2., -4.])
    """
    del scope  # the planner's: it decides which tensors share a threshold
    if threshold is None:
        threshold = KEPT.whole(deltas, {"density": density, "rescale": rescale})
    how = steps(weights, elect=elect, combine=combine, tied=tied, rescale=rescale, threshold=threshold)
    if how is None:
        deltas, how = trimmed(deltas, threshold), Blend(weights, vote=Vote(elect, combine, tied))
    return blend(deltas, how)
