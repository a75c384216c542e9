"""A few rows of a matrix that are stored anew: tokens that were trained alone."""

import hashlib
from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from ...ops.floats import Raw
from ..tensors import Files, Tensor, TensorInfo
from .row_pieces import entries, rows_of


class Tokens(Tensor):
    """stored - base in some rows of a matrix, in float32; 0 in all others.

    rows: the matrix's row that each stored row replaces.
    """

    dtype = "F32"
    scratch = 4.0

    def __init__(self, stored: Tensor, rows: Sequence[int], base: Tensor) -> None:
        """Take rows that are all different and exist, and the matrix they replace rows of."""
        self.name, self.shape = base.name, base.shape
        self.stored, self.base, self.columns = stored, base, prod(base.shape[1:])
        order = np.argsort(np.asarray(rows, np.int64))
        self._at: npt.NDArray[np.int64] = order
        self._rows: npt.NDArray[np.int64] = np.asarray(rows, np.int64)[order]

    @property
    def on_disk(self) -> Sequence[TensorInfo]:
        """The stored rows. The base's are read too, but they alone say nothing of the change."""
        return self.stored.on_disk

    @property
    def formula(self) -> str:
        """Which rows, and what decides the base's."""
        rows = np.stack([self._rows, self._at]).astype("<i8").tobytes()
        return f"rows {hashlib.sha256(rows).hexdigest()[:16]} - ({self.base.formula})"

    def ranges(self, start: int, stop: int) -> Sequence[tuple[TensorInfo, int, int]]:
        """The entries of the rows within a slice, here and in the base."""
        found: list[tuple[TensorInfo, int, int]] = []
        for mine, begin, end in self._within(start, stop):
            found += [*self.stored.ranges(mine, mine + end - begin), *self.base.ranges(begin, end)]
        return found

    def read(self, files: Files, start: int, stop: int) -> Raw:
        """Return zeros, and the differences where rows are stored."""
        out = np.zeros(max(0, stop - start), np.float32)
        for mine, begin, end in self._within(start, stop):
            new = entries(self.stored, files, mine, mine + end - begin)
            out[begin - start : end - start] = new - entries(self.base, files, begin, end)
        return out

    def _within(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        """Return the entries of the matrix that are stored anew and lie in a slice, and where they are stored."""
        low, high = np.searchsorted(self._rows, rows_of(start, stop, self.columns))
        found = []
        for at, row in zip(self._at[low:high].tolist(), self._rows[low:high].tolist(), strict=True):
            begin, end = max(start, row * self.columns), min(stop, (row + 1) * self.columns)
            found.append((at * self.columns + begin - row * self.columns, begin, end))
        return found
