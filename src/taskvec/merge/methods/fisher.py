"""Fisher averaging: entry by entry, the mean of the models weighed by how much each one's loss bends there."""

from ...ops.arrays import Array, namespace
from ...ops.frechet import frechet
from ...ops.metric import Diagonal, Flat
from ...ops.shapes import Float
from ..registry import Needs, merge_method, shares


@merge_method(
    needs=Needs(space="either", curvature=("diagonal",)),
    laws=("any_order", "homogeneous", "idempotent"),
    paper="Matena and Raffel 2022, arXiv:2111.09832, §2 (Fisher merging)",
)
def fisher(
    stack: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    curvature: Float[Array, " task *shape"] | None = None,
) -> Float[Array, "*shape"]:
    """Average models entry by entry, each weighed by the diagonal of its Fisher information there.

        out = Σ w_t F_t ∘ τ_t / Σ w_t F_t

    Shape: `stack` and `curvature` are (task, *shape), `weights` is (task,); the result is (*shape).
    Units: those of `stack`: weights of models, or task vectors where there is a base (the caller then adds λ (`scale`)
           times this). F_t may be in any unit, the same for all: a task whose F_t is ten times as large pulls ten
           times as hard.
    Zero:  where Σ w_t F_t is not above 0 the plain mean Σ w_t τ_t / Σ w_t stands, and so it does in tensors without
           statistics (`curvature: None`). Weights that sum to 0 are refused.
    Paper: eq. for θ* with λ_i = w_i. The authors' code raises every F_t to 1e-6 at least, which has a unit; here only
           what is exactly 0 is treated as nothing known. It is the Fréchet mean (`ops.frechet`) under H_t = diag(F_t).

    Args:
        stack: the models' weights, or their task vectors.
        weights: one number a task.
        curvature: F_t, each measured at its own model on its own task.

    >>> import numpy as np
    >>> fisher(np.array([[1.0, 1.0], [3.0, 3.0]]), np.ones(2), curvature=np.array([[3.0, 0.0], [1.0, 0.0]]))
    array([1.5, 2. ])
    """
    xp = namespace(stack)
    wide = (xp.astype(stack[t], xp.float64) for t in range(stack.shape[0]))
    metrics = (
        Flat() if curvature is None else Diagonal(xp.astype(curvature[t], xp.float64)) for t in range(stack.shape[0])
    )
    return xp.astype(frechet(wide, metrics, shares(weights)).curved, stack.dtype)
