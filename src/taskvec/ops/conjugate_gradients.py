"""Linear systems of which nothing is known but products, by conjugate gradients."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .arrays import Array, namespace
from .shapes import Float


class Solved(NamedTuple):
    """A solution, the norm of its residual as a share of the right side's, and the products that it took."""

    x: Array
    residual: float
    products: int


def conjugate_gradients(
    product: Callable[[Array], Array],
    right: Float[Array, "*shape"],
    *,
    start: Float[Array, "*shape"] | None = None,
    inverse: Callable[[Array], Array] | None = None,
    tolerance: float = 1e-6,
    most: int = 500,
) -> Solved:
    """Solve A x = right for a symmetric, positive semi-definite A.

    Shape: `right` and the solution are (*shape), which counts as one long vector. Inner products are taken in float64.
    Zero:  where A is singular, x stays in the span of its range and of `start`; with an A of zeros it is `start`.
    Edge:  a `start` that solves it to `tolerance` comes back as it is. It ends at `tolerance`, after `most` products,
           or where a direction has no curvature left; the residual that it returns is measured anew, so it is what was
           reached.
    Source: Hestenes and Stiefel 1952, J. Res. Natl. Bur. Stand. 49, §3 and §10 (with a preconditioner).

    Args:
        product: x → A x.
        right: the right side.
        start: where to begin; zeros when not given.
        inverse: x → M⁻¹ x for some M near A that is easily inverted; symmetric and positive definite.
        tolerance: the residual's norm as a share of the right side's.
        most: products at most, of which one begins and one measures the end.

    >>> x = conjugate_gradients(lambda x: np.array([2.0, 4.0]) * x, np.array([2.0, 2.0])).x
    >>> x.round(9)
    array([1. , 0.5])
    """
    x = namespace(right).zeros_like(right) if start is None else start
    residual = right if start is None else right - product(x)
    left, taken = _norm(residual), int(start is not None)
    size = _norm(right) or left or 1.0
    enough = tolerance * size
    if not np.isfinite(left) or left <= enough or taken + 1 >= most:
        return Solved(x, left / size, taken)
    ahead = near = inverse(residual) if inverse else residual
    slope = _dot(residual, near)
    while taken + 1 < most and left > enough:
        bent = product(ahead)
        taken += 1
        curvature = _dot(ahead, bent)
        if not curvature > 0:
            break
        step = slope / curvature
        x, residual = x + step * ahead, residual - step * bent
        left = _norm(residual)
        near = inverse(residual) if inverse else residual
        slope, before = _dot(residual, near), slope
        ahead = near + (slope / before) * ahead
    rest = right - product(x)
    return Solved(x, _norm(rest) / size, taken + 1)


def _norm(x: Array) -> float:
    return math.sqrt(_dot(x, x))


def _dot(one: Array, other: Array) -> float:
    """Return an inner product; squares of small float32 numbers are none in float32."""
    xp = namespace(one)
    return float(xp.sum(xp.astype(one, xp.float64) * xp.astype(other, xp.float64)))
