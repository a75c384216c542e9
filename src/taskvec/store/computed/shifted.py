"""A tensor with a number added, in float32."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...ops.eight_bits import decode
from ...ops.floats import Raw
from ..tensors import Files, Tensor, TensorInfo


@dataclass(frozen=True)
class Shifted(Tensor):
    """stored + by, rounded to float32. Gemma's norms multiply by 1 + weight; llama.cpp stores that sum."""

    stored: Tensor
    by: float
    dtype: str = "F32"

    def __post_init__(self) -> None:
        """Take over what does not change."""
        for key, value in (("name", self.stored.name), ("shape", self.stored.shape)):
            object.__setattr__(self, key, value)
        object.__setattr__(self, "scratch", 4.0 + self.stored.scratch)

    @property
    def stored_as(self) -> str:
        """As without the number."""
        return self.stored.stored_as

    @property
    def on_disk(self) -> Sequence[TensorInfo]:
        """What is stored."""
        return self.stored.on_disk

    @property
    def formula(self) -> str:
        """The number."""
        return f"{self.by:+} {self.stored.formula}"

    def ranges(self, start: int, stop: int) -> Sequence[tuple[TensorInfo, int, int]]:
        """The same entries."""
        return self.stored.ranges(start, stop)

    def read(self, files: Files, start: int, stop: int) -> Raw:
        """Return entries as float32."""
        return decode(self.stored.read(files, start, stop), self.stored.dtype) + np.float32(self.by)
