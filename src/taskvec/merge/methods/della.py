"""DELLA: drop entries at random, small ones rather, rescale the rest, then elect signs and average."""

from collections.abc import Sequence

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, Vote, blend
from ...ops.chance import Chance
from ...ops.combine import Combine, Elect, Tied
from ...ops.shapes import Float
from ..magprune import Norms, Rescale, dropping
from ..registry import Needs, Rests, Shares, merge_method

NORMS = Norms()


def steps(
    weights: Float[np.ndarray, " task"],
    *,
    density: float | Sequence[float],
    epsilon: float | Sequence[float],
    rescale: Rescale,
    elect: Elect,
    combine: Combine,
    tied: Tied,
    norms: Float[np.ndarray, "task 2"],
) -> Blend:
    """Return a vote among what is left after dropping."""
    drop = dropping(len(weights), density, epsilon, rescale, norms)
    return Blend(weights, drop=drop, vote=Vote(elect, combine, tied))


@merge_method(
    needs=Needs(space="delta", scope="row", chance=True, blend=steps, statistics={"norms": NORMS}),
    laws=("any_order", "homogeneous"),
    paper="Deep et al. 2024, arXiv:2406.11617, §3 (drop, elect, fuse)",
)
def della(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    density: Shares = 0.5,
    epsilon: Rests = 0.1,
    rescale: Rescale = "own",
    elect: Elect = "sum",
    combine: Combine = "mean",
    tied: Tied = "zero",
    chance: Chance | None = None,
    norms: Float[np.ndarray, "task 2"] | None = None,
) -> Float[Array, "*shape"]:
    """Drop entries at random, small ones rather, then count only the tasks that win the sign vote.

        d_t = m_t τ_t / p_t                              dropped by rank and rescaled, as in `della_linear`
        s = sign(Σ d_i)                                  elected sign, as in `ties`
        out = Σ w_i d_i [sign(d_i) = s] / Σ w_i [sign(d_i) = s]

    Shape: `deltas` is (task, *shape), `weights` is (task,); the result is (*shape). Rows are those of `della_linear`.
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  an entry that nobody kept, or whose vote is tied, comes out as exactly 0.
    Edge:  density 1 keeps everything: `ties` with density 1; epsilon 0 is `dare_ties` with trim 1. For p outside
           (0, 1] see `della_linear`.
    Chance: as in `dare_linear`.
    Paper: as in `della_linear`. The authors' code and mergekit elect by the weighted sum and settle a tied vote by the
           positive side: `elect: weighted, tied: positive`, and for mergekit `rescale: mergekit`.

    Args:
        deltas: the task vectors.
        weights: one number a task; a negative one turns its vector around.
        density: mean probability of keeping an entry; one number, or one a task.
        epsilon: how far probabilities reach from it on both sides; one number, or one a task.
        rescale: as in `della_linear`.
        elect: as in `ties`.
        combine: as in `ties`.
        tied: as in `ties`.
        chance: where the random words come from; seed 0 when not given.
        norms: each task's L1 norms before and after dropping, for `rescale: mergekit`; found when not given.

    >>> della(np.array([[3.0, 0.1], [1.0, -4.0]]), np.ones(2), density=1.0)
    array([ 2., -4.])
    """
    settings = {"density": density, "epsilon": epsilon, "rescale": rescale}
    if norms is None:
        norms = NORMS.whole(deltas, settings, chance)
    how = steps(
        weights, density=density, epsilon=epsilon, rescale=rescale, elect=elect, combine=combine, tied=tied, norms=norms
    )
    return blend(deltas, how, chance)
