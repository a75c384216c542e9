"""Several tensors of one shape, added."""

from collections.abc import Sequence

import numpy as np

from ...ops.floats import Raw, widen
from ..tensors import Files, Tensor, TensorInfo


class Total(Tensor):
    """The sum of float tensors of one shape, from left to right, in float32; in float64 where the first is."""

    def __init__(self, name: str, parts: Sequence[Tensor]) -> None:
        """Take two parts or more."""
        self.name, self.shape, self.parts = name, parts[0].shape, tuple(parts)
        self.dtype = "F64" if parts[0].dtype == "F64" else "F32"
        self.scratch = 2.0 * self.itemsize + max(part.scratch for part in parts)

    @property
    def on_disk(self) -> Sequence[TensorInfo]:
        """All parts'."""
        return [info for part in self.parts for info in part.on_disk]

    @property
    def stored_as(self) -> str:
        """As the first: what is added to a stored tensor does not change its type."""
        return self.parts[0].stored_as

    @property
    def formula(self) -> str:
        """What decides the parts."""
        return " + ".join(f"({part.formula})" for part in self.parts)

    def ranges(self, start: int, stop: int) -> Sequence[tuple[TensorInfo, int, int]]:
        """All parts'."""
        return [r for part in self.parts for r in part.ranges(start, stop)]

    def read(self, files: Files, start: int, stop: int) -> Raw:
        """Return the sum."""
        kind = np.float64 if self.dtype == "F64" else np.float32
        total = widen(files.raw(self.parts[0], start, stop), self.parts[0].dtype, kind)
        for part in self.parts[1:]:
            total += widen(files.raw(part, start, stop), part.dtype, kind)
        return total
