"""Inner products of a stack of tensors, to the same bits whatever the slices were."""

import math
from collections.abc import Iterable

import numpy as np

from .arrays import Array
from .kernels import fused_for
from .shapes import Float, Float64

BLOCK = 1 << 14
"""Entries a partial sum covers. Slices begin at multiples of it."""

LANES = 16


def gram(stack: Float[Array, " task *shape"]) -> Float64[np.ndarray, "task task"]:
    """Return all inner products K_ij = ⟨x_i, x_j⟩, in float64.

    >>> gram(np.array([[3.0, 4.0], [1.0, 0.0]]))
    array([[25.,  3.],
           [ 3.,  1.]])
    """
    rows = np.asarray(stack).reshape(stack.shape[0], -1)
    return total(gram_parts(rows))


def gram_parts(rows: Float[np.ndarray, "task n"]) -> list[Float64[np.ndarray, "task task"]]:
    """Return the Gram matrix of each block of `BLOCK` entries, to be added with `total`."""
    return [_block(np.ascontiguousarray(rows[:, at : at + BLOCK])) for at in range(0, max(1, rows.shape[1]), BLOCK)]


def total(parts: Iterable[Float64[np.ndarray, "*shape"]]) -> Float64[np.ndarray, "*shape"]:
    """Add partial sums, Gram matrices or others; the correctly rounded sum, so their order does not matter."""
    stacked = np.stack(list(parts))
    out = np.empty(stacked.shape[1:])
    for at in np.ndindex(out.shape):
        out[at] = math.fsum(stacked[(slice(None), *at)])
    return out


def _block(rows: Float[np.ndarray, "task n"]) -> Float64[np.ndarray, "task task"]:
    """Add products in `LANES` running sums, then the lanes in order: what the fused kernel does too."""
    if fused := fused_for(rows):
        block: Float64[np.ndarray, "task task"] = fused.gram_block(rows)
        return block
    wide = rows.astype(np.float64)
    tasks, n = wide.shape
    out = np.empty((tasks, tasks))
    even = n - n % LANES
    for i in range(tasks):
        for j in range(i + 1):
            product = wide[i] * wide[j]
            lanes = np.zeros(LANES)
            lanes += np.add.reduce(product[:even].reshape(-1, LANES), axis=0)
            lanes[: n - even] += product[even:]
            out[i, j] = out[j, i] = np.add.accumulate(lanes)[-1]
    return out


def cosines(matrix: Float64[np.ndarray, "task task"]) -> Float64[np.ndarray, "task task"]:
    """Turn a Gram matrix into cosines; a zero vector has cosine 0 with everything, and 1 with itself.

    >>> cosines(np.array([[4.0, 2.0], [2.0, 4.0]]))
    array([[1. , 0.5],
           [0.5, 1. ]])
    """
    norms = np.sqrt(np.diag(matrix))
    safe = np.where(norms == 0, 1.0, norms)
    out = matrix / safe[:, None] / safe[None, :]
    np.fill_diagonal(out, 1.0)
    return np.clip(out, -1.0, 1.0)
