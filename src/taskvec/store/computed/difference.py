"""What is stored instead of a tensor, as a change of it."""

from collections.abc import Sequence

import numpy as np

from ...ops.floats import Raw, widen
from ..tensors import Files, Tensor, TensorInfo


class Difference(Tensor):
    """stored - base, in float32: the change that a tensor stored whole (a head, a bias) makes."""

    dtype = "F32"
    scratch = 12.0

    def __init__(self, stored: Tensor, base: Tensor) -> None:
        """Take two float tensors of one shape; the change has the base's name."""
        self.name, self.shape = base.name, base.shape
        self.stored, self.base = stored, base

    @property
    def on_disk(self) -> Sequence[TensorInfo]:
        """Both."""
        return (*self.stored.on_disk, *self.base.on_disk)

    @property
    def formula(self) -> str:
        """The difference, and what decides its parts."""
        return f"({self.stored.formula}) - ({self.base.formula})"

    def ranges(self, start: int, stop: int) -> Sequence[tuple[TensorInfo, int, int]]:
        """The same entries of both."""
        return [*self.stored.ranges(start, stop), *self.base.ranges(start, stop)]

    def read(self, files: Files, start: int, stop: int) -> Raw:
        """Return the difference, rounded once."""
        wide = np.float64 if "F64" in (self.stored.dtype, self.base.dtype) else np.float32
        new = widen(files.raw(self.stored, start, stop), self.stored.dtype, wide)
        new -= widen(files.raw(self.base, start, stop), self.base.dtype, wide)
        return new.astype(np.float32, copy=False)
