"""Exponentials and logarithms from products and sums alone, so that every machine gives the same bits.

Those of numpy and of C libraries differ in the last bit between processors and versions.
"""

import numpy as np

from .shapes import Float64

LOG2_E = float.fromhex("0x1.71547652b82fep+0")
LN2_HIGH = float.fromhex("0x1.62e42feep-1")
LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
LN2 = float.fromhex("0x1.62e42fefa39efp-1")
ROUND = 6755399441055744.0
"""1.5 · 2⁵²: adding it rounds a float64 to a whole number, which then stands in its lowest bits."""

OVER_FACTORIAL = tuple(1.0 / float(np.prod(np.arange(1, k + 1, dtype=np.float64))) for k in range(13))
"""1 / k!"""

SMALL = 0.5
MOST = 300.0
"""What is larger is taken as this large, so that sums of exponentials do not overflow."""


def exp(x: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Return e^x to 13 digits, for |x| up to `MOST`, beyond which e^±MOST comes out.

    x = k ln 2 + r;  e^x = 2^k (1 + r + r²/2! + … + r¹¹/11!)

    >>> exp(np.array([0.0, 1.0])).round(12)
    array([1.        , 2.71828183])
    """
    x = np.minimum(np.maximum(x, -MOST), MOST)
    shifted = x * LOG2_E + ROUND
    k = shifted - ROUND
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    p = np.full_like(r, OVER_FACTORIAL[11])
    for c in OVER_FACTORIAL[10::-1]:
        p *= r
        p += c
    p *= ((np.asarray(shifted).view(np.int64) + 1023) << 52).view(np.float64)
    return p


def exp_beyond_linear(x: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Return e^x - 1 - x to 11 digits, however small x is.

    >>> float(exp_beyond_linear(np.array([1e-9]))[0])
    5.000000001666667e-19
    """
    p = np.full_like(x, OVER_FACTORIAL[12])
    for c in OVER_FACTORIAL[11:1:-1]:
        p *= x
        p += c
    p *= x
    p *= x
    large = np.abs(x) > SMALL
    return np.where(large, (exp(x) - 1.0) - x, p) if large.any() else p


def log1p(x: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Return ln(1 + x) for x > -1/2, however small x is.

    1 + x = 2^k (1 + y);  ln(1 + y) = 2 (z + z³/3 + z⁵/5 + …), z = y / (2 + y)

    >>> log1p(np.array([1.0, 1e-9])).tolist()
    [0.6931471805599453, 9.999999995e-10]
    """
    m, k = np.frexp(1.0 + x)
    low = m < 0.7071067811865476
    m, k = np.where(low, 2.0 * m, m), k - low
    near = np.abs(x) < SMALL
    y, k = np.where(near, x, m - 1.0), np.where(near, 0, k)
    z = y / (2.0 + y)
    square = z * z
    p = np.full_like(z, 1.0 / 25)
    for c in range(23, 0, -2):
        p = p * square + 1.0 / c
    return 2.0 * z * p + k * LN2
