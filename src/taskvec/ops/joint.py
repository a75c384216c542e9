"""Spaces that low-rank changes of one matrix share: small for all of them together, and none of them is ever dense."""

from collections.abc import Sequence
from typing import NamedTuple

from .arrays import Array, namespace
from .shapes import Float
from .spectral import Spectrum

LOST = 1e-12
"""Directions whose singular value is below this share of the largest are rounding, in float64."""


class Core(NamedTuple):
    """left @ cores[t] @ rightᵀ is the change of task t."""

    left: Float[Array, "row l"]
    cores: Float[Array, "task l r"]
    right: Float[Array, "column r"]


class Blocks(NamedTuple):
    """basis @ blocks[t] is the change of task t."""

    basis: Float[Array, "row rank"]
    blocks: Float[Array, "task rank column"]


def core_space(bs: Sequence[Float[Array, "row _"]], as_: Sequence[Float[Array, "_ column"]]) -> Core:
    """Return the changes B_t A_t as small matrices between two orthonormal bases that all tasks share.

        [B_1 … B_T] = U diag(s) Vᵀ,   [A_1; …; A_T] = U' diag(s') V'ᵀ
        core_t = Uᵀ B_t A_t V'            and B_t A_t = U core_t V'ᵀ, nothing is lost

    Shape: B_t is (row, r_t), A_t is (r_t, column); ranks may differ, and be 0. The bases have as many columns as their
        stack has rank: Σ r_t, or the matrix's side where that is less.
    Zero:  directions below 1e-12 of the largest are left out. What no task has, is nobody's to keep or to drop.
    Paper: Core Space Merging, Panariello et al. 2025, arXiv:2509.17786. The authors' code keeps directions that no
        task has, which then count as zeros where a method ranks entries.

    >>> import numpy as np
    >>> core = core_space([np.array([[2.0], [0.0]])], [np.array([[0.0, 3.0]])])
    >>> core.left.shape, abs(core.cores), (core.left @ core.cores[0] @ core.right.T).tolist()
    ((2, 1), array([[[6.]]]), [[0.0, 6.0], [0.0, 0.0]])
    """
    xp = namespace(*bs)
    left, right = _basis(xp.concat(list(bs), axis=1)), _basis(xp.concat([a.T for a in as_], axis=1))
    cores = [(left.T @ b) @ (a @ right) for b, a in zip(bs, as_, strict=True)]
    return Core(left, xp.stack(cores), right)


def knots_space(bs: Sequence[Float[Array, "row _"]], as_: Sequence[Float[Array, "_ column"]]) -> Blocks:
    """Return the changes B_t A_t as blocks over one basis of their outputs.

        [B_1 A_1 … B_T A_T] = U diag(s) [V_1ᵀ … V_Tᵀ],   block_t = diag(s) V_tᵀ = Uᵀ B_t A_t

    A_tᵀ = Q_t R_t, so that U and s are those of [B_1 R_1ᵀ … B_T R_Tᵀ], which has Σ r_t columns.

    Shape: B_t is (row, r_t), A_t is (r_t, column); ranks may differ, and be 0.
    Zero:  directions below 1e-12 of the largest are left out; the authors' code leaves out those below 1e-5.
    Paper: KnOTS, Stoica et al. 2024, arXiv:2410.19735.

    >>> import numpy as np
    >>> found = knots_space([np.array([[2.0], [0.0]])], [np.array([[0.0, 3.0]])])
    >>> found.basis.shape, abs(found.blocks)
    ((2, 1), array([[[0., 6.]]]))
    """
    xp = namespace(*bs)
    inner = [b @ xp.linalg.qr(a.T)[1].T for b, a in zip(bs, as_, strict=True)]
    basis = _basis(xp.concat(inner, axis=1))
    return Blocks(basis, xp.stack([(basis.T @ b) @ a for b, a in zip(bs, as_, strict=True)]))


def _basis(x: Float[Array, "row column"]) -> Float[Array, "row rank"]:
    """Return the left singular vectors of a matrix, those of zero left out."""
    xp = namespace(x)
    q, r = xp.linalg.qr(x)
    u, s, _ = xp.linalg.svd(r, full_matrices=False)
    return q @ u[:, : _rank(s)]


def refactored(left: Float[Array, "row inner"], right: Float[Array, "inner column"]) -> Spectrum:
    """Return the singular values and vectors of left @ right, which is never made, down to 1e-12 of the largest.

    Zeros are left out.

    >>> import numpy as np
    >>> refactored(np.array([[3.0, 3.0], [4.0, 4.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])).s.round(9)
    array([10.])
    """
    xp = namespace(left)
    q_left, r_left = xp.linalg.qr(left)
    q_right, r_right = xp.linalg.qr(right.T)
    u, s, vt = xp.linalg.svd(r_left @ r_right.T, full_matrices=False)
    keep = _rank(s)
    return Spectrum(q_left @ u[:, :keep], s[:keep], q_right @ vt[:keep].T)


def product_norm(left: Float[Array, "row inner"], right: Float[Array, "inner column"]) -> float:
    """Return the Frobenius norm of left @ right, which is never made: that of R_l R_rᵀ.

    >>> import numpy as np
    >>> round(product_norm(np.array([[3.0], [4.0]]), np.array([[2.0, 0.0]])), 9)
    10.0
    """
    xp = namespace(left)
    r_left, r_right = xp.linalg.qr(left)[1], xp.linalg.qr(right.T)[1]
    return float(xp.linalg.vector_norm(r_left @ r_right.T))


def _rank(s: Float[Array, " n"]) -> int:
    xp = namespace(s)
    return int(xp.sum(xp.astype(s > LOST * xp.max(s), xp.int64))) if s.shape[0] else 0
