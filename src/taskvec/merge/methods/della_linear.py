"""DELLA without the vote: drop entries at random, small ones rather, rescale the rest, then add."""

from collections.abc import Sequence

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, blend
from ...ops.chance import Chance
from ...ops.shapes import Float
from ..magprune import Norms, Rescale, dropping
from ..registry import Needs, Rests, Shares, factors, merge_method

NORMS = Norms()


def steps(
    weights: Float[np.ndarray, " task"],
    *,
    density: float | Sequence[float],
    epsilon: float | Sequence[float],
    rescale: Rescale,
    normalize: bool,
    norms: Float[np.ndarray, "task 2"],
) -> Blend:
    """Return a sum of what is left after dropping."""
    return Blend(factors(weights, normalize), drop=dropping(len(weights), density, epsilon, rescale, norms))


@merge_method(
    needs=Needs(space="delta", scope="row", chance=True, blend=steps, statistics={"norms": NORMS}),
    laws=("any_order", "homogeneous"),
    paper="Deep et al. 2024, arXiv:2406.11617, §3 (MagPrune, and a sum)",
)
def della_linear(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    density: Shares = 0.5,
    epsilon: Rests = 0.1,
    rescale: Rescale = "own",
    normalize: bool = False,
    chance: Chance | None = None,
    norms: Float[np.ndarray, "task 2"] | None = None,
) -> Float[Array, "*shape"]:
    """Keep the larger entries of each row with a larger probability, divide each by its own, and add.

        r = rank of |τ| within its row of n entries, from 0
        p = density + epsilon (2 r - (n - 1)) / (n - 1)          from density - epsilon to density + epsilon
        m ~ Bernoulli(p),  p to 1/65536
        out = Σ w_t m_t τ_t / p_t                                with `normalize`, divided by Σ w_t

    Shape: `deltas` is (task, *shape), `weights` is (task,); the result is (*shape). A row is what shares a first index;
           a tensor of one axis or none is one row.
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Ties:  entries of equal magnitude share the mean of their ranks, so the result does not depend on any order.
    Edge:  density 1 keeps everything: task arithmetic; epsilon 0 is `dare_linear`. A p above 1 is 1; one below 1/65536
           is that. A row of one entry has p = density.
           Weights that sum to 0 cannot be normalised and are refused.
    Chance: as in `dare_linear`. E[out] is task arithmetic, for small entries and large ones.
    Paper: its ε is the whole width of the window, two of these; mergekit's epsilon is this one. The authors' code
           divides by p, too. mergekit multiplies each tensor by one factor that gives it its L1 norm back: small
           entries come out too small, large ones too large, on average (0.66 … 1.13 times at epsilon 0.15). That is
           `rescale: mergekit`.

    Args:
        deltas: the task vectors.
        weights: one number a task.
        density: mean probability of keeping an entry; one number, or one a task.
        epsilon: how far probabilities reach from it on both sides; one number, or one a task.
        rescale: what is kept is divided by its probability (own) or left as it is (none), or multiplied by a factor a
            tensor (mergekit).
        normalize: divide by the sum of the weights.
        chance: where the random words come from; seed 0 when not given.
        norms: each task's L1 norms before and after dropping, for `rescale: mergekit`; found when not given.

    >>> rows = np.tile([1.0, 2.0, 3.0], (1, 8, 1))  # p is 1/4, 1/2, 3/4
    >>> np.unique(della_linear(rows, np.ones(1), density=0.5, epsilon=0.25)).tolist()
    [0.0, 4.0]
    """
    if norms is None:
        norms = NORMS.whole(deltas, {"density": density, "epsilon": epsilon, "rescale": rescale}, chance)
    how = steps(weights, density=density, epsilon=epsilon, rescale=rescale, normalize=normalize, norms=norms)
    return blend(deltas, how, chance)
