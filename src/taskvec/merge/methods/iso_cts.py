"""Iso-CTS: directions that tasks share, and directions of each task beside them, all equally strong."""

from itertools import chain

import numpy as np

from ...ops.arrays import Array, namespace
from ...ops.blend import Blend, blend
from ...ops.polar import polar
from ...ops.shapes import Float
from ...ops.spectral import ZERO, Spectrum, above, svd
from ..matrices import (
    Others,
    Role,
    Spectral,
    added,
    beside,
    decomposed,
    matrices,
    role_in,
    shaped,
    side,
    total,
    upright,
)
from ..registry import Needs, Rest, merge_method
from ..statistics import Settings


def steps(
    weights: Float[np.ndarray, " task"],
    *,
    common: float,
    spectral: Spectral,
    others: Others,
    role: Role | None = None,
) -> Blend | None:
    """Return a mean or a sum for a tensor that is not taken apart."""
    del common
    return added(weights, spectral=spectral, others=others, role=role)


def ranks(rank: int, tasks: int, common: float) -> tuple[int, int]:
    """Return how many directions are common, and how many each task adds: together all of them.

    >>> ranks(10, 3, 0.8), ranks(10, 3, 0.0)
    ((7, 1), (1, 3))
    """
    own = round((rank - int(rank * common)) / tasks)
    own = min(own, rank // tasks)
    return rank - own * tasks, own


def holds(tasks: int, rows: int, columns: int, settings: Settings) -> int:
    """Return how many float32 numbers are held at once."""
    del tasks, settings
    return 7 * rows * columns + decomposed(rows, columns)


def beyond(x: Float[Array, "row column"], common: Float[Array, "row rank"], count: int) -> Spectrum:
    """Return what is largest in a matrix outside of some directions; rounding, measured at the matrix, is nothing."""
    xp = namespace(x)
    size = float(xp.linalg.vector_norm(x))
    return above(svd(x - common @ (common.T @ x), count), ZERO * size)


@merge_method(
    needs=Needs(space="delta", scope="tensor", role=True, holds=holds, blend=steps),
    laws=("any_order", "homogeneous"),
    paper="Marczak et al. 2025, arXiv:2502.04959, §4.2",
)
def iso_cts(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    common: Rest = 0.8,
    spectral: Spectral = "matrices",
    others: Others = "mean",
    role: Role | None = None,
) -> Float[Array, "*shape"]:
    """Keep the strongest directions of the sum, put some of each task's own beside them, and make all equally strong.

        Σ w_t τ_t ≈ U_c diag(s_c) V_cᵀ,                        the first `common` of the rank
        w_t τ_t - U_c U_cᵀ w_t τ_t ≈ U_t diag(s_t) V_tᵀ,       as many of each task as fill the rest
        U = polar([U_1 … U_T U_c]),   V = polar([V_1 … V_T V_c]),   s = [s_1 … s_T s_c]
        out = mean(s) U Vᵀ

    Shape: `deltas` is (task, *shape), or gives such tensors one by one; `weights` is (task,); the result is (*shape).
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  a task that is zero adds nothing. Singular values below 1e-6 of the largest count in the mean as zeros.
    Edge:  `common: 1` is `iso_c`. The rest of the rank is rounded to a multiple of T, as in the authors' code.
    Rest:  what is not taken apart (embeddings, positional tables, heads, convolutions, biases, norms) gets the mean, as
           in the authors' code, T times shorter than the sum that matrices start from; `others: sum` treats all alike.
    Paper: `common` is 0.8, λ is searched. A task's own left vectors are orthogonal to the common ones by construction,
           its right vectors only after the polar factor. Reads every task twice. `spectral` as in `iso_c`.

    Args:
        deltas: the task vectors.
        weights: one number a task.
        common: the share of the rank that is common.
        spectral: which tensors are taken apart: linear layers (`matrices`), embeddings and other tables too (`tables`),
            everything with two axes or more (`all`, first axis against the others), or `none`.
        others: how all other tensors are added.
        role: what the tensor is (names tell tables from matrices); by its shape alone when not given.

    >>> iso_cts(np.array([[[4.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 2.0]]]), np.ones(2), common=0.0).round(9)
    array([[3., 0.],
           [0., 3.]])
    """
    if how := added(weights, spectral=spectral, others=others, role=role_in(deltas, role)):
        return blend(deltas, how)
    deltas = upright(deltas, role)
    rank = side(deltas)
    shared, own = ranks(rank, deltas.shape[0], common)
    both = svd(total(deltas, weights), shared)
    rests = (beyond(x, both.u, own) for x in matrices(deltas, weights)) if own else ()
    u, s, v = beside(chain(rests, (both,)), deltas, rank)
    return shaped(namespace(s).sum(s) / max(1, rank) * (polar(u) @ polar(v).T), deltas)
