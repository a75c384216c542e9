"""m · (W + ΔW) / ‖W + ΔW‖ - W: the change of a matrix whose magnitude and direction were trained apart (DoRA)."""

import threading
from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from ...ops.dora import ratio, resize, resize_rows
from ...ops.floats import Raw
from ..tensors import Files, Tensor, TensorInfo
from .low_rank import LowRank
from .row_pieces import F32, entries, rows_of

BLOCK = 1 << 16
"""Entries that are worked on at a time: whole rows, one at least."""


class Dora(Tensor):
    """(g - 1) W + g ΔW in float32, where g = m / ‖W + ΔW‖, in float64, of each row; or of each column.

    A linear layer and a convolution have a magnitude an output, which is a row; an embedding has one an entry of its
    vectors, and a matrix that is stored (in, out) one an output: there, norms run down the columns. These take one
    pass over the matrix before its first slice, and are kept.
    """

    dtype = "F32"
    scratch = 4.0

    def __init__(self, change: LowRank, base: Tensor, magnitude: Tensor, by_column: bool) -> None:
        """Take ΔW, W and m; the caller has checked that they fit."""
        self.name, self.shape = change.name, change.shape
        self.change, self.base, self.magnitude, self.by_column = change, base, magnitude, by_column
        self.columns = prod(self.shape[1:])
        self._lock = threading.Lock()
        self._kept: npt.NDArray[np.float64] | None = None

    @property
    def on_disk(self) -> Sequence[TensorInfo]:
        """The factors, the magnitudes, and the base."""
        return (*self.change.on_disk, *self.magnitude.on_disk, *self.base.on_disk)

    @property
    def formula(self) -> str:
        """What is made of them."""
        axis = "columns" if self.by_column else "rows"
        return f"dora {axis} of ({self.base.formula}) + {self.change.formula}"

    def ranges(self, start: int, stop: int) -> Sequence[tuple[TensorInfo, int, int]]:
        """The rows that a slice touches; of columns' magnitudes, all."""
        if stop <= start:
            return []
        first, end = rows_of(start, stop, self.columns)
        span = (first * self.columns, end * self.columns)
        sizes = (0, self.columns) if self.by_column else (first, end)
        return [*self.base.ranges(*span), *self.change.ranges(*span), *self.magnitude.ranges(*sizes)]

    def read(self, files: Files, start: int, stop: int) -> Raw:
        """Return entries of the change."""
        out = np.empty(max(0, stop - start), np.float32)
        for row, end in self._blocks(*rows_of(start, stop, self.columns)) if stop > start else ():
            base, change = self._parts(files, row, end)
            if self.by_column:
                resize(base, change, self._columns(files)[None])
            else:
                resize_rows(base, change, entries(self.magnitude, files, row, end))
            begin, stopped = max(start, row * self.columns), min(stop, end * self.columns)
            cut = slice(begin - row * self.columns, stopped - row * self.columns)
            out[begin - start : stopped - start] = change.reshape(-1)[cut]
        return out

    def _blocks(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        step = max(1, BLOCK // self.columns)
        return ((row, min(row + step, last)) for row in range(first, last, step))

    def _parts(self, files: Files, row: int, end: int) -> tuple[F32, F32]:
        """Return rows of W and of ΔW."""
        span = (row * self.columns, end * self.columns)
        base = entries(self.base, files, *span).reshape(-1, self.columns)
        return base, np.asarray(files.raw(self.change, *span), np.float32).reshape(-1, self.columns)

    def _columns(self, files: Files) -> npt.NDArray[np.float64]:
        """Return g of all columns."""
        with self._lock:
            if self._kept is None:
                total = np.zeros(self.columns)
                for row, end in self._blocks(0, self.shape[0]):
                    span = (row * self.columns, end * self.columns)
                    files.load(self.base, *span)
                    base, change = self._parts(files, row, end)
                    squares = (base + change).astype(np.float64)
                    squares *= squares
                    total += np.add.reduce(squares, axis=0)
                    files.forget(self.base, *span)
                self._kept = ratio(entries(self.magnitude, files, 0, self.columns), total)
            return self._kept
