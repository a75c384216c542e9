"""From what a PyTorch pickle says to tensors: which storage in the file, from which entry on, with which strides."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from ...errors import FormatError
from ..bridge import TORCH_NAMES
from ..computed.strided import Strided, extent, is_contiguous
from ..dtypes import BITS
from ..tensors import Tensor, TensorInfo
from .pickled import Call, Global, Persistent, is_named

OF_STORAGE = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "ComplexFloatStorage": "C64",
    "UntypedStorage": "U8",
}
OF_DTYPE = {f"torch.{name}": code for code, name in TORCH_NAMES.items()}
PARAMETERS = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
SUBCLASSES = ("torch._tensor._rebuild_from_type_v2", "torch._tensor._rebuild_from_type")
PLAIN = ("torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer")
TYPED = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
UNTYPED = ("torch._utils._rebuild_tensor_v3",)

MAX_BYTES = 1 << 60
"""An expanded view may be larger than its file, but no machine holds this."""


@dataclass(frozen=True)
class Place:
    """Where the bytes of a storage lie in the file."""

    begin: int
    nbytes: int


def is_tensor(value: Any) -> bool:
    """Tell what would become a tensor of any kind from everything else."""
    return (
        isinstance(value, Call)
        and isinstance(value.what, Global)
        and value.what.module in ("torch._utils", "torch._tensor")
        and value.what.name.startswith("_rebuild_")
    )


class Rebuilder:
    """Makes tensors of the wishes of one file's pickle."""

    def __init__(self, path: Path, places: Mapping[str, Place]) -> None:
        """Take the file, and where its storages lie."""
        self.path, self.places = path, places

    def tensor(self, name: str, value: Call) -> Tensor:
        """Return a tensor that a pickle wishes for.

        Raises:
            FormatError: of a kind that is not known, or one that the file does not hold.
        """
        try:
            return self._tensor(name, value)
        except (ValueError, TypeError, IndexError) as exc:
            if isinstance(exc, FormatError):
                raise
            raise FormatError(f"{self.path} is damaged: it says of '{name}' what makes no tensor ({exc}).") from exc

    def _tensor(self, name: str, value: Call) -> Tensor:
        args = tuple(value.args)
        if is_named(value.what, PARAMETERS) and is_tensor(args[0]):
            return self._tensor(name, args[0])
        if is_named(value.what, SUBCLASSES) and is_named(args[1], PLAIN):
            return self._tensor(name, Call(args[0], args[2]))
        if is_named(value.what, TYPED):
            code, place = self._storage(name, args[0])
            metadata = args[6:]
        elif is_named(value.what, UNTYPED):
            place, code = self._storage(name, args[0])[1], self._dtype(name, args[6])
            metadata = args[7:]
        else:
            wanted = args[1] if is_named(value.what, SUBCLASSES) else value.what
            raise FormatError(
                f"'{name}' in {self.path} is no plain tensor but made by {wanted}. "
                f"Convert it to a plain one where it was made, and save it again."
            )
        if any(metadata):
            raise FormatError(f"'{name}' in {self.path} is a conjugated or negated view. Save its .clone() instead.")
        return self._view(name, code, place, _count(args[1]), _counts(args[2]), _counts(args[3]))

    def _dtype(self, name: str, dtype: Any) -> str:
        if not is_named(dtype, OF_DTYPE):
            raise FormatError(f"'{name}' in {self.path} has entries of a type that is not known: {dtype}.")
        return OF_DTYPE[str(dtype)]

    def _storage(self, name: str, storage: Any) -> tuple[str, Place]:
        """Return the type and place of a storage, or of the part of one that very old files name."""
        words: Any = storage.words if isinstance(storage, Persistent) else ()
        if len(words) < 5 or words[0] != "storage" or not isinstance(words[1], Global):
            raise ValueError("its storage is not named")
        kind, key, count = words[1].name, words[2], _count(words[4])
        if kind not in OF_STORAGE:
            raise FormatError(f"'{name}' in {self.path} has entries of a type that is not known: {words[1]}.")
        if key not in self.places:
            raise FormatError(f"{self.path} is damaged: the bytes of '{name}' are not there. Download it again.")
        code, place = OF_STORAGE[kind], self.places[key]
        size, first = BITS[code].itemsize, 0
        if len(words) > 5 and words[5] is not None:
            _, first, count = words[5]
        if (_count(first) + _count(count)) * size > place.nbytes:
            raise FormatError(
                f"{self.path} is truncated: '{name}' needs {(first + count) * size} bytes of storage, the file has "
                f"{place.nbytes}. Download it again."
            )
        return code, Place(place.begin + first * size, count * size)

    def _view(
        self, name: str, code: str, place: Place, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> Tensor:
        size, spanned = BITS[code].itemsize, extent(shape, strides)
        if (offset + spanned) * size > place.nbytes or prod(shape) * size > MAX_BYTES:
            raise FormatError(f"{self.path} is damaged: '{name}', {code} {shape}, reaches beyond its storage.")
        begin = place.begin + offset * size
        if is_contiguous(shape, strides):
            return TensorInfo(name, code, shape, self.path, begin)
        return Strided(name, shape, TensorInfo(name, code, (spanned,), self.path, begin), strides)


def _counts(values: Any) -> tuple[int, ...]:
    """Return the numbers of a shape or of strides, from a tuple or a torch.Size."""
    if isinstance(values, Call):
        values = values.args[0]
    return tuple(_count(n) for n in values)


def _count(n: Any) -> int:
    if not isinstance(n, int) or isinstance(n, bool) or n < 0:
        raise ValueError(f"{n!r} is no count")
    return n
