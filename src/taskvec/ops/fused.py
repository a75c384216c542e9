"""The hot loops in one pass over cache-sized slices, compiled by numba (optional: `pip install 'taskvec[fast]'`).

Each function here is the twin of a plain one of the same name and gives the same bytes: every product, sum and
division is rounded to float32 on its own (no fused multiply-add, no reordering), in the same order. Only sums
for reports (`lost_bf16`, `moved`) may be added in any order. Inputs are contiguous float32 numpy arrays.

All of it is one file on purpose: numba keeps compiled functions on disk as long as their own file is unchanged, and
would not notice a change of a function that they take from another file.
"""

from collections.abc import Callable
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
from numba.extending import intrinsic as _numba_intrinsic

F32 = npt.NDArray[np.float32]

_exact: Callable[..., Any] = nb.njit(nogil=True, cache=True, error_model="numpy")
_reordered: Callable[..., Any] = nb.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc"})

# numba's functions are typed by numba, not by Python; here they may take and return what they like.
_intrinsic: Callable[..., Any] = _numba_intrinsic
_carray: Any = nb.carray

STRIP = 2048
"""Entries worked on at a time, so that running sums stay in the innermost cache."""


@_intrinsic
def _pointer(typing_context: Any, address: Any) -> Any:
    """Turn an address into a pointer, so that a loop over inputs needs no loop over Python objects."""
    del typing_context
    from numba.core import cgutils, types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


@_intrinsic
def _as_float(typing_context: Any, bits: Any) -> Any:
    """Read 32 bits as a float32."""
    del typing_context
    from llvmlite import ir
    from numba.core import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(bits), generate


@_intrinsic
def _as_bits(typing_context: Any, number: Any) -> Any:
    """Read a float32 as 32 bits."""
    del typing_context
    from llvmlite import ir
    from numba.core import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(number), generate


@_exact
def _wide(raw: np.uint16) -> np.float32:
    return _as_float(np.uint32(np.uint32(raw) << np.uint32(16)))


@_exact
def _round_bits(b: np.uint32) -> np.uint32:
    # Each step is cut to 32 bits: numba widens integer sums to 64, which halves the entries a register holds.
    odd = np.uint32((b >> np.uint32(16)) & np.uint32(1))
    bumped = np.uint32(np.uint32(b + np.uint32(0x7FFF)) + odd)
    near, quiet = np.uint32(bumped >> np.uint32(16)), np.uint32((b >> np.uint32(16)) | np.uint32(0x40))
    return quiet if np.uint32(b & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000) else near


@_exact
def _scale(w: np.float32, x: F32, out: F32) -> None:
    for i in range(out.size):
        out[i] = w * x[i]


@_exact
def _add(w: np.float32, x: F32, out: F32) -> None:
    for i in range(out.size):
        out[i] += w * x[i]


@_exact
def _keep_row(x: F32, low: np.float32, high: np.float32, out: F32) -> None:
    for i in range(out.size):
        size = abs(x[i])
        out[i] = x[i] if (size >= low) & (size <= high) else np.float32(0)


@_exact
def _weighted_sum(rows: F32, weights: F32, low: F32, high: F32, banded: bool, out: F32) -> None:
    strip = np.empty(STRIP, np.float32)
    for begin in range(0, out.size, STRIP):
        end = min(begin + STRIP, out.size)
        for t in range(rows.shape[0]):
            x = rows[t, begin:end]
            if banded:
                _keep_row(x, low[t], high[t], strip[: end - begin])
                x = strip[: end - begin]
            if t == 0:
                _scale(weights[0], x, out[begin:end])
            else:
                _add(weights[t], x, out[begin:end])


def _edges(band: Any, tasks: int) -> tuple[F32, F32, bool]:
    if band is None:
        return np.zeros(tasks, np.float32), np.zeros(tasks, np.float32), False
    return band[0].astype(np.float32), band[1].astype(np.float32), True


def weighted_sum(stack: F32, weights: list[float], band: Any) -> F32:
    """See `combine.weighted_sum`."""
    rows = stack.reshape(stack.shape[0], -1)
    out = np.empty(rows.shape[1], np.float32)
    _weighted_sum(rows, np.array(weights, np.float32), *_edges(band, len(rows)), out)
    return out.reshape(stack.shape[1:])


@_exact
def _fill(value: np.float32, out: F32) -> None:
    for i in range(out.size):
        out[i] = value


@_exact
def _vote_by_sum(flip: np.float32, w: np.float32, x: F32, vote: F32) -> None:
    for i in range(vote.size):
        vote[i] += w * (flip * x[i])


@_exact
def _vote_by_count(flip: np.float32, x: F32, vote: F32) -> None:
    for i in range(vote.size):
        turned = flip * x[i]
        vote[i] += np.float32(np.int32(turned > np.float32(0)) - np.int32(turned < np.float32(0)))


@_exact
def _settle_ties(vote: F32) -> None:
    for i in range(vote.size):
        vote[i] = np.float32(1) if vote[i] == np.float32(0) else vote[i]


@_exact
def _add_agreeing(flip: np.float32, w: np.float32, c: np.float32, x: F32, vote: F32, out: F32, share: F32) -> None:
    zero = np.float32(0)
    for i in range(vote.size):
        turned = flip * x[i]
        agrees = ((turned > zero) & (vote[i] > zero)) | ((turned < zero) & (vote[i] < zero))
        out[i] += w * turned if agrees else zero
        share[i] += c if agrees else zero


@_exact
def _divide(share: F32, out: F32) -> None:
    for i in range(out.size):
        s = share[i]
        quotient = out[i] / (s if s != np.float32(0) else np.float32(1))
        out[i] = quotient if s != np.float32(0) else np.float32(0)


@_exact
def _elect_and_average(
    rows: F32,
    size: F32,
    side: F32,
    elect: int,
    combine: int,
    positive: bool,
    low: F32,
    high: F32,
    banded: bool,
    out: F32,
) -> None:
    zero, one = np.float32(0), np.float32(1)
    votes, shares = np.empty(STRIP, np.float32), np.empty(STRIP, np.float32)
    strips = np.empty((rows.shape[0], STRIP), np.float32)
    for begin in range(0, out.size, STRIP):
        end = min(begin + STRIP, out.size)
        vote, share, mean = votes[: end - begin], shares[: end - begin], out[begin:end]
        _fill(zero, vote)
        _fill(zero, share)
        _fill(zero, mean)
        for t in range(rows.shape[0]):
            x = strips[t, : end - begin]
            if banded:
                _keep_row(rows[t, begin:end], low[t], high[t], x)
            else:
                _scale(one, rows[t, begin:end], x)
            if elect == 2:
                _vote_by_count(side[t], x, vote)
            else:
                _vote_by_sum(side[t], size[t] if elect == 1 else one, x, vote)
        if positive:
            _settle_ties(vote)
        for t in range(rows.shape[0]):
            c = one if combine == 2 else size[t]
            _add_agreeing(side[t], size[t], c, strips[t, : end - begin], vote, mean, share)
        if combine != 1:
            _divide(share, mean)


def elect_and_average(
    stack: F32, size: list[float], side: list[float], elect: str, combine: str, tied: str, band: Any
) -> F32:
    """See `combine.elect_and_average`."""
    rows = stack.reshape(stack.shape[0], -1)
    out = np.empty(rows.shape[1], np.float32)
    how = ("sum", "weighted", "count").index(elect), ("mean", "sum", "count").index(combine), tied == "positive"
    _elect_and_average(
        rows, np.array(size, np.float32), np.array(side, np.float32), *how, *_edges(band, len(rows)), out
    )
    return out.reshape(stack.shape[1:])


@_exact
def _add_scaled(base: F32, delta: F32, scale: np.float32, out: F32) -> None:
    for i in range(out.size):
        step = scale * delta[i]
        out[i] = base[i] if step == np.float32(0) else base[i] + step


def add_scaled(base: F32, delta: F32, scale: float) -> F32:
    """See `combine.add_scaled`."""
    out = np.empty_like(base)
    _add_scaled(base.reshape(-1), delta.reshape(-1), np.float32(scale), out.reshape(-1))
    return out


@_exact
def _keep_between(rows: F32, low: F32, high: F32, out: F32) -> None:
    for t in range(rows.shape[0]):
        _keep_row(rows[t], low[t], high[t], out[t])


def keep_between(stack: F32, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> F32:
    """See `select.keep_between`."""
    out = np.empty_like(stack)
    shape = (stack.shape[0], -1)
    _keep_between(stack.reshape(shape), low.astype(np.float32), high.astype(np.float32), out.reshape(shape))
    return out


@_exact
def _above(bits: npt.NDArray[np.uint32], high: np.uint32) -> int:
    count = np.uint32(0)
    for i in range(bits.size):
        count += np.uint32((bits[i] & np.uint32(0x7FFFFFFF)) > high)
    return count


@_exact
def _any_within(bits: npt.NDArray[np.uint32], low: np.uint32, width: np.uint32) -> np.uint32:
    found = np.uint32(0)
    for i in range(bits.size):
        found |= np.uint32(((bits[i] & np.uint32(0x7FFFFFFF)) - low) <= width)
    return found


@_exact
def _pick(bits: npt.NDArray[np.uint32], low: np.uint32, width: np.uint32, inside: npt.NDArray[np.uint32]) -> int:
    found = 0
    for begin in range(0, bits.size, 32):
        block = bits[begin : min(begin + 32, bits.size)]
        if _any_within(block, low, width):
            for i in range(block.size):
                b = np.uint32(block[i] & np.uint32(0x7FFFFFFF))
                inside[found] = b
                found += np.int64(np.uint32(b - low) <= width)
    return found


@_exact
def _look(
    bits: npt.NDArray[np.uint32], low: np.uint32, high: np.uint32, inside: npt.NDArray[np.uint32]
) -> tuple[int, int]:
    above, found = 0, 0
    for begin in range(0, bits.size, STRIP):
        strip = bits[begin : min(begin + STRIP, bits.size)]
        above += _above(strip, high)
        found += _pick(strip, low, np.uint32(high - low), inside[found:])
    return above, found


def look(block: F32, low: int, high: int) -> tuple[int, npt.NDArray[np.uint32]]:
    """See `select.KthLargest.look`."""
    inside = np.empty(block.size + 1, np.uint32)
    above, found = _look(block.view(np.uint32), np.uint32(low), np.uint32(high), inside)
    return int(above), inside[:found].copy()


@_exact
def _drop_row(x: F32, words: npt.NDArray[np.uint16], kept_of: np.int32, p: np.float32, out: F32) -> None:
    for i in range(out.size):
        quotient = x[i] / p
        out[i] = quotient if np.int32(words[i]) < kept_of else np.float32(0)


@_exact
def _drop(rows: F32, words: npt.NDArray[np.uint16], kept_of: npt.NDArray[np.int32], p: F32, out: F32) -> None:
    for t in range(rows.shape[0]):
        _drop_row(rows[t], words[t], kept_of[t], p[t], out[t])


def drop(stack: F32, words: npt.NDArray[np.uint16], kept_of: npt.NDArray[np.int32], p: npt.NDArray[np.float64]) -> F32:
    """See `chance.drop`."""
    out = np.empty_like(stack)
    shape = (stack.shape[0], -1)
    _drop(stack.reshape(shape), words, kept_of, p.astype(np.float32), out.reshape(shape))
    return out


@_exact
def _widen(raw: npt.NDArray[np.uint16], bits: npt.NDArray[np.uint32]) -> None:
    for i in range(bits.size):
        bits[i] = np.uint32(raw[i]) << np.uint32(16)


def widen(raw: npt.NDArray[np.uint16], out: F32) -> F32:
    """See `floats.widen`, for bf16."""
    _widen(raw, out.view(np.uint32))
    return out


@_exact
def _take_off(base: F32, out: F32) -> None:
    for i in range(out.size):
        out[i] -= base[i]


@_exact
def _subtract_bf16(raw: npt.NDArray[np.uint16], base: F32, bits: npt.NDArray[np.uint32], out: F32) -> None:
    for begin in range(0, raw.size, STRIP):
        end = min(begin + STRIP, raw.size)
        _widen(raw[begin:end], bits[begin:end])
        _take_off(base[begin:end], out[begin:end])


def subtract_bf16(raw: npt.NDArray[np.uint16], base: F32, out: F32) -> F32:
    """See `floats.subtract`, for bf16."""
    _subtract_bf16(raw, base, out.view(np.uint32), out)
    return out


@_exact
def _narrow_bf16(bits: npt.NDArray[np.uint32], out: npt.NDArray[np.uint16]) -> None:
    for i in range(out.size):
        out[i] = np.uint16(_round_bits(bits[i]))


def narrow_bf16(x: F32) -> npt.NDArray[np.uint16]:
    """See `floats.narrow`, for bf16 and to the nearest."""
    out = np.empty(x.size, np.uint16)
    _narrow_bf16(x.view(np.uint32), out)
    return out


@_reordered
def _squared_distance(x: F32, y: F32) -> np.float32:
    total = np.float32(0)
    for i in range(x.size):
        step = x[i] - y[i]
        total += step * step
    return total


@_exact
def _lost_bf16(x: F32, raw: npt.NDArray[np.uint16], bits: npt.NDArray[np.uint32], wide: F32) -> np.float32:
    total = np.float32(0)
    for begin in range(0, raw.size, STRIP):
        end = min(begin + STRIP, raw.size)
        _widen(raw[begin:end], bits[: end - begin])
        total += _squared_distance(wide[: end - begin], x[begin:end])
    return total


def lost_bf16(x: F32, raw: npt.NDArray[np.uint16]) -> float:
    """See `floats.lost`, for bf16."""
    bits = np.empty(STRIP, np.uint32)
    return float(_lost_bf16(x, raw, bits, bits.view(np.float32)))


def moved(x: F32, reference: F32) -> float:
    """See `floats.moved`."""
    return float(_squared_distance(x.reshape(-1), reference.reshape(-1)))


@_exact
def _nonfinite(bits: npt.NDArray[np.uint32]) -> int:
    count = np.uint32(0)
    for i in range(bits.size):
        count += np.uint32((bits[i] & np.uint32(0x7F800000)) == np.uint32(0x7F800000))
    return count


def nonfinite(x: F32) -> int:
    """See `floats.nonfinite`."""
    return int(_nonfinite(x.view(np.uint32)))


@_exact
def _inner(x: F32, y: F32, lanes: npt.NDArray[np.float64]) -> np.float64:
    for k in range(lanes.size):
        lanes[k] = 0.0
    for begin in range(0, x.size, 16):
        end = min(begin + 16, x.size)
        a, b = x[begin:end], y[begin:end]
        for k in range(a.size):
            lanes[k] += np.float64(a[k]) * np.float64(b[k])
    total = lanes[0]
    for k in range(1, 16):
        total += lanes[k]
    return total


@_exact
def _gram_block(rows: F32, out: npt.NDArray[np.float64]) -> None:
    lanes = np.empty(16, np.float64)
    for i in range(rows.shape[0]):
        for j in range(i + 1):
            out[i, j] = _inner(rows[i], rows[j], lanes)
            out[j, i] = out[i, j]


def gram_block(rows: F32) -> npt.NDArray[np.float64]:
    """See `gram._block`."""
    out = np.empty((rows.shape[0], rows.shape[0]))
    _gram_block(rows, out)
    return out


@_exact
def _bf16(address: np.uint64, begin: int, count: int) -> npt.NDArray[np.uint16]:
    return _carray(_pointer(address + np.uint64(2 * begin)), count, np.uint16)


@_exact
def _f32(address: np.uint64, begin: int, count: int) -> F32:
    return _carray(_pointer(address + np.uint64(4 * begin)), count, np.float32)


@_reordered
def _take_bf16(raw: npt.NDArray[np.uint16], origin: F32, out: F32) -> np.float32:
    odd = np.float32(0)
    for i in range(out.size):
        x = _wide(raw[i]) - origin[i]
        out[i] = x
        odd += x * np.float32(0)
    return odd


@_reordered
def _take_f32(raw: F32, origin: F32, out: F32) -> np.float32:
    odd = np.float32(0)
    for i in range(out.size):
        x = raw[i] - origin[i]
        out[i] = x
        odd += x * np.float32(0)
    return odd


@_exact
def _take(address: np.uint64, kind: int, begin: int, origin: F32, out: F32) -> np.float32:
    """Widen a strip of stored floats (kind 0 is bf16, 1 float32) less an origin; NaN tells of a NaN or Inf."""
    if kind == 0:
        return _take_bf16(_bf16(address, begin, out.size), origin, out)
    return _take_f32(_f32(address, begin, out.size), origin, out)


@_exact
def _first_bf16(w: np.float32, raw: npt.NDArray[np.uint16], origin: F32, out: F32) -> None:
    for i in range(out.size):
        out[i] = w * (_wide(raw[i]) - origin[i])


@_exact
def _more_bf16(w: np.float32, raw: npt.NDArray[np.uint16], origin: F32, out: F32) -> None:
    for i in range(out.size):
        out[i] += w * (_wide(raw[i]) - origin[i])


@_exact
def _first_f32(w: np.float32, raw: F32, origin: F32, out: F32) -> None:
    for i in range(out.size):
        out[i] = w * (raw[i] - origin[i])


@_exact
def _more_f32(w: np.float32, raw: F32, origin: F32, out: F32) -> None:
    for i in range(out.size):
        out[i] += w * (raw[i] - origin[i])


@_exact
def _add_base(base: F32, scale: np.float32, x: F32) -> None:
    for i in range(x.size):
        step = scale * x[i]
        x[i] = base[i] if step == np.float32(0) else base[i] + step


@_reordered
def _store_bf16(x: F32, out: npt.NDArray[np.uint16]) -> np.float32:
    """Round a strip; return the squared error. Only the sum of errors may be reordered: rounding is integer."""
    lost = np.float32(0)
    for i in range(out.size):
        stored = _round_bits(_as_bits(x[i]))
        out[i] = np.uint16(stored)
        error = _as_float(np.uint32(stored << np.uint32(16))) - x[i]
        lost += error * error
    return lost


@_exact
def _store(x: F32, address: np.uint64, kind: int, begin: int) -> np.float32:
    if kind == 0:
        return _store_bf16(x, _bf16(address, begin, x.size))
    _scale(np.float32(1), x, _f32(address, begin, x.size))
    return np.float32(0)


@_exact
def _mix(
    addresses: npt.NDArray[np.uint64],
    kinds: npt.NDArray[np.int64],
    subtract: npt.NDArray[np.bool_],
    base_address: np.uint64,
    base_kind: int,
    weights: F32,
    scale: np.float32,
    out_address: np.uint64,
    out_kind: int,
    n: int,
) -> tuple[float, float]:
    """One strip at a time through everything. There is no base if `base_kind` is negative."""
    nothing = np.zeros(STRIP, np.float32)
    references, totals = np.empty(STRIP, np.float32), np.empty(STRIP, np.float32)
    lost, moved = np.float64(0), np.float64(0)
    for begin in range(0, n, STRIP):
        m = min(STRIP, n - begin)
        reference, total = references[:m], totals[:m]
        if base_kind >= 0:
            _take(base_address, base_kind, begin, nothing, reference)
        else:
            _take(addresses[0], kinds[0], begin, nothing, reference)
        for t in range(weights.size):
            origin = reference if subtract[t] else nothing[:m]
            if kinds[t] == 0:
                raw = _bf16(addresses[t], begin, m)
                if t == 0:
                    _first_bf16(weights[t], raw, origin, total)
                else:
                    _more_bf16(weights[t], raw, origin, total)
            else:
                wide = _f32(addresses[t], begin, m)
                if t == 0:
                    _first_f32(weights[t], wide, origin, total)
                else:
                    _more_f32(weights[t], wide, origin, total)
        if base_kind >= 0:
            _add_base(reference, scale, total)
        moved += _squared_distance(total, reference)
        lost += _store(total, out_address, out_kind, begin)
    return lost, moved


@_exact
def _gather(
    addresses: npt.NDArray[np.uint64],
    kinds: npt.NDArray[np.int64],
    subtract: npt.NDArray[np.bool_],
    base_address: np.uint64,
    base_kind: int,
    rows: F32,
    reference: F32,
) -> bool:
    nothing = np.zeros(STRIP, np.float32)
    odd = np.float32(0)
    for begin in range(0, reference.size, STRIP):
        end = min(begin + STRIP, reference.size)
        if base_kind >= 0:
            _take(base_address, base_kind, begin, nothing, reference[begin:end])
        for t in range(rows.shape[0]):
            origin = reference[begin:end] if subtract[t] else nothing[: end - begin]
            odd += _take(addresses[t], kinds[t], begin, origin, rows[t, begin:end])
        if base_kind < 0:
            _scale(np.float32(1), rows[0, begin:end], reference[begin:end])
    return odd == odd


@_exact
def _finish(
    merged: F32, reference: F32, with_base: bool, scale: np.float32, out_address: np.uint64, out_kind: int
) -> tuple[float, float]:
    totals = np.empty(STRIP, np.float32)
    lost, moved = np.float64(0), np.float64(0)
    for begin in range(0, merged.size, STRIP):
        end = min(begin + STRIP, merged.size)
        total = totals[: end - begin]
        _scale(np.float32(1), merged[begin:end], total)
        if with_base:
            _add_base(reference[begin:end], scale, total)
        moved += _squared_distance(total, reference[begin:end])
        lost += _store(total, out_address, out_kind, begin)
    return lost, moved


def _where(array: npt.NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _inputs(inputs: Any, base: Any) -> tuple[Any, ...]:
    addresses = np.array([_where(s.raw) for s in inputs], np.uint64)
    kinds = np.array([s.code == "F32" for s in inputs], np.int64)
    subtract = np.array([base is not None and not s.delta for s in inputs])
    if base is None:
        return addresses, kinds, subtract, np.uint64(0), -1
    return addresses, kinds, subtract, np.uint64(_where(base.raw)), int(base.code == "F32")


def mix(inputs: Any, base: Any, weights: Any, scale: float | None, code: str, out: Any) -> tuple[float, float]:
    """See `slices.mix`."""
    n = inputs[0].raw.size
    w = np.array(weights, np.float32)
    factor = np.float32(1 if scale is None else scale)
    sums = _mix(*_inputs(inputs, base), w, factor, np.uint64(_where(out)), int(code == "F32"), n)
    return float(sums[0]), float(sums[1])


def gather(inputs: Any, base: Any, rows: F32, reference: F32) -> bool:
    """See `slices.gather`."""
    return bool(_gather(*_inputs(inputs, base), rows, reference))


def finish(merged: F32, reference: F32, scale: float | None, code: str, out: Any) -> tuple[float, float]:
    """See `slices.finish`."""
    factor = np.float32(1 if scale is None else scale)
    where, kind = np.uint64(_where(out)), int(code == "F32")
    sums = _finish(merged.reshape(-1), reference.reshape(-1), scale is not None, factor, where, kind)
    return float(sums[0]), float(sums[1])
