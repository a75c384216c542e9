"""From how a tensor's change is stored to a tensor that is computed slice by slice; one function a kind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from ...errors import FormatError
from ...ops.bits import bytes_for
from ..checkpoint import Checkpoint
from ..computed.difference import Difference
from ..computed.low_rank import LowRank
from ..computed.masked import Masked
from ..computed.scaled import Scaled, grid
from ..computed.signs import Signs
from ..computed.sparse import Sparse
from ..tensors import Tensor, TensorInfo
from .names import part, shared

FLOATS = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class Change:
    """A task's change of one tensor, as the header tells it: whose, of what, and how it is stored."""

    file: Checkpoint
    task: int
    base: Tensor
    how: Mapping[str, Any]
    factor: float

    def part(self, name: str, codes: tuple[str, ...], shape: tuple[int, ...]) -> TensorInfo:
        """Return one of its parts, which must be of one of these types and of this shape."""
        return self.stored(part(self.task, self.base.name, name), codes, shape)

    def stored(self, name: str, codes: tuple[str, ...], shape: tuple[int, ...] | None) -> TensorInfo:
        """Return a stored tensor.

        Raises:
            FormatError: it is not there, or is of another type or shape.
        """
        info = self.file.tensors.get(name)
        if not isinstance(info, TensorInfo):
            raise FormatError(f"{self.file.path} is damaged: it lacks '{name}', which its header speaks of.")
        if info.dtype not in codes or (shape is not None and info.shape != shape):
            raise FormatError(
                f"{self.file.path} is damaged: '{name}' is {info.dtype} {info.shape}, expected {' or '.join(codes)} "
                f"{'of one axis' if shape is None else shape}."
            )
        return info

    def number(self, key: str) -> int:
        """Return a whole number above 0 that says how it is stored."""
        value = self.how.get(key)
        if not isinstance(value, int) or value < 1:
            raise FormatError(f"{self.file.path} is damaged: '{self.base.name}' is stored with {key} {value!r}.")
        return value


def _whole(change: Change) -> Tensor:
    return Difference(change.part("weight", (change.base.dtype,), change.base.shape), change.base)


def _low_rank(change: Change) -> Tensor:
    base, rank = change.base, change.number("rank")
    rows, columns = base.shape[0], prod(base.shape[1:])
    codes = ("I8",) if change.how.get("steps") else FLOATS
    left: Tensor = change.part("left", codes, (rows, rank))
    right: Tensor = change.part("right", codes, (rank, columns))
    if change.how.get("steps"):
        left = Scaled(
            left.name, left.shape, left, grid(change.part("left_step", ("F32",), (1, rank)), "F32", left.shape)
        )
        right = Scaled(
            right.name, right.shape, right, grid(change.part("right_step", ("F32",), (rank, 1)), "F32", right.shape)
        )
    return LowRank(base.name, base.shape, right, left, rank, 1.0, False)


def _signs(change: Change) -> Tensor:
    base = change.base
    scales = base.shape[:1] if change.how.get("rows") else (1,)
    bits = change.part("bits", ("U8",), (bytes_for(base.count),))
    return Signs(base.name, base.shape, bits, change.part("scale", ("F32",), scales))


def _mask(change: Change) -> Tensor:
    base = change.base
    bits = change.part("bits", ("U8",), (bytes_for(base.count),))
    return Masked(base.name, bits, change.stored(shared(base.name), FLOATS, base.shape), change.factor)


def _sparse(change: Change) -> Tensor:
    base = change.base
    block = change.number("block")
    if block % 8:
        raise FormatError(f"{change.file.path} is damaged: '{base.name}' has blocks of {block}, no multiple of 8.")
    blocks = -(-base.count // block)
    starts = change.part("value_starts", ("I64",), (blocks + 1,))
    values = change.stored(part(change.task, base.name, "values"), ("I8", *FLOATS), None)
    steps = change.part("steps", ("F32",), (blocks,)) if values.dtype == "I8" else None
    if change.how.get("places") == "gaps":
        places = change.stored(part(change.task, base.name, "gaps"), ("U8",), None)
        gaps = change.part("gap_starts", ("I64",), (blocks + 1,))
        return Sparse(base.name, base.shape, block, places, values, starts, gaps, steps)
    places = change.part("bits", ("U8",), (bytes_for(base.count),))
    return Sparse(base.name, base.shape, block, places, values, starts, None, steps)


KINDS: Mapping[str, Callable[[Change], Tensor]] = {
    "whole": _whole,
    "low_rank": _low_rank,
    "signs": _signs,
    "mask": _mask,
    "sparse": _sparse,
}


def opened(change: Change) -> Tensor:
    """Return a change as a tensor.

    Raises:
        FormatError: a kind that is not known, or parts that are missing or do not fit.
    """
    kind = change.how.get("kind")
    if kind not in KINDS:
        raise FormatError(
            f"{change.file.path} stores '{change.base.name}' as {kind!r}, which this version does not know. "
            f"Known: {', '.join(KINDS)}."
        )
    return KINDS[str(kind)](change)
