"""The rows of each attention head, put back into transformers' order.

llama.cpp rotates neighbouring pairs of a head's rows, transformers the first half with the second; so its converter
interleaves the halves of every head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...ops.floats import Raw
from ..tensors import Files, Tensor, TensorInfo


@dataclass(frozen=True)
class HeadRows(Tensor):
    """A stored matrix (or vector), read as if row 2 i + k of each head stood at k · half + i.

    name, dtype, shape: as `part` has them.
    head: rows of a head; an even number that divides the rows.
    """

    part: TensorInfo
    head: int

    def __post_init__(self) -> None:
        """Take over what does not change, and the memory for the rows that are gathered."""
        for key in ("name", "dtype", "shape"):
            object.__setattr__(self, key, getattr(self.part, key))
        object.__setattr__(self, "scratch", float(self.part.itemsize))

    @property
    def on_disk(self) -> Sequence[TensorInfo]:
        """The matrix."""
        return (self.part,)

    @property
    def formula(self) -> str:
        """How rows are ordered."""
        return f"rows of heads of {self.head}"

    @property
    def _width(self) -> int:
        return self.part.count // max(self.shape[0], 1)

    def ranges(self, start: int, stop: int) -> Sequence[tuple[TensorInfo, int, int]]:
        """The heads that a slice touches."""
        size = self.head * self._width
        return [(self.part, start // size * size, -(-stop // size) * size)] if stop > start else []

    def read(self, files: Files, start: int, stop: int) -> Raw:
        """Return entries, gathered row by row."""
        whole = files.view(self.part, 0, self.count)
        if stop <= start:
            return whole[:0]
        width = self._width
        first, last = start // width, -(-stop // width)
        head, place = np.divmod(np.arange(first, last), self.head)
        second, pair = np.divmod(place, self.head // 2)
        rows: Raw = whole.reshape(-1, width)[head * self.head + 2 * pair + second]
        return rows.reshape(-1)[start - first * width : stop - first * width]
