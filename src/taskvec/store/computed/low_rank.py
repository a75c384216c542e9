"""scale · B @ A: the change of a matrix, as LoRA stores it."""

from collections.abc import Sequence
from math import prod

import numpy as np

from ...ops.floats import Raw, widen
from ...ops.low_rank import low_rank
from ..tensors import Files, Tensor, TensorInfo
from .row_pieces import F32, entries, pieces, rows_of

TILE = 1 << 19
"""Entries of a factor that are in memory at a time, as float32."""


class LowRank(Tensor):
    """scale · B @ A, or its transpose, in float32; entry by entry, so that slices may begin and end anywhere.

    a, b: the factors, (rank, in) and (out, rank); kernels of a convolution count as more columns of A.
    turned: the matrix is stored (in, out), so that the change is Aᵀ @ Bᵀ.
    """

    dtype = "F32"
    scratch = 4.0

    def __init__(
        self, name: str, shape: tuple[int, ...], a: Tensor, b: Tensor, rank: int, scale: float, turned: bool
    ) -> None:
        """Take factors whose shapes fit; the caller has checked."""
        self.name, self.shape = name, shape
        self.a, self.b, self.rank, self.scale, self.turned = a, b, rank, scale, turned
        self.columns = prod(shape[1:])

    @property
    def on_disk(self) -> Sequence[TensorInfo]:
        """Both factors."""
        return (*self.a.on_disk, *self.b.on_disk)

    @property
    def formula(self) -> str:
        """What is made of them."""
        return f"{self.scale!r} {'transposed ' if self.turned else ''}B @ A"

    def ranges(self, start: int, stop: int) -> Sequence[tuple[TensorInfo, int, int]]:
        """The rows' entries of the factor that has them, and all of the other."""
        if stop <= start:
            return []
        first, end = rows_of(start, stop, self.columns)
        if not self.turned:
            own = self.b.ranges(first * self.rank, end * self.rank)
            return [*own, *self.a.ranges(0, self.a.count)]
        length = self.shape[0]
        own = [r for k in range(self.rank) for r in self.a.ranges(k * length + first, k * length + end)]
        return [*own, *self.b.ranges(0, self.b.count)]

    def read(self, files: Files, start: int, stop: int) -> Raw:
        """Return entries of the product."""
        out = np.empty(max(0, stop - start), np.float32)
        at = 0
        for row, end, left, right in pieces(start, stop, self.columns):
            count = (end - row) * (right - left)
            self._fill(files, out[at : at + count].reshape(end - row, right - left), row, left)
            at += count
        return out

    def _fill(self, files: Files, out: F32, row: int, left: int) -> None:
        """Write the entries from (row, left) on, tile by tile, so that few entries of the factors are in memory."""
        height, width = out.shape
        step = max(1, TILE // self.rank)
        for j in range(0, width, step):
            end = min(j + step, width)
            right = self._columns(files, left + j, left + end)
            for i in range(0, height, step):
                last = min(i + step, height)
                rows = self._rows(files, row + i, row + last)
                if end - j == width:
                    low_rank(rows, right, self.scale, out[i:last])
                else:
                    out[i:last, j:end] = low_rank(rows, right, self.scale, np.empty((last - i, end - j), np.float32))

    def _rows(self, files: Files, row: int, end: int) -> F32:
        """Return rows of the left factor, (row, rank)."""
        if not self.turned:
            return entries(self.b, files, row * self.rank, end * self.rank).reshape(-1, self.rank)
        length = self.shape[0]
        each = [entries(self.a, files, k * length + row, k * length + end) for k in range(self.rank)]
        return np.ascontiguousarray(np.stack(each, axis=1))

    def _columns(self, files: Files, left: int, right: int) -> F32:
        """Return columns of the right factor, (rank, column)."""
        if self.turned:
            part = entries(self.b, files, left * self.rank, right * self.rank).reshape(-1, self.rank)
            return np.ascontiguousarray(part.T)
        if (left, right) == (0, self.columns):
            return entries(self.a, files, 0, self.a.count).reshape(self.rank, self.columns)
        if isinstance(self.a, TensorInfo):
            raw = files.raw(self.a, 0, self.a.count).reshape(self.rank, self.columns)[:, left:right]
            wide = widen(np.ascontiguousarray(raw).reshape(-1), self.a.dtype, np.float32)
            return np.asarray(wide, np.float32).reshape(raw.shape)
        starts = range(left, self.a.count, self.columns)
        return np.stack([entries(self.a, files, at, at + right - left) for at in starts])
