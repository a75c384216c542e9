"""Linear: a weighted average of the models' weights."""

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, blend
from ...ops.shapes import Float
from ..registry import Needs, factors, merge_method


def steps(weights: Float[np.ndarray, " task"], *, normalize: bool = True) -> Blend:
    """Return a sum with each model's factor."""
    return Blend(factors(weights, normalize))


@merge_method(
    needs=Needs(space="weight", blend=steps),
    laws=("any_order", "idempotent"),
    paper="Wortsman et al. 2022, arXiv:2203.05482, §2 (uniform soup)",
)
def linear(
    models: Float[Array, " task *shape"], weights: Float[Array, " task"], *, normalize: bool = True
) -> Float[Array, "*shape"]:
    """Average the models' weights.

        out = Σ w_t θ_t / Σ w_t          with `normalize`, else Σ w_t θ_t

    Shape: `models` is (task, *shape), `weights` is (task,); the result is (*shape).
    Units: those of the weights. No base is needed.
    Zero:  weights that sum to 0 cannot be normalised and are refused.
    Paper: the soup is the uniform average; weights and `normalize: false` are common usage. A negative weight
           with normalisation still divides by the sum.

    Args:
        models: the models' weights.
        weights: one number a model.
        normalize: divide by the sum of the weights.

    >>> linear(np.array([[1.0, 2.0], [3.0, 6.0]]), np.array([1.0, 1.0]))
    array([2., 4.])
    """
    return blend(models, steps(weights, normalize=normalize))
