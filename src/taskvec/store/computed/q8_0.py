"""Q8_0, a type of GGUF: blocks of 32 entries, each block a scale in float16 and 32 signed bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...ops.floats import Raw
from ..tensors import Files, Tensor, TensorInfo

ENTRIES, BYTES = 32, 34


def decode(blocks: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the entries of blocks (…, 34) as (…, 32) in float32: q · scale, rounded once."""
    scale = np.ascontiguousarray(blocks[..., :2]).view("<f2").astype(np.float32)
    out = blocks[..., 2:].view(np.int8).astype(np.float32)
    with np.errstate(all="ignore"):  # a scale may be Inf or NaN; the entries are then, and are named where used
        np.multiply(out, scale, out=out)
    return out


@dataclass(frozen=True)
class Q8(Tensor):
    """A tensor whose blocks lie in `part`, as plain bytes: rows of entries / 32 · 34."""

    name: str
    shape: tuple[int, ...]
    part: Tensor
    dtype: str = "F32"
    scratch: float = 4.0 + 4 * BYTES / ENTRIES / ENTRIES + BYTES / ENTRIES

    @property
    def stored_as(self) -> str:
        """No type that is written has blocks; its values have 8 bits and a half-precision scale."""
        return "BF16"

    @property
    def on_disk(self) -> Sequence[TensorInfo]:
        """The blocks."""
        return self.part.on_disk

    @property
    def formula(self) -> str:
        """How they are decoded."""
        return f"Q8_0 {self.part.formula}"

    def ranges(self, start: int, stop: int) -> Sequence[tuple[TensorInfo, int, int]]:
        """The blocks that a slice touches."""
        if stop <= start:
            return []
        return self.part.ranges(start // ENTRIES * BYTES, -(-stop // ENTRIES) * BYTES)

    def read(self, files: Files, start: int, stop: int) -> Raw:
        """Return entries as float32."""
        if stop <= start:
            return np.empty(0, np.float32)
        first, last = start // ENTRIES, -(-stop // ENTRIES)
        raw = self.part.read(files, first * BYTES, last * BYTES).view(np.uint8)
        return decode(raw.reshape(-1, BYTES)).reshape(-1)[start - first * ENTRIES : stop - first * ENTRIES]
