"""Gradient matching: what is left of the gradients' mismatch when task vectors are added, taken out by curvature."""

from typing import Annotated

import numpy as np

from ...ops.arrays import Array, namespace
from ...ops.frechet import frechet
from ...ops.metric import Diagonal, Flat
from ...ops.shapes import Float
from ..registry import Interval, Needs, merge_method


@merge_method(
    needs=Needs(space="delta", curvature=("diagonal",), base_curvature=True),
    laws=("any_order", "homogeneous"),
    paper="Daheim et al. 2024, arXiv:2310.12808, §3.3, eq. (12)",
)
def gradient_matching(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    prior: Annotated[float, Interval(0, 1e6)] = 0.0,
    curvature: Float[Array, " task *shape"] | None = None,
    base_curvature: Float[Array, "*shape"] | None = None,
) -> Float[Array, "*shape"]:
    """Add task vectors with the curvature of the base and of every task, so that gradients of all tasks match.

        H_0 = F_0 + prior,   H̄ = H_0 + Σ w_t F_t
        out = Σ w_t (H_0 + F_t) ∘ τ_t / H̄

    Shape: `deltas` and `curvature` are (task, *shape), `base_curvature` is (*shape), `weights` is (task,); the result
           is (*shape).
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this. `prior` is in
           the unit of the curvature.
    Zero:  where H̄ is not above 0 the sum Σ w_t τ_t stands, to which a large `prior` tends; tensors without statistics
           get it, too.
    Paper: H_0 is the curvature at the base and holds the prior (their δ), F_t that of each task at its own model; both
           are diagonals of Fisher informations there. As the base's curvature grows this is task arithmetic, without it
           and with weights that sum to 1 it is `fisher`. The Fréchet mean (`ops.frechet`) under H_0 + F_t, summed, with
           H̄ as the quadratic side.

    Args:
        deltas: the task vectors.
        weights: one number a task.
        prior: how much every direction counts beside the measured curvature of the base.
        curvature: F_t, each measured at its own model on its own task.
        base_curvature: F_0, measured at the base.

    >>> x, bends = np.array([[1.0, 1.0], [3.0, 3.0]]), np.array([[3.0, 0.0], [1.0, 0.0]])
    >>> gradient_matching(x, np.full(2, 0.5), curvature=bends, base_curvature=np.array([0.0, 5.0]))
    array([1.5, 2. ])
    """
    xp, w = namespace(deltas), np.asarray(weights, dtype=np.float64)
    tasks = range(deltas.shape[0])
    wide = (xp.astype(deltas[t], xp.float64) for t in tasks)
    if curvature is None:
        return xp.astype(frechet(wide, (Flat() for _ in tasks), w, summed=True).curved, deltas.dtype)
    start = xp.zeros_like(curvature[0]) if base_curvature is None else base_curvature
    base = xp.astype(start, xp.float64) + prior
    bends = [xp.astype(curvature[t], xp.float64) for t in tasks]
    quadratic = Diagonal(sum((float(w[t]) * bends[t] for t in tasks), start=base))
    metrics = (Diagonal(base + bend) for bend in bends)
    return xp.astype(frechet(wide, metrics, w, quadratic=quadratic, summed=True).curved, deltas.dtype)
