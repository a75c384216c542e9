"""The product of two thin factors, as low-rank adapters store a change of a matrix."""

import numpy as np

from .kernels import fused_for
from .shapes import Float

BLOCK = 1 << 14
"""Entries that are worked on at a time, so that they stay in the innermost caches."""


def low_rank(
    left: Float[np.ndarray, "row rank"],
    right: Float[np.ndarray, "rank column"],
    scale: float,
    out: Float[np.ndarray, "row column"],
) -> Float[np.ndarray, "row column"]:
    """Write scale · left @ right into `out`, in float32, and return it.

        out_ij = scale (left_i0 right_0j + left_i1 right_1j + …)    left to right, every product and sum rounded once

    So an entry's bits depend on its row and its column alone: not on the rows beside it, nor on a linear algebra
    library, its threads or the machine.

    >>> low_rank(np.eye(2, 1, dtype=np.float32), np.ones((1, 2), np.float32), 0.5, np.empty((2, 2), np.float32))
    array([[0.5, 0.5],
           [0. , 0. ]], dtype=float32)
    """
    if fused := fused_for(left, right, out):
        fused.low_rank(left, right, scale, out)
        return out
    factor = np.float32(scale)
    rows = max(1, BLOCK // max(1, out.shape[1]))
    for i in range(0, out.shape[0], rows):
        for j in range(0, out.shape[1], BLOCK):
            here = (slice(i, i + rows), slice(j, j + BLOCK))
            out[here] = factor * _product(left[here[0]], right[:, here[1]])
    return out


def _product(
    left: Float[np.ndarray, "row rank"], right: Float[np.ndarray, "rank column"]
) -> Float[np.ndarray, "row column"]:
    total = np.zeros((left.shape[0], right.shape[1]), np.float32)
    term = np.empty_like(total)
    with np.errstate(invalid="ignore", over="ignore"):  # a merge names what is not finite
        for k in range(left.shape[1]):
            np.multiply(left[:, k, None], right[k], out=term)
            np.add(total, term, out=total)
    return total
