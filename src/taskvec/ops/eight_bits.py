"""Numbers stored in eight bits, decoded into float32: two kinds of float8, powers of two, and small integers.

Each code's 256 values stand in a table, so decoding is exact and the same everywhere.
"""

import numpy as np
import numpy.typing as npt

from .floats import FLOATS, Raw, widen
from .kernels import fused_for

CHUNK = 1 << 15
"""Entries decoded at once: looking up makes indices of eight bytes each, which shall stay in a core's cache."""

INTEGERS = ("I8", "U8", "I16", "U16", "I32", "I64")


def _e4m3() -> npt.NDArray[np.float32]:
    """Sign, 4 bits of exponent (bias 7), 3 of mantissa; no infinity, and NaN where all seven bits are set."""
    code = np.arange(256)
    exponent, mantissa = code >> 3 & 15, code & 7
    size = np.where(exponent == 0, np.ldexp(mantissa / 8.0, -6), np.ldexp(1 + mantissa / 8.0, exponent - 7))
    size[code & 127 == 127] = np.nan
    return np.where(code < 128, size, -size).astype(np.float32)


def _e5m2() -> npt.NDArray[np.float32]:
    """The upper half of a float16, with its infinities and NaN."""
    return (np.arange(256, dtype=np.uint16) << np.uint16(8)).view(np.float16).astype(np.float32)


def _e8m0() -> npt.NDArray[np.float32]:
    """Powers of two from 2⁻¹²⁷ to 2¹²⁷, and NaN."""
    size = np.ldexp(np.float64(1), np.arange(256) - 127)
    size[255] = np.nan
    return size.astype(np.float32)


TABLES = {"F8_E4M3": _e4m3(), "F8_E5M2": _e5m2(), "F8_E8M0": _e8m0()}


def decode(raw: Raw, code: str) -> npt.NDArray[np.float32]:
    """Return stored numbers of any type as float32: exact, but for F64 and integers above 2²⁴, which are rounded.

    >>> decode(np.array([0x38, 0xC0, 0x7E], dtype=np.uint8), "F8_E4M3").tolist()
    [1.0, -2.0, 448.0]
    """
    if code in FLOATS and code != "F64":
        return widen(raw, code)
    if code not in TABLES:
        return raw.astype(np.float32)
    table, codes, out = TABLES[code], raw.view(np.uint8), np.empty(raw.shape, np.float32)
    if codes.flags.c_contiguous and codes.ndim == 1 and (fused := fused_for(table, out)):
        fused.look_up(table, codes, out)
        return out
    for start in range(0, raw.size, CHUNK):
        # 'clip' spares numpy a copy of the output; a byte cannot be out of range.
        np.take(table, codes[start : start + CHUNK], out=out[start : start + CHUNK], mode="clip")
    return out
