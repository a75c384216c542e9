"""Linear systems of which nothing is known but products, by conjugate gradients."""

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

    Shape: `right` and the solution are (*shape), which counts as one long vector.
    Zero:  a right side of zeros gives zeros. Where A is singular, x stays in the span of its range and of `start`.
    Edge:  it ends at `tolerance`, after `most` products, or where a direction has no curvature left; the residual that
           it returns is measured anew, so it is what was reached.

    Args:
        product: x → A x.
        right: the right side.
        start: where to begin; zeros when not given.
        inverse: x → M⁻¹ x for some M near A that is easily inverted.
        tolerance: the residual's norm as a share of the right side's.
        most: products at most.

    >>> x = conjugate_gradients(lambda x: np.array([2.0, 4.0]) * x, np.array([2.0, 2.0])).x
    >>> x.round(9)
    array([1. , 0.5])
    """
    xp = namespace(right)

    def dot(one: Array, other: Array) -> float:
        return float(xp.sum(one * other, dtype=xp.float64))

    target = dot(right, right) ** 0.5
    x = xp.zeros_like(right) if start is None else start
    if not target or not np.isfinite(target):
        return Solved(xp.zeros_like(right), 0.0 if not target else float("inf"), 0)
    residual = right if start is None else right - product(x)
    ahead = near = inverse(residual) if inverse else residual
    slope, taken = dot(residual, near), 0
    while taken < most and dot(residual, residual) ** 0.5 > tolerance * target:
        bent = product(ahead)
        taken += 1
        curvature = dot(ahead, bent)
        if not curvature > 0:
            break
        step = slope / curvature
        x, residual = x + step * ahead, residual - step * bent
        near = inverse(residual) if inverse else residual
        slope, before = dot(residual, near), slope
        ahead = near + (slope / before) * ahead
    left = right - product(x)
    return Solved(x, dot(left, left) ** 0.5 / target, taken)
