"""WUDI-Merging: the matrix that disturbs no task, where each task vector stands for its task's inputs."""

from typing import Annotated, Literal

import numpy as np

from ...ops.arrays import Array, namespace
from ...ops.blend import Blend, blend
from ...ops.shapes import Float
from ...ops.spectral import inverse, rounded_down
from ..matrices import Others, Role, Spectral, added, matrices, role_in, shaped, total, upright
from ..registry import Interval, Needs, merge_method
from ..statistics import Settings


def blend_of(
    weights: Float[np.ndarray, " task"],
    *,
    solve: str,
    steps: int,
    rate: float,
    spectral: Spectral,
    others: Others,
    role: Role | None = None,
) -> Blend | None:
    """Return a mean or a sum for a tensor that is not taken apart."""
    del solve, steps, rate
    return added(weights, spectral=spectral, others=others, role=role)


def holds(tasks: int, rows: int, columns: int, settings: Settings) -> int:
    """Return how many float32 numbers are held at once."""
    del tasks, settings
    return 14 * rows * columns + 14 * columns**2


def normal_equations(
    deltas: Float[Array, " task *shape"], weights: Float[Array, " task"]
) -> tuple[Float[Array, "row column"], Float[Array, "column column"]]:
    """Return Σ τ_t τ_tᵀτ_t / |τ_t|² and Σ τ_tᵀτ_t / |τ_t|², in float64; tasks that are zero are left out."""
    target, metric = None, None
    for x in matrices(deltas, weights):
        xp = namespace(x)
        if metric is None:
            metric = xp.zeros((x.shape[1], x.shape[1]), dtype=xp.float64, device=x.device)
            target = xp.zeros(x.shape, dtype=xp.float64, device=x.device)
        wide = xp.astype(x, xp.float64)
        if size := float(xp.linalg.vector_norm(wide)):
            wide = wide / size
            own = wide.T @ wide
            metric += own
            target += (size * wide) @ own
    return target, metric


def adam(
    start: Float[Array, "row column"],
    target: Float[Array, "row column"],
    metric: Float[Array, "column column"],
    count: int,
    rate: float,
) -> Float[Array, "row column"]:
    """Return where Adam (β 0.9 and 0.999, ε 1e-8) is after some steps down L, whose gradient is 2 (x M - C)."""
    xp = namespace(start)
    x, mean, square = start, xp.zeros_like(start), xp.zeros_like(start)
    for step in range(1, count + 1):
        slope = 2 * (x @ metric - target)
        mean = 0.9 * mean + 0.1 * slope
        square = 0.999 * square + 0.001 * slope * slope
        size = xp.sqrt(square) / (1 - 0.999**step) ** 0.5 + 1e-8
        x = x - (rate / (1 - 0.9**step)) * (mean / size)
    return x


def nearest(
    start: Float[Array, "row column"], target: Float[Array, "row column"], metric: Float[Array, "column column"]
) -> Float[Array, "row column"]:
    """Return the minimiser that is nearest to the start: where nothing is asked for, the start stays."""
    xp = namespace(start)
    values, vectors = xp.linalg.eigh(metric)
    s = xp.flip(rounded_down(xp.flip(xp.sqrt(xp.clip(values, min=0.0)), axis=-1)), axis=-1)
    return start + ((target - start @ metric) @ (vectors * inverse(s) ** 2)) @ vectors.T


@merge_method(
    needs=Needs(space="delta", scope="tensor", role=True, holds=holds, blend=blend_of),
    laws=("any_order",),
    paper="Cheng et al. 2025, arXiv:2503.08099, §4 and Algorithm 1 (WUDI-Merging)",
)
def wudi(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    solve: Literal["adam", "exact"] = "adam",
    steps: Annotated[int, Interval(0, 1_000_000)] = 300,
    rate: Annotated[float, Interval(0, 1)] = 1e-5,
    spectral: Spectral = "matrices",
    others: Others = "mean",
    role: Role | None = None,
) -> Float[Array, "*shape"]:
    """Find the matrix whose difference from each task vector that task's inputs do not notice.

        L(x) = Σ |(x - w_t τ_t) (w_t τ_t)ᵀ|² / |w_t τ_t|²         a task vector's rows span its task's inputs
        ∇L = 2 (x M - C),   M = Σ (w_t τ_t)ᵀ(w_t τ_t) / |w_t τ_t|²,   C = Σ w_t τ_t (w_t τ_t)ᵀ(w_t τ_t) / |w_t τ_t|²
        out = Adam, `steps` steps of `rate`, from x = Σ w_t τ_t   (`solve: adam`)
        out = the minimiser of L that is nearest to Σ w_t τ_t     (`solve: exact`)

    Shape: `deltas` is (task, *shape), or gives such tensors one by one; `weights` is (task,); the result is (*shape).
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  a task whose matrix is zero, or that weighs 0, has no inputs and asks for nothing.
    Scale: Adam's steps are absolute: 300 of 1e-5 move an entry by 0.003 at most, which suits task vectors of such
           entries. `solve: exact` has no scale.
    Rest:  what is not taken apart (embeddings, positional tables, heads, convolutions, biases, norms) gets the mean, T
           times shorter than the sum that matrices start from; `others: sum` treats all alike. The authors leave it at
           the base: `ignore` does.
    Paper: Adam with the steps and the rate given here, λ = 1. The authors' code multiplies by every task vector in
           every step; M and C hold all that is needed of them, so a step is one product.

    Args:
        deltas: the task vectors.
        weights: one number a task.
        solve: how L is minimised.
        steps: how many steps Adam takes.
        rate: Adam's learning rate.
        spectral: which tensors are taken apart: linear layers (`matrices`), embeddings and other tables too (`tables`),
            everything with two axes or more (`all`, first axis against the others), or `none`.
        others: how all other tensors are added.
        role: what the tensor is (names tell tables from matrices); by its shape alone when not given.

    >>> x = np.array([[[2.0, 0.0], [1.0, 0.0]], [[0.0, 3.0], [0.0, 1.0]]])
    >>> wudi(x, np.ones(2), solve="exact").round(9)
    array([[2., 3.],
           [1., 1.]])
    """
    if how := added(weights, spectral=spectral, others=others, role=role_in(deltas, role)):
        return blend(deltas, how)
    deltas = upright(deltas, role)
    target, metric = normal_equations(deltas, weights)
    xp = namespace(metric)
    start = xp.astype(total(deltas, weights), xp.float64)
    if solve == "exact":
        return shaped(nearest(start, target, metric), deltas)
    start, target, metric = (xp.astype(x, deltas.dtype) for x in (start, target, metric))
    return shaped(adam(start, target, metric, steps, rate), deltas)
