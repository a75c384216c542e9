"""Weights stored in eight bits, as the numbers they stand for: (q - zero) · scale, block by block."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import numpy.typing as npt

from ...ops.eight_bits import decode
from ...ops.floats import Raw
from ..tensors import Files, Tensor, TensorInfo

F32 = npt.NDArray[np.float32]


def blocks_of(
    shape: Sequence[int], grid: Sequence[int], declared: Sequence[Sequence[int]] = ()
) -> tuple[int, ...] | None:
    """Return how many entries along each axis share one number of a grid; None if the grid does not fit.

    A grid has one number for the whole axis, or one for each place on it, or one for each block of a declared size.

    >>> blocks_of((300, 256), (300, 1)), blocks_of((300, 256), (3, 2), [(128, 128)]), blocks_of((300, 256), (3, 2))
    ((1, 256), (128, 128), None)
    """
    if len(grid) != len(shape):
        return None
    if all(n in (1, size) for n, size in zip(grid, shape, strict=True)):
        return tuple(size if n == 1 else 1 for n, size in zip(grid, shape, strict=True))
    for block in declared:
        sizes = (1,) * (len(shape) - len(block)) + tuple(block)
        if len(sizes) == len(shape) and all(-(-d // b) == n for d, b, n in zip(shape, sizes, grid, strict=True)):
            return sizes
    return None


@dataclass(frozen=True)
class Grid:
    """One number for each block of a tensor's entries.

    part: where the numbers lie; of the type they are decoded from, which is `code`.
    shape, blocks: how many there are along each axis of the tensor, and how many entries share one.
    """

    part: Tensor
    code: str
    shape: tuple[int, ...]
    blocks: tuple[int, ...]

    def combine(self, ufunc: np.ufunc, out: F32, files: Files, start: int, shape: tuple[int, ...]) -> None:
        """Combine entries `start` … of a tensor with the number of their block, in place."""
        width = shape[-1]
        first, skipped = divmod(start, width)
        last = -(-(start + out.size) // width)
        numbers = self._rows(files, first, last, shape[:-1])
        head = min((width - skipped) % width, out.size) if skipped else 0
        if head:
            self._part_of_row(ufunc, out[:head], numbers[0], skipped)
        whole = (out.size - head) // width
        at = 1 if head else 0
        self._whole_rows(ufunc, out[head:][: whole * width].reshape(whole, width), numbers[at : at + whole])
        if rest := out[head + whole * width :].size:
            self._part_of_row(ufunc, out[-rest:], numbers[-1], 0)

    def _rows(self, files: Files, first: int, last: int, outer: tuple[int, ...]) -> F32:
        """Return the numbers that stand for rows `first` … `last`, a row of them for each."""
        if not outer:
            return decode(self.part.read(files, 0, self.part.count), self.code).reshape(1, -1)
        places = np.unravel_index(np.arange(first, last), outer)
        index = np.zeros(last - first, np.intp)
        for place, size, count in zip(places, self.blocks[:-1], self.shape[:-1], strict=True):
            index = index * count + place // size
        low, high, width = int(index.min()), int(index.max()) + 1, self.shape[-1]
        numbers = decode(self.part.read(files, low * width, high * width), self.code)
        return numbers.reshape(-1, width)[index - low]

    def _whole_rows(self, ufunc: np.ufunc, rows: F32, numbers: F32) -> None:
        """Combine whole rows: the columns of full blocks as blocks, without repeating a number, then the rest."""
        block = self.blocks[-1]
        full = rows.shape[1] // block
        blocks = rows[:, : full * block].reshape(len(rows), full, block)  # a view: only the last axis is cut
        ufunc(blocks, numbers[:, :full, None], out=blocks)
        if rest := rows.shape[1] - full * block:
            ufunc(rows[:, -rest:], numbers[:, full:], out=rows[:, -rest:])

    def _part_of_row(self, ufunc: np.ufunc, part: F32, numbers: F32, column: int) -> None:
        block = self.blocks[-1]
        first, last = column // block, -(-(column + part.size) // block)
        own = numbers[first:last]
        if own.size > 1:
            own = np.repeat(own, block)[column - first * block :][: part.size]
        ufunc(part, own, out=part)


@dataclass(frozen=True)
class Scaled(Tensor):
    """(q - zero) · scale · factor in float32, rounded after each step; what is absent is left out.

    target: the float type in which such a tensor is stored when it is written again.
    """

    name: str
    shape: tuple[int, ...]
    weight: Tensor
    scale: Grid | None = None
    zero: Grid | None = None
    factor: float = 1.0
    target: str = "BF16"
    dtype: str = "F32"
    scratch: float = field(init=False)

    def __post_init__(self) -> None:
        """Memory: the result, and the numbers of the rows that a slice touches, where a row has many."""
        grids = [g for g in (self.scale, self.zero) if g]
        wide = sum(g.shape[-1] / max(self.shape[-1], 1) for g in grids if self.shape)
        object.__setattr__(self, "scratch", 4.0 + 4.0 * wide)

    @property
    def stored_as(self) -> str:
        """The type that a merge stores it in, unless told otherwise."""
        return self.target

    @property
    def on_disk(self) -> Sequence[TensorInfo]:
        """The weight, its scales and its zero points."""
        parts = (self.weight, *(g.part for g in (self.scale, self.zero) if g))
        return [info for part in parts for info in part.on_disk]

    @property
    def formula(self) -> str:
        """How the parts are put together."""
        grids = [f"{g.code} {g.blocks}" if g else "" for g in (self.scale, self.zero)]
        return f"scaled {self.weight.dtype} {grids} {self.factor!r}"

    def ranges(self, start: int, stop: int) -> Sequence[tuple[TensorInfo, int, int]]:
        """The same entries of the weight; the scales are few, so all of them."""
        if stop <= start:
            return []
        grids = [g.part for g in (self.scale, self.zero) if g]
        return [*self.weight.ranges(start, stop), *(r for part in grids for r in part.ranges(0, part.count))]

    def read(self, files: Files, start: int, stop: int) -> Raw:
        """Return entries as float32."""
        out = decode(self.weight.read(files, start, stop), self.weight.dtype)
        if out.size == 0:
            return out
        with np.errstate(all="ignore"):  # what overflows is Inf, which is found and named where it is used
            if self.zero:
                self.zero.combine(np.subtract, out, files, start, self.shape or (1,))
            if self.scale:
                self.scale.combine(np.multiply, out, files, start, self.shape or (1,))
            if self.factor != 1:
                np.multiply(out, np.float32(self.factor), out=out)
        return out


def grid(part: Tensor, code: str, shape: Sequence[int], declared: Sequence[Sequence[int]] = ()) -> Grid | None:
    """Return a stored array of scales (or zero points) as a grid over a tensor; None if it does not fit.

    One number, or several with axes of length one around them, stand for what numpy would broadcast them to; a plain
    list of them belongs to the first axis.
    """
    shape, sizes = tuple(shape) or (1,), part.shape
    if prod(sizes) == 1:
        sizes = (1,) * len(shape)
    elif len(sizes) < len(shape):
        sizes = (*sizes, *(1,) * (len(shape) - len(sizes)))
    blocks = blocks_of(shape, sizes, declared)
    return Grid(part, code, sizes, blocks) if blocks else None
