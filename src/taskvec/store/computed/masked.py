"""A change stored as a mask over entries that several tasks share."""

from collections.abc import Sequence

import numpy as np

from ...ops.bits import bytes_for, unpack_bits
from ...ops.floats import Raw, widen
from ..tensors import Files, Tensor, TensorInfo


class Masked(Tensor):
    """factor · shared where a bit is set, else 0, in float32."""

    dtype = "F32"
    scratch = 9.0

    def __init__(self, name: str, bits: TensorInfo, shared: TensorInfo, factor: float) -> None:
        """Take parts whose shapes fit; the caller has checked."""
        self.name, self.shape, self.bits, self.shared, self.factor = name, shared.shape, bits, shared, factor

    @property
    def on_disk(self) -> Sequence[TensorInfo]:
        """The mask and the shared entries."""
        return (self.bits, self.shared)

    @property
    def formula(self) -> str:
        """What is made of them."""
        return f"{self.factor!r} masked"

    def ranges(self, start: int, stop: int) -> Sequence[tuple[TensorInfo, int, int]]:
        """The bytes that hold a slice of the mask, and the same entries of what is shared."""
        return [(self.bits, start // 8, bytes_for(stop)), (self.shared, start, stop)] if stop > start else []

    def read(self, files: Files, start: int, stop: int) -> Raw:
        """Return the entries that the mask keeps."""
        if stop <= start:
            return np.empty(0, np.float32)
        bits = unpack_bits(files.view(self.bits, start // 8, bytes_for(stop)).view(np.uint8), start, stop)
        out = widen(files.view(self.shared, start, stop), self.shared.dtype)
        if self.factor != 1:
            out *= np.float32(self.factor)
        out[~bits] = 0
        return out
