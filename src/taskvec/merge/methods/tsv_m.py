"""TSV-M: each task's largest singular vectors, made orthogonal to those of the others."""

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, blend
from ...ops.shapes import Float
from ..labelled import Rank, holds_labelled, kept, labelled
from ..matrices import Others, Role, Spectral, added, role_in, shaped
from ..registry import Needs, Rest, merge_method
from ..statistics import Settings


def steps(
    weights: Float[np.ndarray, " task"],
    *,
    share: float,
    rank: int,
    spectral: Spectral,
    others: Others,
    role: Role | None = None,
) -> Blend | None:
    """Return a mean or a sum for a tensor that is not taken apart."""
    del share, rank
    return added(weights, spectral=spectral, others=others, role=role)


def holds(tasks: int, rows: int, columns: int, settings: Settings) -> int:
    """Return how many float32 numbers are held at once."""
    keep = kept(settings["share"], settings["rank"], min(rows, columns), tasks)
    return holds_labelled(tasks, rows, columns, keep)


@merge_method(
    needs=Needs(space="delta", scope="tensor", role=True, holds=holds, blend=steps),
    laws=("any_order", "homogeneous"),
    paper="Gargiulo et al. 2025, arXiv:2412.00081, §3.2 and §3.3",
)
def tsv_m(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    share: Rest = 0.0,
    rank: Rank = 0,
    spectral: Spectral = "matrices",
    others: Others = "mean",
    role: Role | None = None,
) -> Float[Array, "*shape"]:
    """Keep each task's largest singular vectors, and turn those of different tasks until they are orthogonal.

        w_t τ_t ≈ U_t diag(s_t) V_tᵀ,   its k = share · min(rows, columns) largest singular values
        U = polar([U_1 … U_T]),   V = polar([V_1 … V_T]),   s = [s_1 … s_T]
        out = U diag(s) Vᵀ

    Shape: `deltas` is (task, *shape), or gives such tensors one by one; `weights` is (task,); the result is (*shape).
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  a task whose matrix is zero, or that weighs 0, adds nothing. Singular values below 1e-6 of the largest count
           as 0, and directions that the tasks' vectors span only to that are left out of the polar factors.
    Edge:  k is rounded down and at least 1. One task with `share: 1` comes back as it is.
    Rest:  what is not taken apart (embeddings, positional tables, heads, convolutions, biases, norms) gets the mean, as
           in the authors' code, T times shorter than the sum that matrices get; `others: sum` treats all alike.
    Paper: k is 1/T of the rank (`share: 0`), so that all tasks' vectors fill it; λ = 1. The authors take every tensor
           of two axes apart but `text_projection`: `spectral: tables`, and an override with `spectral: none` for that.

    Args:
        deltas: the task vectors.
        weights: one number a task.
        share: the share of singular values that each task keeps; 0: 1/T.
        rank: how many singular values each task keeps, at most 1/T of them; 0: as `share` says.
        spectral: which tensors are taken apart: linear layers (`matrices`), embeddings and other tables too (`tables`),
            everything with two axes or more (`all`, first axis against the others), or `none`.
        others: how all other tensors are added.
        role: what the tensor is (names tell tables from matrices); by its shape alone when not given.

    >>> tsv_m(np.array([[[4.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 2.0]]]), np.ones(2)).round(9)
    array([[4., 0.],
           [0., 2.]])
    """
    if how := added(weights, spectral=spectral, others=others, role=role_in(deltas, role)):
        return blend(deltas, how)
    atoms, s, _ = labelled(deltas, weights, share=share, rank=rank)
    return shaped((atoms.u * s) @ atoms.v.T, deltas)
