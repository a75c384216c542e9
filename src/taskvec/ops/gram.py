"""Inner products of a stack of tensors, to the same bits whatever the slices were."""

import math
from collections.abc import Iterable, Iterator
from types import ModuleType
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


def pair_parts(
    rows: Float[np.ndarray, "task n"], left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]
) -> Float64[np.ndarray, "block pair"]:
    """Return the inner products of chosen pairs of rows within each block of `BLOCK` entries: some of `gram_parts`.

    >>> rows, left, right = np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([0, 0]), np.array([0, 1])
    >>> pair_parts(rows, left, right).tolist()
    [[25.0, 3.0]]
    """
    if fused := fused_for(rows):
        parts: Float64[np.ndarray, "block pair"] = fused.pairs(rows, left, right, BLOCK)
        return parts
    out = []
    for at in range(0, max(1, rows.shape[1]), BLOCK):
        wide = rows[:, at : at + BLOCK].astype(np.float64)
        out.append([sum_lanes((wide[i] * wide[j])[None])[0] for i, j in zip(left, right, strict=True)])
    return np.array(out).reshape(len(out), left.size)


def energy_parts(rows: Float[np.ndarray, "task n"]) -> list[Float64[np.ndarray, " task"]]:
    """Return the squared lengths within each block of `BLOCK` entries: the diagonals of `gram_parts`.

    >>> energy_parts(np.array([[3.0, 4.0], [1.0, 0.0]]))[0].tolist()
    [25.0, 1.0]
    """
    if fused := fused_for(rows):
        return list(fused.energies(rows, BLOCK))
    blocks = (rows[:, at : at + BLOCK].astype(np.float64) for at in range(0, max(1, rows.shape[1]), BLOCK))
    return [sum_lanes(block * block) for block in blocks]


def grams_of(
    rows: Float[np.ndarray, "task n"], start: int, columns: int, over: Over
) -> Iterator[tuple[int, Float64[np.ndarray, "task task part"]]]:
    """Yield terms of the Gram matrices of rows or columns, to be added with `ExactSum`.

    Each is (the first row or column it is about, a matrix for that one and those that follow). Their exact sum is that
    of the inner products within each block of `BLOCK` entries. `start` is the offset of the first entry in its tensor,
    a multiple of `BLOCK`; `columns` are the entries a row.

    >>> [(first, parts.tolist()) for first, parts in grams_of(np.array([[1.0, 2.0, 3.0, 4.0]]), 0, 2, "row")]
    [(0, [[[5.0, 25.0]]])]
    """
    if fused := fused_for(rows):
        yield from _fused_grams(fused, rows, start, columns, over)
        return
    for at in range(0, rows.shape[1], BLOCK):
        block = rows[:, at : at + BLOCK].astype(np.float64)
        first, parts = _touched(start + at, block.shape[1], columns, over)
        out = np.empty((len(rows), len(rows), parts))
        for i in range(len(rows)):
            for j in range(i + 1):
                out[i, j] = out[j, i] = _of_parts(block[i] * block[j], start + at, columns, over, first, parts)
        yield first, out


def _fused_grams(
    fused: ModuleType, rows: Float[np.ndarray, "task n"], start: int, columns: int, over: Over
) -> Iterator[tuple[int, Float64[np.ndarray, "task task part"]]]:
    """Yield the sums of many blocks and what they leave over; of fewer where that is too much for one number."""
    tasks, n = rows.shape
    first, parts = _touched(start, n, columns, over)
    high, low = np.zeros((2, tasks, tasks, parts))
    if fused.part_grams(rows, start, columns, over == "row", first, BLOCK, high, low):
        yield first, high
        if low.any():
            yield first, low
        return
    half = -(-n // BLOCK) // 2 * BLOCK
    yield from _fused_grams(fused, np.ascontiguousarray(rows[:, :half]), start, columns, over)
    yield from _fused_grams(fused, np.ascontiguousarray(rows[:, half:]), start + half, columns, over)


def _touched(start: int, n: int, columns: int, over: Over) -> tuple[int, int]:
    """Return the first of the rows or columns that hold some entries, and how many there are from it on."""
    first, last = start // columns, (start + n - 1) // columns
    if over == "row":
        return first, last - first + 1
    return (start % columns, n) if first == last else (0, columns)


def _of_parts(
    product: Float64[np.ndarray, " n"], start: int, columns: int, over: Over, first: int, parts: int
) -> Float64[np.ndarray, " part"]:
    """Add up a block's products by row or by column."""
    if over == "column":
        return np.bincount((start + np.arange(product.size)) % columns - first, product, parts)
    head = min(product.size, -start % columns)
    tail = head + (product.size - head) // columns * columns
    pieces = product[None, :head], product[head:tail].reshape(-1, columns), product[None, tail:]
    return np.concatenate([sum_lanes(piece) for piece in pieces if piece.size])


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
                if here.ndim == 1 and (fused := fused_for()):
                    term = fused.carry(here, np.ascontiguousarray(term))
                    if term is None:
                        return
                    continue
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
    out = np.empty((len(wide), len(wide)))
    for i in range(len(wide)):
        for j in range(i + 1):
            out[i, j] = out[j, i] = sum_lanes((wide[i] * wide[j])[None])[0]
    return out


def sum_lanes(x: Float64[np.ndarray, "row column"]) -> Float64[np.ndarray, " row"]:
    """Add up rows in `LANES` running sums, then the lanes in order: what the fused kernels do too.

    >>> sum_lanes(np.arange(40.0).reshape(2, 20)).tolist()
    [190.0, 590.0]
    """
    rows, columns = x.shape
    even = columns - columns % LANES
    lanes = np.zeros((rows, LANES))
    lanes += np.add.reduce(x[:, :even].reshape(rows, -1, LANES), axis=1)
    lanes[:, : columns - even] += x[:, even:]
    total: Float64[np.ndarray, " row"] = np.add.accumulate(lanes, axis=1)[:, -1]
    return total


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
