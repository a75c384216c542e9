"""Inner products of a stack of tensors, to the same bits whatever the slices were."""

import math
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from .arrays import Array
from .kernels import fused_for
from .shapes import Float, Float64

BLOCK = 1 << 14
"""Entries a partial sum covers. Slices begin at multiples of it."""

LANES = 16
FEW = 1 << 12

Over = Literal["tensor", "row", "column"]
"""What is one vector: all of a tensor, what shares a first index, or what shares all others."""


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


def grams_of(
    rows: Float[np.ndarray, "task n"], start: int, columns: int, over: Over
) -> Iterator[tuple[int, Float64[np.ndarray, "task task part"]]]:
    """Yield for each block of `BLOCK` entries what it adds to the Gram matrices of rows or columns.

    Each is (the first row or column it is about, a matrix for that one and those that follow). `start` is the offset
    of the first entry in its tensor, a multiple of `BLOCK`; `columns` are the entries a row.

    >>> [(first, parts.tolist()) for first, parts in grams_of(np.array([[1.0, 2.0, 3.0, 4.0]]), 0, 2, "row")]
    [(0, [[[5.0, 25.0]]])]
    """
    for at in range(0, rows.shape[1], BLOCK):
        block = np.ascontiguousarray(rows[:, at : at + BLOCK])
        tasks, n = block.shape
        begin, end = start + at, start + at + n - 1
        first, last = begin // columns, end // columns
        if over == "column":
            first, last = (begin % columns, end % columns) if first == last else (0, columns - 1)
        if fused := fused_for(block):
            yield first, fused.part_grams(block, begin, columns, over == "row", first, last - first + 1)
            continue
        wide, entry = block.astype(np.float64), begin + np.arange(n)
        part = entry // columns if over == "row" else entry % columns
        out = np.empty((tasks, tasks, last - first + 1))
        for i in range(tasks):
            for j in range(i + 1):
                out[i, j] = out[j, i] = np.bincount(part - first, wide[i] * wide[j], last - first + 1)
        yield first, out


def vectors_of(start: int, count: int, columns: int, over: Over) -> npt.NDArray[np.intp]:
    """Return which row or column each of some entries belongs to, the first of which has the offset `start`.

    >>> vectors_of(2, 4, 3, "row").tolist(), vectors_of(2, 4, 3, "column").tolist()
    ([0, 1, 1, 1], [2, 0, 1, 2])
    """
    entry = np.arange(start, start + count)
    if over == "tensor":
        return np.zeros_like(entry)
    return entry // columns if over == "row" else entry % columns


class ExactSum:
    """A sum of arrays without any rounding, so that the order of the terms does not matter.

    What a float64 cannot hold is carried to a further array, and so on; a few are enough for any number of terms.
    """

    def __init__(self, *shape: int) -> None:
        """Begin with zeros."""
        self.carried = [np.zeros(shape)]

    def add(self, first: int, term: Float64[np.ndarray, "*shape part"]) -> None:
        """Add a term to the entries of the last axis that begin with `first`."""
        with np.errstate(invalid="ignore", over="ignore"):
            for held in self.carried:
                here = held[..., first : first + term.shape[-1]]
                rounded = here + term
                back = rounded - here
                term = (here - (rounded - back)) + (term - back)
                here[...] = rounded
                term = np.where(term == term, term, 0.0)  # NaN and Inf are in the sum, and have no remainder
                if not term.any():
                    return
        self.carried.append(np.zeros_like(self.carried[0]))
        self.carried[-1][..., first : first + term.shape[-1]] = term

    @property
    def value(self) -> Float64[np.ndarray, "*shape"]:
        """The sum, rounded once."""
        terms = [held.reshape(-1) for held in self.carried]
        out = terms[0].copy()
        carried = np.flatnonzero(np.logical_or.reduce([term != 0 for term in terms[1:]], axis=0))
        for at in range(0, carried.size, FEW):  # lists of floats are large
            some = carried[at : at + FEW]
            out[some] = [math.fsum(column) for column in np.stack([term[some] for term in terms], axis=1).tolist()]
        return out.reshape(self.carried[0].shape)


def total(parts: Iterable[Float64[np.ndarray, "*shape"]]) -> Float64[np.ndarray, "*shape"]:
    """Add partial sums, Gram matrices or others; the correctly rounded sum, so their order does not matter."""
    stacked = np.stack(list(parts))
    if not np.isfinite(stacked).all():
        with np.errstate(invalid="ignore"):
            return np.asarray(stacked.sum(axis=0))
    out = np.empty(stacked.shape[1:])
    for at in np.ndindex(out.shape):
        out[at] = math.fsum(stacked[(slice(None), *at)])
    return out


def fold(parts: Iterable[Float64[np.ndarray, "task task"]]) -> list[Float64[np.ndarray, "task task"]]:
    """Return few matrices whose sum is, without any rounding, that of many."""
    rest, out = list(parts), []
    while (rounded := total(rest)).any():
        out.append(rounded)
        if not np.isfinite(rounded).all():
            return out
        rest.append(-rounded)
    return out or [rounded]


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


def cosines(matrix: Float64[np.ndarray, "*part task task"]) -> Float64[np.ndarray, "*part task task"]:
    """Turn a Gram matrix, or each of several, into cosines; a zero vector has cosine 0 with others, 1 with itself.

    >>> cosines(np.array([[4.0, 2.0], [2.0, 4.0]]))
    array([[1. , 0.5],
           [0.5, 1. ]])
    """
    norms = np.sqrt(np.diagonal(matrix, axis1=-2, axis2=-1))
    safe = np.where(norms == 0, 1.0, norms)
    out = matrix / safe[..., :, None] / safe[..., None, :]
    itself = np.arange(matrix.shape[-1])
    out[..., itself, itself] = 1.0
    return np.clip(out, -1.0, 1.0)
