"""A stored tensor, times a number."""

from collections.abc import Sequence

import numpy as np

from ...ops.floats import Raw, widen
from ..tensors import Files, Tensor, TensorInfo


class Times(Tensor):
    """scale · stored, in float32, under the name of another."""

    dtype = "F32"
    scratch = 4.0

    def __init__(self, name: str, stored: Tensor, scale: float) -> None:
        """Take the name that a loaded model has."""
        self.name, self.shape, self.stored, self.scale = name, stored.shape, stored, scale

    @property
    def on_disk(self) -> Sequence[TensorInfo]:
        """The stored tensor."""
        return self.stored.on_disk

    @property
    def formula(self) -> str:
        """The number."""
        return f"{self.scale!r} · ({self.stored.formula})"

    def ranges(self, start: int, stop: int) -> Sequence[tuple[TensorInfo, int, int]]:
        """The same entries."""
        return self.stored.ranges(start, stop)

    def read(self, files: Files, start: int, stop: int) -> Raw:
        """Return the products."""
        return widen(files.raw(self.stored, start, stop), self.stored.dtype) * np.float32(self.scale)
