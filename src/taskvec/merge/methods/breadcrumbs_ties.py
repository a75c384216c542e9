"""Model Breadcrumbs with TIES' vote: drop the largest and the smallest entries, then elect signs and average."""

from typing import Any

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, Vote, blend
from ...ops.combine import Combine, Elect, Tied
from ...ops.select import ends_of_band
from ...ops.shapes import Float
from ..registry import Needs, Rests, Shares, each, merge_method
from ..statistics import Magnitudes, Settings
from ..trim import Rescale, Trim, trimmed


def ranks(settings: Settings, task: int, total: int) -> tuple[int, ...]:
    """Return the ranks of the largest and the smallest magnitude that is kept."""
    return ends_of_band(each(settings["density"], task), each(settings["gamma"], task), total)


KEPT = Trim(Magnitudes(ranks, count=2))


def steps(
    weights: Float[np.ndarray, " task"],
    *,
    elect: Elect,
    combine: Combine,
    tied: Tied,
    rescale: Rescale,
    band: Float[np.ndarray, "task numbers"],
    **settings: Any,
) -> Blend | None:
    """Return a vote among what lies in each task's band, where that is left as it is."""
    del settings  # they were needed for the band
    if rescale == "mergekit":
        return None
    return Blend(weights, band=(band[:, 1], band[:, 0]), vote=Vote(elect, combine, tied))


@merge_method(
    needs=Needs(space="delta", blend=steps, statistics={"band": KEPT}),
    laws=("any_order", "homogeneous"),
    paper="Davari & Belilovsky 2024, arXiv:2312.06795, §3; the vote: Yadav et al. 2023, arXiv:2306.01708, Algorithm 1",
)
def breadcrumbs_ties(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    density: Shares = 0.9,
    gamma: Rests = 0.01,
    elect: Elect = "sum",
    combine: Combine = "mean",
    tied: Tied = "zero",
    rescale: Rescale = "none",
    band: Float[np.ndarray, "task numbers"] | None = None,
) -> Float[Array, "*shape"]:
    """Drop each task vector's outliers and small change, then count only the tasks that win the sign vote.

        t = τ [kept]                                     masked as in `breadcrumbs`; with `rescale`, times Σ |τ| / Σ |t|
        s = sign(Σ t_i)                                  elected sign, as in `ties`
        out = Σ w_i t_i [sign(t_i) = s] / Σ w_i [sign(t_i) = s]

    Shape: `deltas` is (task, *shape), `weights` is (task,); the result is (*shape).
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  an entry that nobody kept, or whose vote is tied, comes out as exactly 0.
    Ties:  as in `breadcrumbs`: entries as large as the first or the last one kept are kept too.
    Paper: neither paper has the pair; the name is mergekit's, which adds instead of averaging: `elect: weighted, tied:
           positive, combine: sum`, with `rescale: mergekit` for its `rescale: true`. With `gamma: 0` this is `ties` of
           scope tensor; with one task and weight 1 it is `breadcrumbs`.

    Args:
        deltas: the task vectors.
        weights: one number a task; a negative one turns its vector around.
        density: share of entries that is kept; one number, or one a task.
        gamma: share of the largest entries that is dropped; one number, or one a task.
        elect: as in `ties`.
        combine: as in `ties`.
        tied: as in `ties`.
        rescale: as in `breadcrumbs`.
        band: each task's largest and smallest kept magnitude, and with `rescale` the factor; found in `deltas` when
            not given.

    >>> breadcrumbs_ties(np.array([[9.0, 3.0, 2.0, 0.1], [9.0, 1.0, -4.0, 0.1]]), np.ones(2), density=0.5, gamma=0.25)
    array([ 0.,  2., -4.,  0.])
    """
    if band is None:
        band = KEPT.whole(deltas, {"density": density, "gamma": gamma, "rescale": rescale})
    how = steps(weights, elect=elect, combine=combine, tied=tied, rescale=rescale, band=band)
    if how is None:
        deltas, how = trimmed(deltas, band), Blend(weights, vote=Vote(elect, combine, tied))
    return blend(deltas, how)
