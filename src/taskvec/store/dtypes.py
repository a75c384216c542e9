"""The element types of safetensors: their size, and the numpy type that holds their bits."""

from math import prod

import numpy as np

from ..ops.floats import FLOATS

BITS: dict[str, np.dtype] = {
    code: np.dtype(kind)
    for code, kind in {
        "F64": "<f8",
        "F32": "<f4",
        "F16": "<f2",
        "BF16": "<u2",
        "I64": "<i8",
        "I32": "<i4",
        "I16": "<i2",
        "I8": "i1",
        "U64": "<u8",
        "U32": "<u4",
        "U16": "<u2",
        "U8": "u1",
        "BOOL": "u1",
        "F8_E4M3": "u1",
        "F8_E5M2": "u1",
        "F8_E8M0": "u1",
        "C64": "<c8",
    }.items()
}

COPIED = ("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")
"""Not averaged: equal in all inputs and copied, or refused."""

NAMES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""What people write in recipes and configs -> our code."""

LONG_NAMES = {code: name for name, code in NAMES.items()}


def is_float(code: str) -> bool:
    """Tell whether tensors of this type are merged (F64, F32, F16, BF16)."""
    return code in FLOATS


def size_of(code: str, shape: tuple[int, ...]) -> int:
    """Return the bytes a tensor takes.

    >>> size_of("BF16", (2, 3)), size_of("F32", ())
    (12, 4)
    """
    return BITS[code].itemsize * prod(shape)
