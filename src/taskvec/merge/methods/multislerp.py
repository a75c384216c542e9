"""Multislerp: the mean direction of several tensors, at their mean length."""

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, blend
from ...ops.gram import gram as gram_of
from ...ops.shapes import Float, Float64
from ...ops.sphere import mean_direction
from ..registry import MANY, Needs, factors, merge_method
from ..statistics import Gram


def steps(weights: Float[np.ndarray, " task"], *, normalize: bool, gram: Float64[np.ndarray, "task task"]) -> Blend:
    """Return a sum with each tensor's factor."""
    return Blend(mean_direction(gram, factors(weights, normalize)))


@merge_method(
    needs=Needs(space="either", tasks=range(2, MANY), blend=steps, statistics={"gram": Gram()}),
    laws=("any_order", "idempotent", "homogeneous"),
    paper="mergekit 0.1.5, 2026, `multislerp` (the Algorithm in its docstring)",
)
def multislerp(
    stack: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    normalize: bool = True,
    gram: Float64[np.ndarray, "task task"] | None = None,
) -> Float[Array, "*shape"]:
    """Average the directions of several tensors, and their lengths apart from that.

        u_t = x_t / |x_t|,   m = Σ w_t u_t,   each tensor taken as one vector
        out = (Σ w_t |x_t|) m / |m|          w_t / Σ w_t with `normalize`

    Shape: `stack` is (task, *shape), `weights` is (task,); the result is (*shape).
    Units: those of the stack: task vectors where there is a base, else weights.
    Zero:  a tensor of zeros has no direction, and shortens the mean length. Where the directions cancel (m = 0) there
           is no mean direction, and the straight line Σ w_t x_t is taken; mergekit does so for two tensors and stops
           for more. Weights that sum to 0 cannot be normalised and are refused.
    Paper: mergekit goes on to average in the tangent space at m, with the same weights; but the sum of these tangents
           is Σ w_t u_t - ⟨m, Σ w_t u_t⟩ m / |m|² = 0, so nothing is added, and this is its result, too (its eps of
           1e-8 is left out). The mean whose tangents cancel at the point itself is `karcher`.

    Args:
        stack: task vectors, or weights.
        weights: one number a tensor.
        normalize: divide the weights by their sum.
        gram: inner products over the whole tensor; found in `stack` when not given.

    >>> multislerp(np.array([[2.0, 0.0], [0.0, 2.0]]), np.ones(2)).round(4)
    array([1.4142, 1.4142])
    """
    return blend(stack, steps(weights, normalize=normalize, gram=gram_of(stack) if gram is None else gram))
