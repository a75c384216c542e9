"""Subspace boosting: the sum of the task vectors, with its weak directions made stronger."""

from functools import partial

import numpy as np

from ...ops.arrays import Array, namespace
from ...ops.blend import Blend, blend
from ...ops.shapes import Float
from ...ops.spectral import reshaped
from ..matrices import Others, Role, Spectral, added, decomposed, role_in, shaped, total
from ..registry import Needs, Rest, merge_method
from ..statistics import Settings


def steps(
    weights: Float[np.ndarray, " task"],
    *,
    beta: float,
    spectral: Spectral,
    others: Others,
    role: Role | None = None,
) -> Blend | None:
    """Return a mean or a sum for a tensor that is not taken apart."""
    del beta
    return added(weights, spectral=spectral, others=others, role=role)


def boosted(s: Float[Array, " rank"], beta: float) -> Float[Array, " rank"]:
    """Return singular values, each at least the one at which their running sum reaches the share `beta` of all.

    >>> boosted(np.array([5.0, 3.0, 2.0]), 0.6)
    array([5., 3., 3.])
    """
    xp = namespace(s)
    if not s.shape[0]:
        return s
    below = xp.sum(xp.astype(xp.cumulative_sum(s) < beta * xp.sum(s), xp.int64))
    return xp.clip(s, min=float(s[min(int(below), s.shape[0] - 1)]))


def holds(tasks: int, rows: int, columns: int, settings: Settings) -> int:
    """Return how many float32 numbers are held at once."""
    del tasks, settings
    return 3 * rows * columns + decomposed(rows, columns)


@merge_method(
    needs=Needs(space="delta", scope="tensor", role=True, holds=holds, blend=steps),
    laws=("any_order", "homogeneous"),
    paper="Skorobogat et al. 2025, arXiv:2506.16506, §4 (Subspace Boosting)",
)
def subspace_boosting(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    beta: Rest = 0.01,
    spectral: Spectral = "matrices",
    others: Others = "mean",
    role: Role | None = None,
) -> Float[Array, "*shape"]:
    """Add the task vectors, and raise the small singular values of the sum to one of the large.

        Σ w_t τ_t = U diag(s) Vᵀ
        k: the first at which s_1 + … + s_k reaches beta · Σ s
        out = U diag(max(s, s_k)) Vᵀ

    Shape: `deltas` is (task, *shape), or gives such tensors one by one; `weights` is (task,); the result is (*shape).
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  a sum of zeros stays zero. Directions below 1e-6 of the largest singular value are rounding and stay at 0.
    Edge:  `beta: 0` raises all to the largest; `beta: 1` leaves the sum as it is.
    Rest:  what is not taken apart (embeddings, positional tables, heads, convolutions, biases, norms) gets the mean, as
           in most such code, T times shorter than the sum that matrices get; `others: sum` treats all alike.
    Paper: `beta` is about 0.01: where the first value holds that share of the sum, all directions get its strength. The
           paper boosts what task arithmetic, TIES or consensus have merged: for the latter two write that merge first,
           and boost it as the only model of a second recipe.

    Args:
        deltas: the task vectors.
        weights: one number a task.
        beta: the share of the sum of singular values that the largest must hold; all others are raised to the last of
            these.
        spectral: which tensors are taken apart: linear layers (`matrices`), embeddings and other tables too (`tables`),
            everything with two axes or more (`all`, first axis against the others), or `none`.
        others: how all other tensors are added.
        role: what the tensor is (names tell tables from matrices); by its shape alone when not given.

    >>> subspace_boosting(np.array([[[4.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 2.0]]]), np.ones(2)).round(9)
    array([[4., 0.],
           [0., 4.]])
    """
    if how := added(weights, spectral=spectral, others=others, role=role_in(deltas, role)):
        return blend(deltas, how)
    return shaped(reshaped(total(deltas, weights), partial(boosted, beta=beta)), deltas)
