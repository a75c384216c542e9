"""Task arithmetic: the weighted sum of task vectors. A negative weight forgets a task."""

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, blend
from ...ops.shapes import Float
from ..registry import Needs, factors, merge_method


def steps(weights: Float[np.ndarray, " task"], *, normalize: bool = False) -> Blend:
    """Return a sum with each task vector's factor."""
    return Blend(factors(weights, normalize))


@merge_method(
    needs=Needs(space="delta", blend=steps),
    laws=("any_order", "homogeneous", "linear"),
    paper="Ilharco et al. 2023, arXiv:2212.04089, §2",
)
def task_arithmetic(
    deltas: Float[Array, " task *shape"], weights: Float[Array, " task"], *, normalize: bool = False
) -> Float[Array, "*shape"]:
    """Add task vectors with a weight each; a negative weight negates a task.

        out = Σ w_t τ_t                  with `normalize`, Σ w_t τ_t / Σ w_t

    Shape: `deltas` is (task, *shape), `weights` is (task,); the result is (*shape).
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  weights that sum to 0 cannot be normalised and are refused.
    Paper: a sum with one coefficient λ for all tasks; `normalize` is mergekit's option.

    Args:
        deltas: the task vectors.
        weights: one number a task.
        normalize: divide by the sum of the weights.

    >>> task_arithmetic(np.array([[1.0, 2.0], [3.0, 6.0]]), np.array([1.0, -1.0]))
    array([-2., -4.])
    """
    return blend(deltas, steps(weights, normalize=normalize))
