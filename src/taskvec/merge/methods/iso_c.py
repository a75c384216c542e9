"""Iso-C: the sum of the task vectors, with all directions equally strong."""

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, blend
from ...ops.polar import nuclear_norm, polar
from ...ops.shapes import Float
from ..matrices import Others, Role, Spectral, added, decomposed, role_in, shaped, side, total
from ..registry import Needs, merge_method
from ..statistics import Settings


def steps(
    weights: Float[np.ndarray, " task"],
    *,
    spectral: Spectral,
    others: Others,
    role: Role | None = None,
) -> Blend | None:
    """Return a mean or a sum for a tensor that is not taken apart."""
    return added(weights, spectral=spectral, others=others, role=role)


def holds(tasks: int, rows: int, columns: int, settings: Settings) -> int:
    """Return how many float32 numbers are held at once."""
    del tasks, settings
    return 4 * rows * columns + decomposed(rows, columns)


@merge_method(
    needs=Needs(space="delta", scope="tensor", role=True, holds=holds, blend=steps),
    laws=("any_order", "homogeneous"),
    paper="Marczak et al. 2025, arXiv:2502.04959, §4.1",
)
def iso_c(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    spectral: Spectral = "matrices",
    others: Others = "mean",
    role: Role | None = None,
) -> Float[Array, "*shape"]:
    """Add the task vectors, and give all singular values of the sum their mean.

        Σ w_t τ_t = U diag(s) Vᵀ
        out = mean(s) U Vᵀ

    Shape: `deltas` is (task, *shape), or gives such tensors one by one; `weights` is (task,); the result is (*shape).
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  a sum of zeros stays zero. Singular values below 1e-6 of the largest count in the mean as zeros, and their
           directions, which are rounding, stay at 0; the authors' code gives arbitrary ones the same strength.
    Rest:  what is not taken apart (embeddings, positional tables, heads, convolutions, biases, norms) gets the mean, as
           in the authors' code, T times shorter than the sum that matrices start from; `others: sum` treats all alike.
    Paper: λ is searched on validation data. The authors take every tensor of two axes apart but `text_projection`:
           `spectral: tables`, and an override with `spectral: none` for that one.

    Args:
        deltas: the task vectors.
        weights: one number a task.
        spectral: which tensors are taken apart: linear layers (`matrices`), embeddings and other tables too (`tables`),
            everything with two axes or more (`all`, first axis against the others), or `none`.
        others: how all other tensors are added.
        role: what the tensor is (names tell tables from matrices); by its shape alone when not given.

    >>> iso_c(np.array([[[4.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 2.0]]]), np.ones(2)).round(9)
    array([[3., 0.],
           [0., 3.]])
    """
    if how := added(weights, spectral=spectral, others=others, role=role_in(deltas, role)):
        return blend(deltas, how)
    summed = total(deltas, weights)
    factor = polar(summed)
    return shaped(nuclear_norm(summed, factor) / max(1, side(deltas)) * factor, deltas)
