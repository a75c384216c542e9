"""A change of which few entries are stored: where they stand, and what they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...errors import FormatError
from ...ops.bits import bytes_for, unpack_bits
from ...ops.eight_bits import decode
from ...ops.floats import Raw
from ...ops.gaps import unpack_gaps
from ..tensors import Files, Tensor, TensorInfo


@dataclass(frozen=True)
class Sparse(Tensor):
    """Entries of a tensor, block by block of so many entries; all others are 0. In float32.

    places: bits, or with `gap_starts` the gaps between places within a block, each block's for themselves.
    values: of all blocks after each other; with `steps` they are whole numbers of a step, one a block.
    value_starts, gap_starts: where each block's values and gaps begin, and the last ones' end.
    """

    name: str
    shape: tuple[int, ...]
    block: int
    places: TensorInfo
    values: TensorInfo
    value_starts: TensorInfo
    gap_starts: TensorInfo | None = None
    steps: TensorInfo | None = None
    dtype: str = "F32"
    scratch: float = 24.0

    @property
    def on_disk(self) -> Sequence[TensorInfo]:
        """All parts."""
        parts = (self.places, self.values, self.value_starts, self.gap_starts, self.steps)
        return [part for part in parts if part is not None]

    @property
    def formula(self) -> str:
        """What is made of them."""
        return f"sparse {self.block}"

    def read(self, files: Files, start: int, stop: int) -> Raw:
        """Return entries, most of them 0."""
        out = np.zeros(max(0, stop - start), np.float32)
        for block in range(start // self.block, -(-stop // self.block) if stop > start else 0):
            places, values = self._block(files, block)
            at = places + (block * self.block - start)
            inside = slice(*np.searchsorted(at, [0, out.size]))
            out[at[inside]] = values[inside]
        return out

    def _block(self, files: Files, block: int) -> tuple[npt.NDArray[np.int64], Raw]:
        """Return the places of a block's entries, from its own first, and what they are."""
        first, end = (int(x) for x in files.view(self.value_starts, block, block + 2))
        places = self._places(files, block)
        count = min(self.block, self.count - block * self.block)
        if not 0 <= first <= end <= self.values.count or places.size != end - first or np.any(places >= count):
            raise FormatError(f"{self.places.file} is damaged: '{self.places.name}' does not fit its values.")
        values = decode(files.view(self.values, first, end), self.values.dtype)
        if self.steps is not None:
            values = values * files.view(self.steps, block, block + 1).view(np.float32)
        return places, values

    def _places(self, files: Files, block: int) -> npt.NDArray[np.int64]:
        if self.gap_starts is None:
            begin, end = block * self.block, min((block + 1) * self.block, self.count)
            bits = unpack_bits(files.view(self.places, begin // 8, bytes_for(end)).view(np.uint8), begin, end)
            return np.flatnonzero(bits)
        first, last = (int(x) for x in files.view(self.gap_starts, block, block + 2))
        if not 0 <= first <= last <= self.places.count:
            raise FormatError(f"{self.places.file} is damaged: '{self.gap_starts.name}' leads out of the gaps.")
        return unpack_gaps(files.view(self.places, first, last).view(np.uint8))
