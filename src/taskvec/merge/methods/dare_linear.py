"""DARE: drop entries of the task vectors at random and rescale the rest, then add."""

from collections.abc import Sequence

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, Drop, blend
from ...ops.chance import Chance
from ...ops.shapes import Float
from ..registry import Needs, Shares, factors, merge_method


def steps(
    weights: Float[np.ndarray, " task"], *, density: float | Sequence[float], rescale: bool, normalize: bool
) -> Blend:
    """Return a sum of what is left after dropping."""
    return Blend(factors(weights, normalize), drop=Drop(density, rescale))


@merge_method(
    needs=Needs(space="delta", chance=True, blend=steps),
    laws=("any_order", "homogeneous"),
    paper="Yu et al. 2024, arXiv:2311.03099, §3 (DARE with task arithmetic)",
)
def dare_linear(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    density: Shares = 0.1,
    rescale: bool = True,
    normalize: bool = False,
    chance: Chance | None = None,
) -> Float[Array, "*shape"]:
    """Keep each entry of each task vector with probability `density`, divide it by that, and add.

        m ~ Bernoulli(p),  p = density to 1/65536
        out = Σ w_t m_t τ_t / p             with `normalize`, divided by Σ w_t

    Shape: `deltas` is (task, *shape), `weights` is (task,); the result is (*shape).
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  density 1 keeps everything: task arithmetic.
           Weights that sum to 0 cannot be normalised and are refused.
    Chance: a mask depends on (seed, model, tensor, entry) alone, so neither the order of the models nor shards,
           slices or threads change it. E[out] is task arithmetic, whatever the tensor's size.
    Paper: drops with probability 0.9 and divides by 1 - 0.9, as here. mergekit rescales each tensor to its old L1 norm
           instead, which is biased on small tensors; there is no option for that.

    Args:
        deltas: the task vectors.
        weights: one number a task.
        density: probability of keeping an entry; one number, or one a task.
        rescale: divide what is kept by its probability.
        normalize: divide by the sum of the weights.
        chance: where the random words come from; seed 0 when not given.

    >>> import numpy as np
    >>> np.unique(dare_linear(np.ones((1, 64)), np.ones(1), density=0.5)).tolist()
    [0.0, 2.0]
    """
    return blend(deltas, steps(weights, density=density, rescale=rescale, normalize=normalize), chance)
