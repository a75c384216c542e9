"""scale · B @ A: the change of a matrix, as LoRA stores it."""

from collections.abc import Sequence
from math import prod

import numpy as np

from ...ops.floats import Raw
from ...ops.low_rank import low_rank
from ..tensors import Files, Tensor, TensorInfo
from .row_pieces import F32, entries, pieces, rows_of


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
            part = out[at : at + count].reshape(end - row, right - left)
            low_rank(self._rows(files, row, end), self._columns(files, left, right), self.scale, part)
            at += count
        return out

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
        starts = range(left, self.a.count, self.columns)
        return np.stack([entries(self.a, files, at, at + right - left) for at in starts])
