"""A change stored as one bit an entry and a scale."""

from collections.abc import Sequence

import numpy as np

from ...ops.bits import bytes_for, unpack_bits
from ...ops.floats import Raw
from ...ops.one_bit import from_one_bit
from ..tensors import Files, Tensor, TensorInfo


class Signs(Tensor):
    """scale where a bit is set, else -scale, in float32; the scale is the tensor's, or its row's."""

    dtype = "F32"
    scratch = 17.0

    def __init__(self, name: str, shape: tuple[int, ...], bits: TensorInfo, scale: TensorInfo) -> None:
        """Take parts whose shapes fit; the caller has checked."""
        self.name, self.shape, self.bits, self.scale = name, shape, bits, scale
        self._row = max(1, self.count // max(1, scale.count))

    @property
    def on_disk(self) -> Sequence[TensorInfo]:
        """Bits and scales."""
        return (self.bits, self.scale)

    @property
    def formula(self) -> str:
        """What is made of them."""
        return "signs"

    def ranges(self, start: int, stop: int) -> Sequence[tuple[TensorInfo, int, int]]:
        """The bytes that hold a slice, and all scales, which are few."""
        if stop <= start:
            return []
        return [(self.bits, start // 8, bytes_for(stop)), (self.scale, 0, self.scale.count)]

    def read(self, files: Files, start: int, stop: int) -> Raw:
        """Return ±scale."""
        if stop <= start:
            return np.empty(0, np.float32)
        bits = unpack_bits(files.view(self.bits, start // 8, bytes_for(stop)).view(np.uint8), start, stop)
        first, last = start // self._row, -(-stop // self._row)
        scale = files.view(self.scale, first, last).view(np.float32)
        if scale.size > 1:
            scale = np.repeat(scale, self._row)[start - first * self._row :][: stop - start]
        return from_one_bit(bits, scale)
