"""The polar factor of a matrix: by the eigenvectors of its Gram matrix, or by products and Cholesky factors alone."""

import math

from .arrays import Array, namespace
from .shapes import Float
from .spectral import ZERO, gram, reshaped

TOLERANCE = 1e-6
"""How near to orthogonal `by_products` must come, relative to the norm; else it says that it did not."""

STEPS = 12
"""Steps of Halley's iteration: six take singular values of 1e-16 to 1."""

MUCH = 100.0
"""Above this weight the Cholesky factor of I + c xᵀx loses digits, and a QR decomposition is taken."""


def polar(x: Float[Array, "row column"]) -> Float[Array, "row column"]:
    """Return the polar factor of a matrix: its nearest orthogonal one, U Vᵀ of x = U diag(s) Vᵀ.

        polar(x) = x (xᵀx)^(-1/2)        or (xxᵀ)^(-1/2) x where there are fewer rows

    On a processor by the eigenvectors of the Gram matrix; on an accelerator, where eigenvectors are slow, by products,
    and by eigenvectors where these do not come to an end.

    Shape: that of `x`.
    Zero:  directions below 1e-6 of the largest singular value are left out, where U Vᵀ is not determined. (On an
           accelerator those between that and 1e-6 / √columns may count, too.)

    >>> import numpy as np
    >>> polar(np.array([[2.0, 0.0], [0.0, -3.0]])).round(9) + 0.0
    array([[ 1.,  0.],
           [ 0., -1.]])
    """
    if str(x.device).startswith("cpu"):
        return reshaped(x, lambda s: (s != 0) * 1.0)
    found, error = by_products(x)
    return found if error <= TOLERANCE else reshaped(x, lambda s: (s != 0) * 1.0)


def nuclear_norm(x: Float[Array, "row column"], factor: Float[Array, "row column"]) -> float:
    """Return the sum of a matrix's singular values, given its polar factor: trace(factorᵀ x).

    >>> import numpy as np
    >>> nuclear_norm(np.diag([3.0, -4.0]), polar(np.diag([3.0, -4.0])))
    7.0
    """
    xp = namespace(x)
    return float(xp.sum(factor * x, dtype=xp.float64))


def by_products(x: Float[Array, "row column"], least: float = ZERO) -> tuple[Float[Array, "row column"], float]:
    """Return the polar factor by the dynamically weighted Halley iteration, and how far it is from one.

        x ← (b/c) x + (a - b/c) x (I + c xᵀx)⁻¹        until singular values between `least` and 1 are 1
        a, b, c from a lower bound l of the singular values, which follows:  l ← l (a + b l²) / (1 + c l²)
        error = |x xᵀx - x| / |x|                       0 where all singular values are 0 or 1

    No eigenvectors: products, QR decompositions while c is large, then Cholesky factors. In float64.

    Shape: that of `x`. A matrix of zeros comes back.
    Zero:  singular values below `least` of the largest do not come to 1, and the error says so; exact zeros stay.
    Source: Nakatsukasa, Bai and Gygi 2010, SIAM J. Matrix Anal. Appl. 31, §3 and §5 (QDWH).

    >>> import numpy as np
    >>> by_products(np.diag([2.0, -1e-3]))[0].round(9) + 0.0
    array([[ 1.,  0.],
           [ 0., -1.]])
    """
    xp = namespace(x)
    if x.shape[0] < x.shape[1]:
        found, error = by_products(x.T, least)
        return found.T, error
    out = xp.astype(x, xp.float64)
    size = float(xp.linalg.vector_norm(out))
    if not size:
        return x, 0.0
    out, low = out / size, least / math.sqrt(min(x.shape))
    for _ in range(STEPS):
        if 1 - low < 1e-15:
            break
        a, b, c = weights(low)
        out = (b / c) * out + (a - b / c) * (_qr_step(out, c) if c > MUCH else _cholesky_step(out, c))
        low = min(1.0, low * (a + b * low * low) / (1 + c * low * low))
    off = out @ gram(out) - out
    error = float(xp.linalg.vector_norm(off)) / float(xp.linalg.vector_norm(out))
    return xp.astype(out, x.dtype), error


def weights(low: float) -> tuple[float, float, float]:
    """Return the a, b and c that bring singular values between `low` and 1 nearest to 1 in one step.

    >>> weights(1.0)
    (3.0, 1.0, 3.0)
    """
    d = (4 * (1 - low * low) / low**4) ** (1 / 3)
    root = math.sqrt(1 + d)
    a = root + math.sqrt(8 - 4 * d + 8 * (2 - low * low) / (low * low * root)) / 2
    b = (a - 1) ** 2 / 4
    return a, b, a + b - 1


def _cholesky_step(x: Float[Array, "row column"], c: float) -> Float[Array, "row column"]:
    """Return x (I + c xᵀx)⁻¹."""
    xp = namespace(x)
    lower = xp.linalg.inv(xp.linalg.cholesky(xp.eye(x.shape[1], dtype=x.dtype, device=x.device) + c * gram(x)))
    return (x @ lower.T) @ lower


def _qr_step(x: Float[Array, "row column"], c: float) -> Float[Array, "row column"]:
    """Return x (I + c xᵀx)⁻¹ from the orthonormal part of [√c x; I]."""
    xp = namespace(x)
    below = xp.eye(x.shape[1], dtype=x.dtype, device=x.device)
    q = xp.linalg.qr(xp.concat([math.sqrt(c) * x, below], axis=0))[0]
    return (q[: x.shape[0]] @ q[x.shape[0] :].T) / math.sqrt(c)
