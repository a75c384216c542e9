"""A tensor that is a view of a storage with other strides: transposed, expanded, every other row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ...ops.floats import Raw
from ..dtypes import BITS
from ..tensors import Files, Tensor, TensorInfo


def extent(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Return how many entries of a storage a view spans, from its first to its last.

    >>> extent((2, 3), (1, 2)), extent((2, 3), (0, 1)), extent((0, 3), (3, 1)), extent((), ())
    (6, 3, 0, 1)
    """
    return 0 if 0 in shape else 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))


def is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Tell whether entries lie in the order of their indices, without gaps. The stride of an axis of one is free.

    >>> is_contiguous((2, 1, 3), (3, 99, 1)), is_contiguous((2, 3), (1, 2))
    (True, False)
    """
    expected = 1
    for n, step in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1 and step != expected:
            return 0 in shape
        expected *= n
    return True


@dataclass(frozen=True)
class Strided(Tensor):
    """A view of a stored tensor: entry (i, j, …) is the part's i·strides[0] + j·strides[1] + …."""

    name: str
    shape: tuple[int, ...]
    part: TensorInfo
    strides: tuple[int, ...]

    @property
    def dtype(self) -> str:  # type: ignore[override]
        """The part's."""
        return self.part.dtype

    @property
    def scratch(self) -> float:  # type: ignore[override]
        """Entries are gathered into memory, with the rows that a slice cuts."""
        return 2 * self.itemsize

    @property
    def on_disk(self) -> Sequence[TensorInfo]:
        """The stretch of the storage that the view spans."""
        return (self.part,)

    @property
    def formula(self) -> str:
        """The strides."""
        return f"strides {self.strides}"

    def read(self, files: Files, start: int, stop: int) -> Raw:
        """Gather the entries."""
        if stop <= start:
            return np.empty(0, BITS[self.dtype])
        (_, begin, end), first = self.ranges(start, stop)[0], self._first(start)
        inner = self.count // self.shape[0]
        rows = (stop - 1) // inner - first + 1
        steps = tuple(step * self.itemsize for step in self.strides)
        view = as_strided(files.view(self.part, begin, end), (rows, *self.shape[1:]), steps, writeable=False)
        part = slice(start - first * inner, stop - first * inner)
        if rows * inner <= 2 * (stop - start):  # whole rows are copied in the order in which they lie, thrice as fast
            return np.ascontiguousarray(view).reshape(-1)[part]
        return np.asarray(view.flat[part])

    def ranges(self, start: int, stop: int) -> Sequence[tuple[TensorInfo, int, int]]:
        """Return the stretch under the first indices that the slice touches."""
        if stop <= start:
            return []
        first, last = self._first(start), self._first(stop - 1)
        begin = first * self.strides[0]
        return [(self.part, begin, last * self.strides[0] + extent(self.shape[1:], self.strides[1:]))]

    def _first(self, entry: int) -> int:
        """Return the first index of an entry."""
        return entry // (self.count // self.shape[0])
