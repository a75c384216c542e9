"""From a matrix and its change to the change that also gives every row a length of its own (DoRA)."""

import numpy as np

from .kernels import fused_for
from .shapes import Float, Float64

LANES = 16
"""Running sums of a row's squares, added in order at its end, so that the bits are the same on every machine."""


def resize_rows(
    base: Float[np.ndarray, "row column"],
    change: Float[np.ndarray, "row column"],
    sizes: Float[np.ndarray, " row"],
) -> Float[np.ndarray, "row column"]:
    """Turn the change of a matrix, in place, into that of the matrix whose rows have the given lengths; return it.

        g_i = size_i / ‖base_i + change_i‖                 in float64
        out = g change + (g - 1) base                      in float32: base + out has rows of those lengths

    Edge: a row that the change makes zero has no direction, and comes out as NaN or Inf.

    >>> resize_rows(np.float32([[3, 0]]), np.float32([[0, 4]]), np.float32([10]))
    array([[3., 8.]], dtype=float32)
    """
    if fused := fused_for(base, change, sizes):
        fused.resize_rows(base, change, sizes)
        return change
    with np.errstate(invalid="ignore", over="ignore"):
        squares = (base + change).astype(np.float64)
    squares *= squares
    even = squares.shape[1] // LANES * LANES
    lanes = np.add.reduce(squares[:, :even].reshape(len(squares), -1, LANES), axis=1)
    lanes[:, : squares.shape[1] - even] += squares[:, even:]
    return resize(base, change, ratio(sizes, np.add.accumulate(lanes, axis=1)[:, -1])[:, None])


def ratio(sizes: Float[np.ndarray, " n"], squares: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Return size / √squares, in float64."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient: Float64[np.ndarray, " n"] = sizes.astype(np.float64) / np.sqrt(squares)
    return quotient


def resize(
    base: Float[np.ndarray, "row column"],
    change: Float[np.ndarray, "row column"],
    g: Float64[np.ndarray, "#row #column"],
) -> Float[np.ndarray, "row column"]:
    """Return g change + (g - 1) base, in the change's place."""
    with np.errstate(invalid="ignore", over="ignore"):
        change *= g.astype(np.float32)
        change += (g - 1).astype(np.float32) * base
    return change
