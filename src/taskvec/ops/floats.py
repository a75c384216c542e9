"""Between the floats that checkpoints store and those we calculate with.

A stored tensor is a numpy array of its bits: bf16, which numpy lacks, as uint16. Codes are those of safetensors.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from .kernels import fused_for
from .shapes import Float, UInt16

FLOATS = ("F64", "F32", "F16", "BF16")
Rounding = Literal["nearest", "stochastic"]
Raw = npt.NDArray[np.generic]


def widen(
    raw: Raw, code: str, dtype: npt.DTypeLike = np.float32, out: Float[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, " n"]:
    """Turn stored floats into float32 (or float64) without loss, in `out` if given.

    >>> widen(np.array([0x3F80, 0xC000], dtype=np.uint16), "BF16")
    array([ 1., -2.], dtype=float32)
    """
    out = np.empty(raw.shape, dtype) if out is None else out
    if code != "BF16":
        np.copyto(out, raw, casting="same_kind")
    elif raw.flags.c_contiguous and (fused := fused_for(out)):
        fused.widen(raw, out)
    else:
        np.copyto(out, (raw.astype(np.uint32) << np.uint32(16)).view(np.float32))
    return out


def subtract(
    raw: Raw, code: str, base: Float[np.ndarray, " n"], out: Float[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, " n"]:
    """Return stored minus base, in the base's precision (and in `out` if given): a slice of a task vector."""
    out = np.empty_like(base) if out is None else out
    if code == "BF16" and raw.flags.c_contiguous and (fused := fused_for(base, out)):
        fused.subtract_bf16(raw, base, out)
        return out
    widen(raw, code, base.dtype, out)
    np.subtract(out, base, out=out)
    return out


def narrow(x: Float[np.ndarray, " n"], code: str, words: UInt16[np.ndarray, " n"] | None = None) -> Raw:
    """Round to a stored float: to the nearest (ties to even) or, given random words, up or down by chance.

        stochastic: P(up) = (x - down) / (up - down), so that E[out] = x

    Edge: NaN stays NaN; what exceeds the format's largest number becomes Inf. Rounding by chance resolves
    2⁻¹⁶ of a step. A format as wide as x or wider stores x itself.

    >>> narrow(np.array([1.0, 1.001953125], dtype=np.float32), "BF16").tolist()
    [16256, 16256]
    """
    if code == "BF16":
        if words is None and (fused := fused_for(x)):
            stored: Raw = fused.narrow_bf16(x)
            return stored
        return _narrow_bf16(x, words)
    target = np.dtype({"F64": np.float64, "F32": np.float32, "F16": np.float16}[code])
    with np.errstate(over="ignore", invalid="ignore"):
        near = x.astype(target)
    return near if words is None or target.itemsize >= x.dtype.itemsize else _by_chance(x, near, words)


def _narrow_bf16(x: Float[np.ndarray, " n"], words: UInt16[np.ndarray, " n"] | None) -> npt.NDArray[np.uint16]:
    if x.dtype != np.float32:
        # Two roundings to nearest can differ from one: round the first to odd, so that the second decides alone.
        x = _round_to_odd(x)
    bits = np.ascontiguousarray(x).view(np.uint32)
    bump = (bits >> np.uint32(16) & np.uint32(1)) + np.uint32(0x7FFF) if words is None else words.astype(np.uint32)
    out = ((bits + bump) >> np.uint32(16)).astype(np.uint16)
    odd = ~np.isfinite(x)
    if odd.any():
        out[odd] = (bits[odd] >> np.uint32(16)).astype(np.uint16)
        out[np.isnan(x)] |= np.uint16(0x40)
    return out


def _round_to_odd(x: Float[np.ndarray, " n"]) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):
        near = x.astype(np.float32)
    inexact = (near.astype(np.float64) != x) & np.isfinite(near)
    bits = near.view(np.uint32).copy()
    away = inexact & (np.abs(near.astype(np.float64)) > np.abs(x))
    bits[away] -= np.uint32(1)
    bits[inexact] |= np.uint32(1)
    return bits.view(np.float32)


def _by_chance(x: Float[np.ndarray, " n"], near: Raw, words: UInt16[np.ndarray, " n"]) -> Raw:
    back = near.astype(x.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        error = x - back
        other = np.nextafter(near, np.where(error > 0, np.inf, -np.inf).astype(near.dtype))
        chance = np.abs(error) / np.abs(other.astype(x.dtype) - back)
    take = (error != 0) & np.isfinite(near) & (words / 65536.0 < chance)
    return np.where(take, other, near)


def lost(x: Float[np.ndarray, " n"], stored: Raw, code: str) -> float:
    """Return Σ (stored - x)², what rounding changed."""
    if code == "F32" and x.dtype == np.float32:
        return 0.0
    if code == "BF16" and (fused := fused_for(x)):
        return float(fused.lost_bf16(x, stored))
    error = widen(stored, code, x.dtype) - x
    return float(np.dot(error, error))


def moved(x: Float[np.ndarray, " n"], reference: Float[np.ndarray, " n"]) -> float:
    """Return Σ (x - reference)², how far a merge went."""
    if fused := fused_for(x, reference):
        return float(fused.moved(x, reference))
    step = x - reference
    return float(np.dot(step, step))


def nonfinite(x: Float[np.ndarray, " n"]) -> int:
    """Count NaN and Inf."""
    if fused := fused_for(x):
        return int(fused.nonfinite(x))
    return int(x.size - np.count_nonzero(np.isfinite(x)))
