"""A plan run into memory: the very bits that a run would write, as arrays."""

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..ops.floats import Raw, widen
from ..progress import Progress, Silent
from ..store.bridge import over_torch
from ..store.dtypes import BITS, is_float
from .planned import Plan
from .run import stream
from .sinks import Sums
from .units import Unit

if TYPE_CHECKING:
    import torch


class Merged(Mapping[str, npt.NDArray[Any]]):
    """The tensors of a merged model, in memory.

    `merged[name]` is an array in the tensor's shape: a read-only view in the stored type, or float32 with the same
    numbers where numpy has no such type (bf16, float8). `raw`, `dtype` and `torch` give the stored bits, the code of
    their type, and a torch tensor of that type; none of them is a copy.
    """

    def __init__(self, units: Sequence[Unit]) -> None:
        """Make room for the tensors of a plan."""
        self._units = {u.name: u for u in units}
        self._raw: dict[str, Raw] = {u.name: np.empty(u.count, BITS[u.dtype]) for u in units}

    def raw(self, name: str) -> Raw:
        """Return a tensor's stored bits, flat."""
        return self._raw[name]

    def dtype(self, name: str) -> str:
        """Return the code of a tensor's stored type: F32, BF16, I64, ...."""
        return self._units[name].dtype

    def torch(self, name: str) -> "torch.Tensor":
        """Return a tensor for torch, in its stored type, on the same memory."""
        unit = self._units[name]
        return over_torch(self._raw[name], unit.dtype, unit.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that all tensors take."""
        return sum(raw.nbytes for raw in self._raw.values())

    def fits(self, units: Sequence[Unit]) -> bool:
        """Tell whether there is room here for exactly the tensors of a plan."""
        return [(u.name, u.dtype, u.shape) for u in units] == [(u.name, u.dtype, u.shape) for u in self._units.values()]

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        unit, raw = self._units[name], self._raw[name]
        plain = not is_float(unit.dtype) or raw.dtype.kind == "f"
        out = (raw.view() if plain else widen(raw, unit.dtype)).reshape(unit.shape)
        out.flags.writeable = False
        return out

    def __iter__(self) -> Iterator[str]:
        return iter(self._units)

    def __len__(self) -> int:
        return len(self._units)

    def __repr__(self) -> str:
        return f"Merged({len(self)} tensors, {self.nbytes / 1e9:.3f} GB)"


class Memory:
    """A sink that puts slices into their places."""

    finished: Container[str] = ()

    def __init__(self, merged: Merged) -> None:
        """Write into the arrays of `merged`."""
        self._merged = merged

    def write(self, name: str, start: int, raw: Raw) -> None:
        """See `Sink`."""
        self._merged.raw(name)[start : start + raw.size] = raw

    def whole(self, name: str, sums: Sums) -> None:
        """See `Sink`."""

    def flush(self) -> None:
        """See `Sink`."""

    def join(self) -> None:
        """See `Sink`."""

    def stop(self) -> None:
        """See `Sink`."""


def merge_in_memory(plan: Plan, *, progress: Progress | None = None) -> Merged:
    """Merge as planned, into arrays; bit by bit what `run` writes.

    The output is in memory as a whole, beside what the plan's budget allows.

    Raises:
        NumbersError: NaN or Inf in an input, or a result that the stored type cannot hold.
    """
    merged = Merged(plan.units)
    stream(plan, Memory(merged), progress or Silent())
    return merged
