"""KnOTS: task vectors in one basis of their outputs, merged there by TIES."""

import math
from typing import Literal

import numpy as np

from ...ops.arrays import Array, namespace
from ...ops.blend import Blend, blend
from ...ops.chance import Chance, drop
from ...ops.combine import elect_and_average, weighted_sum
from ...ops.select import count_of, kth_largest
from ...ops.shapes import Float
from ...ops.spectral import gram, rounded_down
from ..matrices import Others, Role, Spectral, added, matrices, role_in, shaped, upright
from ..registry import Needs, Share, merge_method
from ..statistics import Settings


def steps(
    weights: Float[np.ndarray, " task"],
    *,
    density: float,
    keep: str,
    combine: str,
    spectral: Spectral,
    others: Others,
    role: Role | None = None,
) -> Blend | None:
    """Return a mean or a sum for a tensor that is not taken apart."""
    del density, keep, combine
    return added(weights, spectral=spectral, others=others, role=role)


def holds(tasks: int, rows: int, columns: int, settings: Settings) -> int:
    """Return how many float32 numbers are held at once."""
    del settings
    return (5 * tasks + 10) * rows * columns + 11 * rows**2


def threshold(blocks: Float[Array, "task rank column"], density: float) -> Float[np.ndarray, " task"]:
    """Return each task's smallest magnitude that is kept."""
    total = math.prod(blocks.shape[1:])
    return kth_largest(blocks, max(1, count_of(density, total)))


def common_basis(deltas: Float[Array, " task *shape"]) -> Float[Array, "row rank"]:
    """Return the left singular vectors of [τ_1 … τ_T] whose singular values are no rounding."""
    summed = None
    for x in matrices(deltas, np.ones(deltas.shape[0])):
        own = gram(x.T)
        summed = own if summed is None else summed + own
    xp = namespace(summed)
    values, vectors = xp.linalg.eigh(summed)
    s = rounded_down(xp.flip(xp.sqrt(xp.clip(values, min=0.0)), axis=-1))
    rank = int(xp.sum(xp.astype(s > 0, xp.int64)))
    return xp.astype(xp.flip(vectors, axis=-1)[:, :rank], deltas.dtype)


@merge_method(
    needs=Needs(space="delta", scope="tensor", role=True, chance=True, holds=holds, blend=steps),
    laws=("any_order", "homogeneous"),
    paper="Stoica et al. 2024, arXiv:2410.19735, §4 (KnOTS)",
)
def knots(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    density: Share = 0.2,
    keep: Literal["largest", "random", "all"] = "largest",
    combine: Literal["mean", "sum", "count", "add"] = "mean",
    spectral: Spectral = "matrices",
    others: Others = "mean",
    role: Role | None = None,
    chance: Chance | None = None,
) -> Float[Array, "*shape"]:
    """Write all task vectors in one basis of their outputs, and merge what stands there entry by entry.

        [τ_1 … τ_T] = U diag(s) [V_1ᵀ … V_Tᵀ],   B_t = diag(s) V_tᵀ = Uᵀ τ_t
        t = B_t where it is large | drawn (and divided by the density) | all of B_t                  `keep`
        out = U Σ_A |w_t| t / Σ_A |w_t|,   A: the tasks with the elected sign of an entry            `combine: mean`

    Shape: `deltas` is (task, *shape), or gives such tensors one by one; `weights` is (task,); the result is (*shape).
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  directions below 1e-6 of the largest singular value are left out. The authors leave out what is below 1e-5,
           whatever the scale. An entry that no task keeps is 0.
    Same:  with `keep: all` and `combine: add` it is the sum Σ w_t τ_t. The signs of the singular vectors do not matter.
    Rest:  what is not taken apart (embeddings, positional tables, heads, convolutions, biases, norms) gets the mean;
           `others: sum` adds it. The authors merge adapters, which change matrices only.
    Paper: the shares are searched. Every task's own weight counts; the authors' code gives the first weight to all.
           `keep: largest` is KnOTS-TIES, `keep: random` KnOTS-DARE-TIES. Trimmed within each tensor.

    Args:
        deltas: the task vectors.
        weights: one number a task.
        density: the share of each task's entries in the common basis that is kept.
        keep: which are kept.
        combine: how what is kept is merged: as in `ties`, or added without a vote.
        spectral: which tensors are taken apart: linear layers (`matrices`), embeddings and other tables too (`tables`),
            everything with two axes or more (`all`, first axis against the others), or `none`.
        others: how all other tensors are added.
        role: what the tensor is (names tell tables from matrices); by its shape alone when not given.
        chance: random words, for `keep: random`.

    >>> x = np.array([[[3.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 2.0]]])
    >>> knots(x, np.ones(2), keep="all").round(9)
    array([[3., 0.],
           [0., 2.]])
    """
    if how := added(weights, spectral=spectral, others=others, role=role_in(deltas, role)):
        return blend(deltas, how)
    deltas = upright(deltas, role)
    basis = common_basis(deltas)
    xp = namespace(basis)
    tasks, columns = deltas.shape[0], math.prod(deltas.shape[2:])
    blocks = xp.empty((tasks, basis.shape[1], columns), dtype=basis.dtype, device=basis.device)
    for t, x in enumerate(matrices(deltas, np.ones(tasks))):
        blocks[t, ...] = basis.T @ x
    if keep == "random":
        blocks = drop(blocks, density, chance or Chance())
    band = (threshold(blocks, density), np.full(blocks.shape[0], np.inf)) if keep == "largest" else None
    if combine == "add":
        return shaped(basis @ weighted_sum(blocks, weights, band), deltas)
    return shaped(basis @ elect_and_average(blocks, weights, band=band, combine=combine), deltas)
