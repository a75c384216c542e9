"""Singular values and vectors of matrices without a library's SVD, mostly by the shorter Gram matrix.

A Gram matrix and its eigenvectors take less time than an SVD, the less the longer the other side.
Gram matrices are summed, and divided by, in float64.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from .arrays import Array, namespace
from .shapes import Float

ZERO = 1e-6
"""Singular values below this share of the largest are rounding: in a Gram matrix in float64 they are 1e-12."""

CLOSE = 3e-6
"""How near to the leading subspace `leading` must come. Polar factors of vectors that hardly differ raise errors."""

FEW = 16
"""Where `leading` would carry more than one of so many directions, eigenvectors of the Gram matrix cost no more."""

ROUNDS = 6
"""How often `leading` may improve its vectors before it gives up."""

WIDENED = 1 << 20
"""Entries that are widened to float64 at a time."""


class Spectrum(NamedTuple):
    """Singular values, the largest first, and their vectors: x ≈ u diag(s) vᵀ."""

    u: Float[Array, "row rank"]
    s: Float[Array, " rank"]
    v: Float[Array, "column rank"]


def svd(x: Float[Array, "row column"], rank: int | None = None, *, exact: bool = False) -> Spectrum:
    """Return the singular values and vectors of a matrix, or the `rank` largest of them.

        few of many (a sixteenth of the shorter side or less): `leading`, where it measures itself to be close
        else: xᵀx = V diag(s²) Vᵀ,   U = X V diag(1/s)        (of xxᵀ where there are fewer rows)

    The Gram matrix is summed and decomposed in float64, so values down to 1e-6 of the largest, and their vectors, are
    those of the matrix to float32's precision.

    Shape: `x` is (row, column); r = min(row, column) or `rank`. u is (row, r), s is (r,), v is (column, r).
    Zero:  values below 1e-6 of the largest come out as exactly 0, and so do their vectors, which are arbitrary.
    Edge:  `exact` calls the library's own SVD (gesdd), in float64; it gives arbitrary vectors to values of 0.

    >>> svd(np.array([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])).s
    array([4., 3.])
    """
    keep = min(x.shape) if rank is None else min(rank, *x.shape)
    if exact:
        xp = namespace(x)
        u, s, vt = xp.linalg.svd(xp.astype(x, xp.float64), full_matrices=False)
        return Spectrum(*(xp.astype(part, x.dtype) for part in (u[:, :keep], s[:keep], vt[:keep].T)))
    if x.shape[0] < x.shape[1]:
        v, s, u = svd(x.T, rank)
        return Spectrum(u, s, v)
    if FEW * block_of(keep, x.shape[1]) < x.shape[1]:
        found, error = leading(x, keep)
        if error <= CLOSE:
            return found
    return _by_gram(x, keep)


def leading(x: Float[Array, "row column"], rank: int) -> tuple[Spectrum, float]:
    """Return the `rank` largest singular values of a tall matrix, their vectors, and how far off these may be.

        V = orth(xᵀ orth(x Ω)), Ω random; then again and again
        (xV)ᵀ(xV) z = s² VᵀV z in float64,   u = xVz / s,   v = Vz,   V = orth(xᵀu)
        error² = mean of sin² θ_i,   sin θ_i = |xᵀu_i - s_i v_i| s_i / (s_i² - s_b²)

    θ_i bounds the angle between v_i and the true leading subspace (Davis and Kahan 1970), s_b is the smallest value of
    the block. Within the subspace vectors are exact, so a few directions more than `rank` are carried along.

    Shape: `x` is (row, column), row ≥ column. As `svd`; a block of all columns has nothing left out and error 0.
    Chance: Ω is always the same.
    Source: Halko, Martinsson and Tropp 2011, SIAM Review 53, §4 (range finder) and §5 (Ritz values); the bound of §4.3
           is replaced by the residual, which is measured.

    >>> import numpy as np
    >>> leading(np.diag([5.0, 4.0, 3.0, 2.0, 1.0, 0.5]), 2)[0].s.round(6)
    array([5., 4.])
    """
    xp, n = namespace(x), x.shape[1]
    block = block_of(rank, n)
    drawn = np.random.default_rng(0).standard_normal((n, block))
    spread = xp.linalg.qr(x @ xp.asarray(drawn, dtype=x.dtype, device=x.device))[0]
    v = xp.linalg.qr(x.T @ spread)[0]
    for _ in range(ROUNDS):
        u, s, v = _ritz(x, v)
        pulled = x.T @ u
        error = _angle(pulled - v * xp.astype(s, x.dtype), s, rank) if block < n else 0.0
        if error <= CLOSE:
            break
        v = xp.linalg.qr(pulled)[0]
    return Spectrum(u[:, :rank], xp.astype(s[:rank], x.dtype), v[:, :rank]), error


def block_of(rank: int, columns: int) -> int:
    """Return how many directions `leading` carries along for a rank."""
    return min(columns, rank + max(8, rank // 2))


def _ritz(x: Float[Array, "row column"], v: Float[Array, "column block"]) -> Spectrum:
    """Return the best singular values (in float64) and vectors of x that are made of the columns of v."""
    xp = namespace(x)
    wide = xp.astype(v, xp.float64)
    y = _times(x, wide, xp.empty((x.shape[0], v.shape[1]), dtype=xp.float64, device=x.device))
    bend = xp.linalg.inv(xp.linalg.cholesky(gram(v)))
    values, z = xp.linalg.eigh(bend @ (y.T @ y) @ bend.T)
    values, z = xp.flip(values, axis=-1), bend.T @ xp.flip(z, axis=-1)
    s = rounded_down(xp.sqrt(xp.clip(values, min=0.0)))
    return Spectrum(xp.astype(y @ (z * inverse(s)), x.dtype), s, xp.astype(wide @ (z * (s != 0)), x.dtype))


def _angle(residual: Float[Array, "column block"], s: Float[Array, " block"], rank: int) -> float:
    """Return the error that `leading` says it has."""
    xp = namespace(residual)
    kept = s[:rank]
    gap = kept**2 - s[-1] ** 2
    size = xp.sqrt(xp.sum(xp.astype(residual[:, :rank], xp.float64) ** 2, axis=0))
    sine = xp.where(size == 0, xp.zeros_like(gap), size * kept / xp.where(gap > 0, gap, 1e-300 * xp.ones_like(gap)))
    return float(xp.mean(xp.clip(sine, max=1e100) ** 2)) ** 0.5 if rank else 0.0


def _by_gram(x: Float[Array, "row column"], keep: int) -> Spectrum:
    """Decompose a tall matrix by its xᵀx."""
    xp = namespace(x)
    s, vectors = _eigen(x)
    s, v = s[:keep], xp.flip(vectors, axis=-1)[:, :keep]
    out = xp.empty((x.shape[0], keep), dtype=x.dtype, device=x.device)
    return Spectrum(_times(x, v * inverse(s), out), xp.astype(s, x.dtype), xp.astype(v * (s != 0), x.dtype))


def _eigen(x: Float[Array, "row column"]) -> tuple[Float[Array, " column"], Float[Array, "column column"]]:
    """Return a tall matrix's singular values, the largest first, and right vectors, the last first, in float64."""
    xp = namespace(x)
    values, vectors = xp.linalg.eigh(gram(x))
    return rounded_down(xp.sqrt(xp.clip(xp.flip(values, axis=-1), min=0.0))), vectors


def gram(x: Float[Array, "row column"]) -> Float[Array, "column column"]:
    """Return xᵀx in float64, of rows that are widened a few at a time.

    >>> gram(np.array([[1.0, 2.0]], np.float32))
    array([[1., 2.],
           [2., 4.]])
    """
    xp = namespace(x)
    total = xp.zeros((x.shape[1], x.shape[1]), dtype=xp.float64, device=x.device)
    for rows in _rows(x):
        wide = xp.astype(x[rows], xp.float64)
        total += wide.T @ wide
    return total


def _times(
    x: Float[Array, "row column"], right: Float[Array, "column n"], out: Float[Array, "row n"]
) -> Float[Array, "row n"]:
    """Write x @ right, multiplied in float64, a few rows at a time."""
    xp = namespace(x)
    for rows in _rows(x):
        out[rows] = xp.astype(xp.astype(x[rows], xp.float64) @ right, out.dtype)
    return out


def _rows(x: Float[Array, "row column"]) -> Iterator[slice]:
    step = max(1, WIDENED // max(1, x.shape[1]))
    yield from (slice(start, start + step) for start in range(0, x.shape[0], step))


def rounded_down(s: Float[Array, " n"]) -> Float[Array, " n"]:
    """Return singular values, the largest first, with those that are rounding as exactly 0.

    >>> rounded_down(np.array([2.0, 1.0, 1e-7]))
    array([2., 1., 0.])
    """
    xp = namespace(s)
    return xp.where(s > ZERO * s[:1], s, xp.zeros_like(s))


def above(x: Spectrum, least: float) -> Spectrum:
    """Return singular values, and their vectors, with zeros for those that do not exceed `least`."""
    xp = namespace(x.s)
    real = xp.astype(x.s > least, x.s.dtype)
    return Spectrum(x.u * real, x.s * real, x.v * real)


def inverse(s: Float[Array, " n"]) -> Float[Array, " n"]:
    """Return 1 / s, and 0 where s is 0.

    >>> inverse(np.array([2.0, 0.0]))
    array([0.5, 0. ])
    """
    xp = namespace(s)
    here = s != 0
    return xp.where(here, 1.0 / xp.where(here, s, xp.ones_like(s)), xp.zeros_like(s))


def reshaped(x: Float[Array, "row column"], values: Callable[[Array], Array]) -> Float[Array, "row column"]:
    """Return a matrix with other singular values: U diag(values(s)) Vᵀ.

        = x V diag(values(s) / s) Vᵀ        one eigenproblem of the shorter side, and no U

    Shape: that of `x`. `values` takes the singular values in float64, the largest first.
    Zero:  where s is 0 (below 1e-6 of the largest) the result is 0, whatever `values` says.

    >>> reshaped(np.diag([3.0, 4.0]), np.sqrt).round(4) + 0.0
    array([[1.7321, 0.    ],
           [0.    , 2.    ]])
    """
    if x.shape[0] < x.shape[1]:
        return reshaped(x.T, values).T
    xp = namespace(x)
    s, vectors = _eigen(x)
    change = (vectors * xp.flip(values(s) * inverse(s), axis=-1)) @ vectors.T
    del vectors
    return _times(x, change, xp.empty_like(x))
