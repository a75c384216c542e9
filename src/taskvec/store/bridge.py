"""From stored bits to torch tensors. torch is imported here, when the first tensor is asked for."""

from typing import TYPE_CHECKING

from ..ops.floats import Raw
from .dtypes import BITS

if TYPE_CHECKING:
    import torch

TORCH_NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "C64": "complex64",
}


def to_torch(raw: Raw, code: str, shape: tuple[int, ...]) -> "torch.Tensor":
    """Copy stored bits into a torch tensor of that type and shape."""
    return over_torch(bytearray(raw.astype(BITS[code], copy=False).tobytes()), code, shape)


def over_torch(buffer: Raw | bytearray, code: str, shape: tuple[int, ...]) -> "torch.Tensor":
    """Return a torch tensor of that type and shape over stored bits that may be written to; nothing is copied."""
    import torch

    dtype: torch.dtype = getattr(torch, TORCH_NAMES[code])
    if len(buffer) == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(buffer, dtype=dtype).reshape(shape)
