"""A matrix that is stored the other way round."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...ops.floats import Raw
from ..tensors import Files, Tensor, TensorInfo
from .q8_0 import BYTES, ENTRIES, Q8, decode


@dataclass(frozen=True)
class Transposed(Tensor):
    """Entry (i, j) of this is entry (j, i) of `stored`: a matrix on disk, or one in blocks of Q8_0.

    Every slice touches all of the stored rows.
    """

    stored: TensorInfo | Q8

    def __post_init__(self) -> None:
        """Take over what does not change, and the memory for columns and their blocks."""
        for key, value in (
            ("name", self.stored.name),
            ("dtype", self.stored.dtype),
            ("shape", self.stored.shape[::-1]),
        ):
            object.__setattr__(self, key, value)
        object.__setattr__(self, "scratch", 2.0 * self.itemsize + 2 * self.stored.scratch)

    @property
    def stored_as(self) -> str:
        """As the other way round."""
        return self.stored.stored_as

    @property
    def on_disk(self) -> Sequence[TensorInfo]:
        """The matrix."""
        return self.stored.on_disk

    @property
    def formula(self) -> str:
        """That it is transposed."""
        return f"transposed {self.stored.formula}"

    def read(self, files: Files, start: int, stop: int) -> Raw:
        """Return entries, gathered column by column."""
        width = self.shape[1]
        if stop <= start or not width:
            return self.stored.read(files, 0, 0)
        first, last = start // width, -(-stop // width)
        return self._columns(files, first, last).T.reshape(-1)[start - first * width : stop - first * width]

    def _columns(self, files: Files, first: int, last: int) -> Raw:
        """Return columns of the stored matrix."""
        rows, columns = self.stored.shape
        if isinstance(self.stored, TensorInfo):
            return self.stored.read(files, 0, self.count).reshape(rows, columns)[:, first:last]
        part = self.stored.part
        blocks = part.read(files, 0, part.count).view(np.uint8).reshape(rows, columns // ENTRIES, BYTES)
        low, high = first // ENTRIES, -(-last // ENTRIES)
        entries = decode(blocks[:, low:high]).reshape(rows, -1)
        return entries[:, first - low * ENTRIES : last - low * ENTRIES]
