"""CART: the mean of the task vectors, and of each task what is largest in its difference from it."""

from typing import Annotated

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, blend
from ...ops.shapes import Float
from ...ops.spectral import svd
from ..matrices import Others, Role, Spectral, added, decomposed, matrices, role_in, shaped, side, total
from ..registry import Interval, Needs, Share, merge_method
from ..statistics import Settings


def steps(
    weights: Float[np.ndarray, " task"],
    *,
    share: float,
    strength: float,
    spectral: Spectral,
    others: Others,
    role: Role | None = None,
) -> Blend | None:
    """Return a mean or a sum for a tensor that is not taken apart."""
    del share, strength
    return added(weights, spectral=spectral, others=others, role=role)


def holds(tasks: int, rows: int, columns: int, settings: Settings) -> int:
    """Return how many float32 numbers are held at once."""
    del tasks, settings
    return 6 * rows * columns + decomposed(rows, columns)


@merge_method(
    needs=Needs(space="delta", scope="tensor", role=True, holds=holds, blend=steps),
    laws=("any_order", "homogeneous"),
    paper="Choi et al. 2024, arXiv:2412.12153, §4 (CART)",
)
def cart(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    share: Share = 0.08,
    strength: Annotated[float, Interval(0, 100)] = 1.0,
    spectral: Spectral = "matrices",
    others: Others = "mean",
    role: Role | None = None,
) -> Float[Array, "*shape"]:
    """Take the mean, and add to it what is largest in each task's difference from the mean.

        m = Σ w_t τ_t / T
        w_t τ_t - m ≈ U_t diag(s_t) V_tᵀ,   its k = share · min(rows, columns) largest singular values
        out = m + strength · Σ U_t diag(s_t) V_tᵀ

    Shape: `deltas` is (task, *shape), or gives such tensors one by one; `weights` is (task,); the result is (*shape).
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  tasks that agree leave nothing to add: `out` is their mean. Singular values below 1e-6 of the largest are 0.
    Edge:  k is rounded down and at least 1. With `share: 1`, or of two tasks, it is the mean, whatever the
           strength: differences from a mean cancel.
    Rest:  what is not taken apart (embeddings, positional tables, heads, convolutions, biases, norms) gets the mean, as
           in the authors' code, T times shorter than a sum; `others: sum` treats all alike.
    Paper: the rank is 8 % and `strength` is the paper's λ, searched on validation data; its merge has `scale: 1`, so
           that the mean is not scaled. Reads every task twice.

    Args:
        deltas: the task vectors.
        weights: one number a task.
        share: the share of singular values that are kept of each difference.
        strength: how often the differences are added.
        spectral: which tensors are taken apart: linear layers (`matrices`), embeddings and other tables too (`tables`),
            everything with two axes or more (`all`, first axis against the others), or `none`.
        others: how all other tensors are added.
        role: what the tensor is (names tell tables from matrices); by its shape alone when not given.

    >>> cart(np.array([np.diag([6.0, 0.0]), np.diag([0.0, 9.0]), np.zeros((2, 2))]), np.ones(3), share=0.5).round(9)
    array([[6., 0.],
           [0., 6.]])
    """
    if how := added(weights, spectral=spectral, others=others, role=role_in(deltas, role)):
        return blend(deltas, how)
    keep = max(1, int(side(deltas) * share))
    mean = total(deltas, weights) / deltas.shape[0]
    out = mean
    for x in matrices(deltas, weights):
        u, s, v = svd(x - mean, keep)
        out = out + strength * ((u * s) @ v.T)
    return shaped(out, deltas)
