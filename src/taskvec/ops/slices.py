"""A slice of a merge from stored bits to stored bits: gather the inputs, mix them, finish the result.

`mix` is the whole way at once for methods that are a weighted sum; `gather` and `finish` are the two ends of the way
for the others. Fused kernels do each in one pass when inputs and output are bf16 or float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt16

from . import floats
from .combine import add_scaled, weighted_sum
from .floats import Raw
from .kernels import fused_for


@dataclass(frozen=True, slots=True)
class Stored:
    """Flat stored bits, the code of their type, and whether they are a task vector already."""

    raw: Raw
    code: str
    delta: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """A result as stored, Σ (stored - merged)² and Σ (merged - reference)²."""

    raw: Raw
    lost: float
    moved: float


Rows = Float[np.ndarray, "task n"]
FUSED_CODES = ("BF16", "F32")


def gather(inputs: Sequence[Stored], base: Stored | None, rows: Rows, reference: Float[np.ndarray, " n"]) -> bool:
    """Widen every input into `rows`; with a base, subtract it from those that are not task vectors yet.

    `reference` becomes the base or, without one, the first input. Returns whether all of `rows` is finite.
    """
    if (fused := fused_for(rows, reference)) and _fusable([*inputs, *([base] if base else [])]):
        return bool(fused.gather(inputs, base, rows, reference))
    if base:
        floats.widen(base.raw, base.code, rows.dtype, reference)
    for row, stored in zip(rows, inputs, strict=True):
        if base and not stored.delta:
            floats.subtract(stored.raw, stored.code, reference, row)
        else:
            floats.widen(stored.raw, stored.code, rows.dtype, row)
    if not base:
        reference[:] = rows[0]
    return floats.nonfinite(rows.reshape(-1)) == 0


def finish(
    merged: Float[np.ndarray, " n"],
    reference: Float[np.ndarray, " n"],
    scale: float | None,
    code: str,
    words: UInt16[np.ndarray, " n"] | None = None,
    out: Raw | None = None,
) -> Finished:
    """Add a merged task vector to the base (with `scale`; None: it is the weights already), and round for storing.

    `out` is a buffer of bytes that the result may be put in.
    """
    if words is None and code in FUSED_CODES and (fused := fused_for(merged, reference)):
        out = _room(code, merged.size, out)
        return Finished(out, *fused.finish(merged, reference, scale, code, out))
    result = merged if scale is None else add_scaled(reference, merged, scale)
    raw = floats.narrow(result, code, words)
    return Finished(raw, floats.lost(result, raw, code), floats.moved(result, reference))


def mix(
    inputs: Sequence[Stored],
    base: Stored | None,
    weights: Sequence[float],
    scale: float | None,
    code: str,
    dtype: np.dtype,
    words: UInt16[np.ndarray, " n"] | None = None,
    out: Raw | None = None,
) -> Finished:
    """Return what `gather`, `weighted_sum` and `finish` give together, without storing anything in between."""
    usual = words is None and code in FUSED_CODES and dtype == np.float32 and (base is None) == (scale is None)
    if usual and (fused := fused_for()) and _fusable([*inputs, *([base] if base else [])]):
        out = _room(code, inputs[0].raw.size, out)
        return Finished(out, *fused.mix(inputs, base, weights, scale, code, out))
    rows = np.empty((len(inputs), inputs[0].raw.size), dtype)
    reference = np.empty(inputs[0].raw.size, dtype)
    gather(inputs, base, rows, reference)
    return finish(weighted_sum(rows, np.asarray(weights)), reference, scale, code, words)


def _room(code: str, count: int, out: Raw | None) -> Raw:
    """Return where to store `count` entries: the beginning of `out` if it is given, as bytes."""
    kind = np.dtype(np.float32 if code == "F32" else np.uint16)
    return np.empty(count, kind) if out is None else out[: count * kind.itemsize].view(kind)


def _fusable(stored: Sequence[Stored]) -> bool:
    return all(s.code in FUSED_CODES and s.raw.flags.c_contiguous for s in stored)
