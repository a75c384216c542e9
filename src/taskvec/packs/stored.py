"""From one task's change of one tensor to what is stored of it; one function a kind."""

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from ..ops.bits import bytes_for, pack_bits
from ..ops.floats import Raw, narrow, widen
from ..ops.gaps import bytes_of_gaps, pack_gaps
from ..ops.int8 import from_int8, to_int8
from ..ops.one_bit import from_one_bit, one_bit
from ..ops.spectral import Spectrum, svd
from ..ops.thin import factors_of
from ..store.dtypes import BITS, NAMES
from ..store.pack.names import BLOCK

F32 = npt.NDArray[np.float32]
Parts = dict[str, tuple[str, Raw]]


@dataclass(frozen=True)
class Stored:
    """How a change is stored, its parts by name (type, bits), and the change that they stand for, flat."""

    how: dict[str, Any]
    parts: Parts
    change: F32


def signs(delta: F32, shape: tuple[int, ...], rows: bool) -> Stored:
    """Store signs and their scale."""
    x = delta.reshape(shape)
    positive, scale = one_bit(x, rows=rows)
    spread = scale.reshape(-1, *(1,) * (x.ndim - 1)) if rows else scale
    parts: Parts = {"bits": ("U8", pack_bits(positive)), "scale": ("F32", scale)}
    return Stored({"kind": "signs", "rows": rows}, parts, from_one_bit(positive, spread).reshape(-1))


def rank_that_is_whole(shape: tuple[int, ...], factors: str, code: str) -> int:
    """Return the rank from which on two factors take as much as the matrix itself, stored in the base's type."""
    rows, columns = shape[0], prod(shape[1:])
    return -(-rows * columns * BITS[code].itemsize // cost_of_a_rank(shape, factors))


def cost_of_a_rank(shape: tuple[int, ...], factors: str) -> int:
    """Return the bytes of a column of both factors.

    >>> cost_of_a_rank((4, 6), "float16"), cost_of_a_rank((4, 6), "int8")
    (20, 18)
    """
    entries = shape[0] + prod(shape[1:])
    return entries + 8 if factors == "int8" else BITS[NAMES[factors]].itemsize * entries


def spectrum_of(delta: F32, shape: tuple[int, ...], rank: int | None = None) -> Spectrum:
    """Return the singular values and vectors of a change, as a matrix of its first axis by the others: all, or some."""
    return svd(delta.reshape(shape[0], -1), rank)


def low_rank(spectrum: Spectrum, rank: int, factors: str) -> Stored:
    """Store the two factors of a rank."""
    left, right = factors_of(spectrum, rank)
    if factors == "int8":
        left_codes, left_step = to_int8(np.ascontiguousarray(left.T))
        right_codes, right_step = to_int8(right)
        parts: Parts = {
            "left": ("I8", np.ascontiguousarray(left_codes.T)), "right": ("I8", right_codes),
            "left_step": ("F32", left_step[None]), "right_step": ("F32", right_step[:, None]),
        }  # fmt: skip
        change = from_int8(left_codes, left_step).T @ from_int8(right_codes, right_step)
        return Stored({"kind": "low_rank", "rank": rank, "steps": True}, parts, change.reshape(-1))
    code = NAMES[factors]
    raw, wide = zip(*(rounded(x, code) for x in (left, right)), strict=True)
    change = wide[0] @ wide[1]
    how = {"kind": "low_rank", "rank": rank}
    return Stored(how, {"left": (code, raw[0]), "right": (code, raw[1])}, change.reshape(-1))


def rounded(x: npt.NDArray[np.floating], code: str) -> tuple[Raw, F32]:
    """Return a matrix as bits of a type, and what they stand for."""
    raw = narrow(np.ascontiguousarray(x, np.float32).reshape(-1), code)
    return raw.reshape(x.shape), widen(raw, code).reshape(x.shape)


def sparse(delta: F32, kept: npt.NDArray[np.bool_], values: str, steps: str) -> Stored:
    """Store the entries that are kept, and where they stand: as bits or as gaps, whichever takes less."""
    places = np.flatnonzero(kept)
    starts = np.searchsorted(places, np.append(np.arange(0, delta.size, BLOCK), delta.size))
    parts: Parts = {"value_starts": ("I64", starts)}
    parts |= _values(delta[places], starts, values, steps)
    change = np.zeros_like(delta)
    change[places] = _decoded(parts, starts)
    within = [places[a:b] - i * BLOCK for i, (a, b) in enumerate(pairwise(starts))]
    sizes = [bytes_of_gaps(block) for block in within]
    if sum(sizes) + 8 * len(starts) >= bytes_for(delta.size):
        return Stored(
            {"kind": "sparse", "block": BLOCK, "places": "bits"}, parts | {"bits": ("U8", pack_bits(kept))}, change
        )
    parts["gaps"] = ("U8", np.concatenate([pack_gaps(block) for block in within]))
    parts["gap_starts"] = ("I64", np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))
    return Stored({"kind": "sparse", "block": BLOCK, "places": "gaps"}, parts, change)


def _values(found: F32, starts: npt.NDArray[np.int64], values: str, steps: str) -> Parts:
    """Return the kept entries, in eight bits with a step a block, or as floats."""
    if values != "int8":
        return {"values": (NAMES[values], narrow(found, NAMES[values]))}
    codes = np.empty(found.size, np.int8)
    step = np.zeros(len(starts) - 1, np.float32)
    if steps == "tensor":
        whole, step[:] = to_int8(found[None])
        codes[:] = whole[0]
    else:
        for i, (a, b) in enumerate(pairwise(starts)):
            block, step[i : i + 1] = to_int8(found[None, a:b])
            codes[a:b] = block[0]
    return {"values": ("I8", codes), "steps": ("F32", step)}


def _decoded(parts: Parts, starts: npt.NDArray[np.int64]) -> F32:
    code, raw = parts["values"]
    if code != "I8":
        return widen(raw, code)
    steps = parts["steps"][1].view(np.float32)
    out = raw.astype(np.float32)
    for step, (a, b) in zip(steps, pairwise(starts), strict=True):
        out[a:b] *= step
    return out


def lost_in_eight_bits(delta: F32, steps: str) -> float:
    """Return Σ (x - x in eight bits)² of all entries: the most that rounding those that are kept can cost.

    An entry's step does not depend on how many others are kept, because the largest of a block is among them.
    """
    starts = np.append(np.arange(0, delta.size, BLOCK), delta.size)
    error = _decoded(_values(delta, starts, "int8", steps), starts)
    error -= delta
    return float(sum(np.square(error[a:b], dtype=np.float64).sum() for a, b in pairwise(starts)))
