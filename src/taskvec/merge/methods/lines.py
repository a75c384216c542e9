"""LiNeS: scale the task vectors less in shallow layers than in deep ones."""

from typing import Annotated

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, blend
from ...ops.shapes import Float
from ..registry import Interval, Needs, merge_method


def steps(weights: Float[np.ndarray, " task"], *, alpha: float, beta: float, depth: float = 1.0) -> Blend:
    """Return a sum with each task vector's factor at this depth."""
    return Blend((alpha + beta * depth) * np.asarray(weights, dtype=np.float64))


@merge_method(
    needs=Needs(space="delta", depth=True, blend=steps),
    laws=("any_order", "homogeneous", "linear"),
    paper="Wang et al. 2024, arXiv:2410.17146, §4",
)
def lines(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    alpha: Annotated[float, Interval(-100, 100)] = 0.5,
    beta: Annotated[float, Interval(-100, 100)] = 0.5,
    depth: float = 1.0,
) -> Float[Array, "*shape"]:
    """Add task vectors, scaled by a factor that grows with the depth of the layer.

        λ_l = alpha + beta depth,  depth = (l - 1) / (L - 1) in layer l of L
        out = λ_l Σ w_t τ_t

    Shape: `deltas` is (task, *shape), `weights` is (task,); the result is (*shape).
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Edge:  input embeddings have depth 0; what follows the layers (a final norm, a head) has depth 1, as has the layer
           of a model of one layer, for which the formula is 0/0.
    Same:  `task_arithmetic` with `scale: [alpha, alpha + beta]`, but for what follows the layers.
    Paper: for one task alpha + beta = 1 and alpha is searched; for T tasks alpha = 1/T and beta is searched. The
           authors' code gives every tensor outside of the layers alpha, the last norm and the head too: set `beta: 0`
           for these in an override to have that.

    Args:
        deltas: the task vectors.
        weights: one number a task.
        alpha: the factor in the first layer.
        beta: how much larger it is in the last layer.
        depth: where the tensor stands, from 0 (first layer) to 1 (last layer); 1 when not given.

    >>> lines(np.array([[1.0, 2.0]]), np.ones(1), alpha=0.2, beta=0.8, depth=0.5).round(3)
    array([0.6, 1.2])
    """
    return blend(deltas, steps(weights, alpha=alpha, beta=beta, depth=depth))
