"""Singular values and vectors of matrices, by the shorter Gram matrix; of products of thin factors, by the factors."""

from collections.abc import Callable
from typing import NamedTuple

from .arrays import Array, namespace
from .shapes import Float

ZERO = 1e-6
"""Singular values below this share of the largest are rounding: in a Gram matrix in float64 they are 1e-12."""


class Spectrum(NamedTuple):
    """Singular values, the largest first, and their vectors: x ≈ u diag(s) vᵀ."""

    u: Float[Array, "row rank"]
    s: Float[Array, " rank"]
    v: Float[Array, "column rank"]


def svd(x: Float[Array, "row column"], rank: int | None = None, *, exact: bool = False) -> Spectrum:
    """Return the singular values and vectors of a matrix, or the `rank` largest of them.

        xᵀx = V diag(s²) Vᵀ,   U = X V diag(1/s)        (of xxᵀ where there are fewer rows)

    The Gram matrix is taken and decomposed in float64, so values down to 1e-6 of the largest, and their vectors, are
    those of the matrix to float32's precision. It takes a third of an SVD's time, and less the longer the other side.

    Shape: `x` is (row, column); r = min(row, column) or `rank`. u is (row, r), s is (r,), v is (column, r).
    Zero:  values below 1e-6 of the largest come out as exactly 0, with vectors of zeros on the longer side.
    Edge:  `exact` calls the library's own SVD (gesdd), in float64.

    >>> import numpy as np
    >>> svd(np.array([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])).s
    array([4., 3.])
    """
    xp, kind = namespace(x), x.dtype
    wide = xp.astype(x, xp.float64)
    keep = min(x.shape) if rank is None else min(rank, *x.shape)
    if exact:
        u, s, vt = xp.linalg.svd(wide, full_matrices=False)
        parts = (u[:, :keep], s[:keep], vt[:keep].T)
    elif x.shape[0] < x.shape[1]:
        v, s, u = _by_gram(wide.T, keep)
        parts = (u, s, v)
    else:
        parts = _by_gram(wide, keep)
    return Spectrum(*(xp.astype(part, kind) for part in parts))


def _by_gram(x: Float[Array, "row column"], keep: int) -> Spectrum:
    """Decompose a tall matrix by its xᵀx."""
    xp = namespace(x)
    values, vectors = xp.linalg.eigh(x.T @ x)
    v = xp.flip(vectors, axis=-1)[:, :keep]
    s = xp.sqrt(xp.clip(xp.flip(values, axis=-1)[:keep], min=0.0))
    s = xp.where(s > ZERO * xp.max(s), s, xp.zeros_like(s)) if keep else s
    return Spectrum((x @ v) * inverse(s), s, v)


def inverse(s: Float[Array, " n"]) -> Float[Array, " n"]:
    """Return 1 / s, and 0 where s is 0.

    >>> import numpy as np
    >>> inverse(np.array([2.0, 0.0]))
    array([0.5, 0. ])
    """
    xp = namespace(s)
    here = s != 0
    return xp.where(here, 1.0 / xp.where(here, s, xp.ones_like(s)), xp.zeros_like(s))


def product_svd(
    left: Float[Array, "row inner"], right: Float[Array, "inner column"], rank: int | None = None
) -> Spectrum:
    """Return the singular values and vectors of left @ right, which is never made.

        left = Q_l R_l,   rightᵀ = Q_r R_r,   R_l R_rᵀ = U diag(s) Vᵀ (inner × inner)
        out: Q_l U, s, Q_r V

    Shape: `left` is (row, inner), `right` is (inner, column); r = min(row, inner, column) or `rank`.
    Zero:  values below 1e-6 of the largest are exactly 0.

    >>> import numpy as np
    >>> product_svd(np.array([[3.0], [4.0]]), np.array([[2.0, 0.0]])).s
    array([10.])
    """
    xp, kind = namespace(left), left.dtype
    q_left, r_left = xp.linalg.qr(xp.astype(left, xp.float64))
    q_right, r_right = xp.linalg.qr(xp.astype(right.T, xp.float64))
    u, s, vt = xp.linalg.svd(r_left @ r_right.T, full_matrices=False)
    keep = s.shape[0] if rank is None else min(rank, s.shape[0])
    s = xp.where(s > ZERO * xp.max(s), s, xp.zeros_like(s)) if keep else s
    parts = q_left @ u[:, :keep], s[:keep], q_right @ vt[:keep].T
    return Spectrum(*(xp.astype(part, kind) for part in parts))


def polar(x: Float[Array, "row column"]) -> Float[Array, "row column"]:
    """Return the polar factor of a matrix: its nearest orthogonal one, U Vᵀ of x = U diag(s) Vᵀ.

        polar(x) = x (xᵀx)^(-1/2)        or (xxᵀ)^(-1/2) x where there are fewer rows

    Shape: that of `x`.
    Zero:  directions below 1e-6 of the largest singular value are left out, where U Vᵀ is not determined.

    >>> import numpy as np
    >>> polar(np.array([[2.0, 0.0], [0.0, -3.0]])).round(9) + 0.0
    array([[ 1.,  0.],
           [ 0., -1.]])
    """
    return reshaped(x, lambda s: (s != 0) * 1.0)


def reshaped(x: Float[Array, "row column"], values: Callable[[Array], Array]) -> Float[Array, "row column"]:
    """Return a matrix with other singular values: U diag(values(s)) Vᵀ.

        = x V diag(values(s) / s) Vᵀ        one eigenproblem of the shorter side, and no U

    Shape: that of `x`. `values` takes the singular values, the largest first.
    Zero:  where s is 0 (below 1e-6 of the largest) the result is 0, whatever `values` says.

    >>> import numpy as np
    >>> reshaped(np.diag([3.0, 4.0]), np.sqrt).round(4) + 0.0
    array([[1.7321, 0.    ],
           [0.    , 2.    ]])
    """
    xp = namespace(x)
    if x.shape[0] < x.shape[1]:
        return reshaped(x.T, values).T
    wide = xp.astype(x, xp.float64)
    _, s, v = _by_gram(wide, x.shape[1])
    factors = values(s) * inverse(s)
    return xp.astype(wide @ ((v * factors) @ v.T), x.dtype)
