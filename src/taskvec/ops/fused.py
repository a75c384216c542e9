"""The hot loops in one pass over cache-sized slices, compiled by numba (optional: `pip install 'taskvec[fast]'`).

What is here gives the same bytes as the plain array operations it stands for: every product, sum and division is
rounded to float32 on its own (no fused multiply-add, no reordering), in the same order. Only sums for reports (what was
lost and moved, whether all is finite) may be added in any order. Nothing here checks bounds: callers have made sure
that inputs are contiguous and belong together.

All of it is one file on purpose: numba keeps compiled functions on disk as long as their own file is unchanged, and
would not notice a change of a function that they take from another file.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
from numba.core import cgutils as _cgutils
from numba.core import event as _events
from numba.extending import intrinsic as _numba_intrinsic

F32 = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bits = npt.NDArray[np.uint32]

# What Python calls is kept on disk, compiled; the steps inside are compiled into it.
_kernel: Callable[..., Any] = nb.njit(nogil=True, cache=True, error_model="numpy")
_exact: Callable[..., Any] = nb.njit(nogil=True, error_model="numpy")
_reordered: Callable[..., Any] = nb.njit(nogil=True, error_model="numpy", fastmath={"reassoc"})

# numba's functions are typed by numba, not by Python; here they may take and return what they like.
_intrinsic: Callable[..., Any] = _numba_intrinsic
_carray: Any = nb.carray
_emit: Any = _cgutils
_register: Any = _events.register

STRIP = 1024
"""Entries worked on at a time, so that what happens to them happens in the innermost cache."""

STANDING = 6
"""Strips that are worked in, besides one a task: zeros, the reference, the sum, votes, shares, random words."""

LANES = 16
"""Entries that one vector instruction sifts."""

TALL = 6
"""Rows of a tile whose sums fit the registers."""

DRAWN = 16
"""16-bit words that one step of the Philox counter yields."""

COARSE = 16
"""Low bits of a magnitude that its bin leaves out."""

BINS = 8 << (23 - COARSE)
"""Bins for the ranks within a row: eight octaves, down from its largest magnitude."""

UNEVEN = 0x8000
"""Marks the bin of a magnitude that is not the least of its bin."""

FEW = 96
"""Magnitudes that are sorted by insertion."""

TO_WHOLE = 1.5 * 2.0**52
"""A float64 that takes no fraction: adding it rounds, halves to even, and subtracting it gives the whole number."""

APART = 4 * BINS + 320
"""Bytes from one table of bins to the next: not a multiple of 4096, at which a processor takes one for the other."""

DESK = 4 * APART + 4 * (512 + (1 << 15)) + 320
"""Bytes for counts while a row is ranked. Each entry of the row takes 20 more: itself, and twice with its place."""

PANEL = 1 << 15
"""Entries of whole rows that are ranked before anything else is done to them (one row, where that is longer)."""

ELECTIONS, WEIGHTED, BY_COUNT = ("sum", "weighted", "count"), 1, 2
COMBINATIONS, SUM, COUNT = ("mean", "sum", "count"), 1, 2
"""What a vote may be, in the order of the numbers that stand for it here."""


@_intrinsic
def _pointer(typing_context: Any, address: Any) -> Any:
    """Turn an address into a pointer, so that a loop over inputs needs no loop over Python objects."""
    del typing_context
    from numba.core import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.inttoptr(arguments[0], _emit.voidptr_t)

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


@_intrinsic
def _as_double(typing_context: Any, bits: Any) -> Any:
    """Read 64 bits as a float64."""
    del typing_context
    from llvmlite import ir
    from numba.core import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(bits), generate


@_intrinsic
def _as_long(typing_context: Any, number: Any) -> Any:
    """Read a float64 as 64 bits."""
    del typing_context
    from llvmlite import ir
    from numba.core import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(number), generate


@_intrinsic
def _from_half(typing_context: Any, bits: Any) -> Any:
    """Widen 16 bits of a float16 to float32."""
    del typing_context
    from llvmlite import ir
    from numba.core import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


@_intrinsic
def _to_half(typing_context: Any, number: Any) -> Any:
    """Round a float32 to the nearest float16, as 16 bits."""
    del typing_context
    from llvmlite import ir
    from numba.core import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.bitcast(builder.fptrunc(arguments[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), generate


@_intrinsic
def _high_product(typing_context: Any, x: Any, y: Any) -> Any:
    """Return the upper 64 bits of the product of two 64-bit numbers."""
    del typing_context
    from llvmlite import ir
    from numba.core import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        wide = [builder.zext(number, ir.IntType(128)) for number in arguments]
        upper = builder.lshr(builder.mul(*wide), ir.Constant(ir.IntType(128), 64))
        return builder.trunc(upper, ir.IntType(64))

    return types.uint64(x, y), generate


def _lanes(builder: Any, address: Any) -> Any:
    """Emit the load of `LANES` floats' magnitudes, as bits."""
    from llvmlite import ir

    many = ir.VectorType(ir.IntType(32), LANES)
    bits = builder.load(builder.inttoptr(address, many.as_pointer()), align=4)
    return builder.and_(bits, ir.Constant(many, [0x7FFFFFFF] * LANES))


def _in_all_lanes(builder: Any, number: Any) -> Any:
    """Emit a vector that holds one number in every lane."""
    from llvmlite import ir

    many = ir.VectorType(ir.IntType(32), LANES)
    nothing = ir.Constant(many, ir.Undefined)
    first = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(many, [0] * LANES))


def _count(builder: Any, chosen: Any) -> Any:
    """Emit the number of lanes that are chosen."""
    from llvmlite import ir

    return builder.zext(builder.ctpop(builder.bitcast(chosen, ir.IntType(LANES))), ir.IntType(64))


def _counting(comparison: str) -> Any:
    """Return what emits how many of `LANES` magnitudes at an address compare so with a pattern."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        address, pattern = arguments
        chosen = builder.icmp_unsigned(comparison, _lanes(builder, address), _in_all_lanes(builder, pattern))
        return _count(builder, chosen)

    return generate


@_intrinsic
def _count_above(typing_context: Any, address: Any, high: Any) -> Any:
    """Return how many of `LANES` magnitudes are above a pattern."""
    del typing_context, address, high
    from numba.core import types

    return types.int64(types.uint64, types.uint32), _counting(">")


@_intrinsic
def _count_equal(typing_context: Any, address: Any, pattern: Any) -> Any:
    """Return how many of `LANES` magnitudes are a pattern."""
    del typing_context, address, pattern
    from numba.core import types

    return types.int64(types.uint64, types.uint32), _counting("==")


@_intrinsic
def _pick(typing_context: Any, address: Any, low: Any, width: Any, to: Any) -> Any:
    """Store those of `LANES` magnitudes that are within low … low + width side by side; return how many."""
    del typing_context
    from llvmlite import ir
    from numba.core import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        address, low, width, to = arguments
        bits = _lanes(builder, address)
        beyond = builder.sub(bits, _in_all_lanes(builder, low))
        chosen = builder.icmp_unsigned("<=", beyond, _in_all_lanes(builder, width))
        place = ir.IntType(32).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [bits.type, place, chosen.type])
        store = _emit.get_or_insert_function(builder.module, kind, f"llvm.masked.compressstore.v{LANES}i32")
        builder.call(store, [bits, builder.inttoptr(to, place), chosen])
        return _count(builder, chosen)

    return types.int64(types.uint64, types.uint32, types.uint32, types.uint64), generate


@_intrinsic
def _multiply_add(typing_context: Any, x: Any, y: Any, count: Any, sums: Any) -> Any:
    """Add the products of two rows of float32, in float64, to `LANES` running sums (count: a multiple of `LANES`)."""
    del typing_context
    from llvmlite import ir
    from numba.core import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del signature
        x, y, count, sums = arguments
        singles, doubles = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.DoubleType(), LANES)

        def entries(start: Any, offset: Any) -> Any:
            at = builder.inttoptr(builder.add(start, offset), singles.as_pointer())
            return builder.fpext(builder.load(at, align=4), doubles)

        place = builder.inttoptr(sums, doubles.as_pointer())
        running = _emit.alloca_once_value(builder, builder.load(place, align=8))
        steps = builder.udiv(count, ir.Constant(ir.IntType(64), LANES))
        with _emit.for_range(builder, steps) as loop:
            offset = builder.mul(loop.index, ir.Constant(ir.IntType(64), 4 * LANES))
            product = builder.fmul(entries(x, offset), entries(y, offset))
            builder.store(builder.fadd(builder.load(running), product), running)
        builder.store(builder.load(running), place, align=8)
        return context.get_dummy_value()

    return types.none(types.uint64, types.uint64, types.int64, types.uint64), generate


def _tiling(height: int) -> Any:
    """Return what emits a tile of a product of two factors: `height` rows of `LANES` entries, each in a register.

    Arguments: addresses of the left factor's first row, of the right one's packed panel and of the output; the bytes
    between rows of each; the rank; the scale.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del signature
        from llvmlite import ir

        left, panel, out, left_row, panel_row, out_row, rank, scale = arguments
        word, single = ir.IntType(64), ir.FloatType()
        many = ir.VectorType(single, LANES)

        def in_all(number: Any) -> Any:
            nothing = ir.Constant(many, ir.Undefined)
            first = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
            lanes = ir.VectorType(ir.IntType(32), LANES)
            return builder.shuffle_vector(first, nothing, ir.Constant(lanes, [0] * LANES))

        def at(address: Any, row_bytes: Any, row: int) -> Any:
            return builder.add(address, builder.mul(row_bytes, ir.Constant(word, row)))

        sums = [_emit.alloca_once_value(builder, ir.Constant(many, [0.0] * LANES)) for _ in range(height)]
        for place in sums:
            builder.store(ir.Constant(many, [0.0] * LANES), place)
        with _emit.for_range(builder, rank) as loop:
            there = builder.add(panel, builder.mul(loop.index, panel_row))
            entries = builder.load(builder.inttoptr(there, many.as_pointer()), align=4)
            step = builder.mul(loop.index, ir.Constant(word, 4))
            for row, place in enumerate(sums):
                here = builder.add(at(left, left_row, row), step)
                share = in_all(builder.load(builder.inttoptr(here, single.as_pointer()), align=4))
                builder.store(builder.fadd(builder.load(place), builder.fmul(share, entries)), place)
        for row, place in enumerate(sums):
            whole = builder.fmul(in_all(scale), builder.load(place))
            builder.store(whole, builder.inttoptr(at(out, out_row, row), many.as_pointer()), align=4)
        return context.get_dummy_value()

    return generate


def _tile_signature() -> Any:
    from numba.core import types

    return types.none(*[types.uint64] * 3, *[types.int64] * 4, types.float32)


@_intrinsic
def _tile(typing_context: Any, left: Any, panel: Any, out: Any, a: Any, b: Any, c: Any, rank: Any, scale: Any) -> Any:
    """Write a tile of `TALL` rows; see `_tiling`."""
    del typing_context, left, panel, out, a, b, c, rank, scale
    return _tile_signature(), _tiling(TALL)


@_intrinsic
def _strip(typing_context: Any, left: Any, panel: Any, out: Any, a: Any, b: Any, c: Any, rank: Any, scale: Any) -> Any:
    """Write a tile of one row; see `_tiling`."""
    del typing_context, left, panel, out, a, b, c, rank, scale
    return _tile_signature(), _tiling(1)


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


# Entries in one array, changed in place.


@_exact
def _fill(value: np.float32, out: F32) -> None:
    for i in range(out.size):
        out[i] = value


@_exact
def _copy(x: F32, out: F32) -> None:
    for i in range(out.size):
        out[i] = x[i]


@_exact
def _scale(w: np.float32, x: F32, out: F32) -> None:
    for i in range(out.size):
        out[i] = w * x[i]


@_exact
def _add(w: np.float32, x: F32, out: F32) -> None:
    for i in range(out.size):
        out[i] += w * x[i]


@_exact
def _keep(low: np.float32, high: np.float32, x: F32) -> None:
    for i in range(x.size):
        size = abs(x[i])
        x[i] = x[i] if (size >= low) & (size <= high) else np.float32(0)


@_exact
def _drop(words: npt.NDArray[np.uint16], kept_of: np.int32, p: np.float32, x: F32) -> None:
    for i in range(x.size):
        quotient = x[i] / p
        x[i] = quotient if np.int32(words[i]) < kept_of else np.float32(0)


@_exact
def _add_base(base: F32, scale: np.float32, x: F32) -> None:
    for i in range(x.size):
        step = scale * x[i]
        x[i] = base[i] if step == np.float32(0) else base[i] + step


# Random words.


@_exact
def _round(a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64, k0: np.uint64, k1: np.uint64) -> Any:
    m, n = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
    return _high_product(n, c) ^ b ^ k0, n * c, _high_product(m, a) ^ d ^ k1, m * a


@_kernel
def _draw(k0: np.uint64, k1: np.uint64, step: np.uint64, out: npt.NDArray[np.uint64]) -> None:
    """Philox-4x64 with ten rounds, as numpy has it: the counter moves before the first draw."""
    u, v, zero = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B), np.uint64(0)
    for i in range(0, out.size, 4):
        # Written out: as a loop the rounds take half as long again.
        a, b, c, d = _round(np.uint64(step + np.uint64(i // 4 + 1)), zero, zero, zero, k0, k1)
        a, b, c, d = _round(a, b, c, d, k0 + u, k1 + v)
        a, b, c, d = _round(a, b, c, d, k0 + np.uint64(2) * u, k1 + np.uint64(2) * v)
        a, b, c, d = _round(a, b, c, d, k0 + np.uint64(3) * u, k1 + np.uint64(3) * v)
        a, b, c, d = _round(a, b, c, d, k0 + np.uint64(4) * u, k1 + np.uint64(4) * v)
        a, b, c, d = _round(a, b, c, d, k0 + np.uint64(5) * u, k1 + np.uint64(5) * v)
        a, b, c, d = _round(a, b, c, d, k0 + np.uint64(6) * u, k1 + np.uint64(6) * v)
        a, b, c, d = _round(a, b, c, d, k0 + np.uint64(7) * u, k1 + np.uint64(7) * v)
        a, b, c, d = _round(a, b, c, d, k0 + np.uint64(8) * u, k1 + np.uint64(8) * v)
        a, b, c, d = _round(a, b, c, d, k0 + np.uint64(9) * u, k1 + np.uint64(9) * v)
        out[i], out[i + 1], out[i + 2], out[i + 3] = a, b, c, d


def draw(key: npt.NDArray[np.uint64], step: int, count: int) -> npt.NDArray[np.uint64]:
    """Return `count` draws (a multiple of 4) of the Philox stream of that key from that step on."""
    out = np.empty(count, np.uint64)
    _draw(key[0], key[1], np.uint64(step), out)
    return out


# Stored floats by their address.

KINDS = ("BF16", "F32", "F16")
"""The types that kernels read and write, in the order of the numbers that stand for them here."""

BF16, SINGLE, HALF = 0, 1, 2


@_exact
def _short(address: np.uint64, begin: int, count: int) -> npt.NDArray[np.uint16]:
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


@_reordered
def _take_f16(raw: npt.NDArray[np.uint16], origin: F32, out: F32) -> np.float32:
    odd = np.float32(0)
    for i in range(out.size):
        x = _from_half(raw[i]) - origin[i]
        out[i] = x
        odd += x * np.float32(0)
    return odd


@_exact
def _take(address: np.uint64, kind: int, begin: int, origin: F32, out: F32) -> np.float32:
    """Widen a strip of stored floats less an origin; NaN tells of a NaN or Inf."""
    if kind == BF16:
        return _take_bf16(_short(address, begin, out.size), origin, out)
    if kind == HALF:
        return _take_f16(_short(address, begin, out.size), origin, out)
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
def _weigh(w: np.float32, address: np.uint64, kind: int, begin: int, origin: F32, out: F32, first: bool) -> None:
    """Add a strip of bf16 or float32, less an origin and times a weight, to a sum; or begin the sum with it."""
    if kind == BF16 and first:
        _first_bf16(w, _short(address, begin, out.size), origin, out)
    elif kind == BF16:
        _more_bf16(w, _short(address, begin, out.size), origin, out)
    elif first:
        _first_f32(w, _f32(address, begin, out.size), origin, out)
    else:
        _more_f32(w, _f32(address, begin, out.size), origin, out)


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


@_reordered
def _store_f16(x: F32, out: npt.NDArray[np.uint16]) -> np.float32:
    lost = np.float32(0)
    for i in range(out.size):
        stored = _to_half(x[i])
        out[i] = stored
        error = _from_half(stored) - x[i]
        lost += error * error
    return lost


@_exact
def _store(x: F32, address: np.uint64, kind: int, begin: int) -> np.float32:
    if kind == BF16:
        return _store_bf16(x, _short(address, begin, x.size))
    if kind == HALF:
        return _store_f16(x, _short(address, begin, x.size))
    _copy(x, _f32(address, begin, x.size))
    return np.float32(0)


@_reordered
def _squared_distance(x: F32, y: F32) -> np.float32:
    total = np.float32(0)
    for i in range(x.size):
        step = x[i] - y[i]
        total += step * step
    return total


# Signs.


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
def _decide(tied: np.float32, vote: F32) -> None:
    """Replace votes by their signs, and a vote of zero by what ties give. NaN decides nothing."""
    zero, one = np.float32(0), np.float32(1)
    for i in range(vote.size):
        v = vote[i]
        side = one if v > zero else (-one if v < zero else zero)
        vote[i] = tied if v == zero else side


@_exact
def _add_agreeing(flip: np.float32, w: np.float32, x: F32, sign: F32, out: F32) -> None:
    for i in range(out.size):
        turned = flip * x[i]
        out[i] += w * turned if turned * sign[i] > np.float32(0) else np.float32(0)


@_exact
def _share_agreeing(flip: np.float32, w: np.float32, c: np.float32, x: F32, sign: F32, out: F32, share: F32) -> None:
    for i in range(out.size):
        turned = flip * x[i]
        agrees = turned * sign[i] > np.float32(0)
        out[i] += w * turned if agrees else np.float32(0)
        share[i] += c if agrees else np.float32(0)


@_exact
def _divide(share: F32, out: F32) -> None:
    for i in range(out.size):
        s = share[i]
        quotient = out[i] / (s if s != np.float32(0) else np.float32(1))
        out[i] = quotient if s != np.float32(0) else np.float32(0)


@_exact
def _elect(
    rows: np.uint64, weights: F32, elect: int, combine: int, positive: bool, vote: F32, share: F32, out: F32
) -> None:
    """Elect signs in a strip of every task (they lie at `rows`), and average what has them."""
    zero, one, m = np.float32(0), np.float32(1), out.size
    _fill(zero, vote)
    _fill(zero, share)
    _fill(zero, out)
    for t in range(weights.size):
        side = -one if weights[t] < zero else one
        x = _f32(rows, t * STRIP, m)
        if elect == BY_COUNT:
            _vote_by_count(side, x, vote)
        else:
            _vote_by_sum(side, abs(weights[t]) if elect == WEIGHTED else one, x, vote)
    _decide(one if positive else zero, vote)
    for t in range(weights.size):
        side, size = -one if weights[t] < zero else one, abs(weights[t])
        x = _f32(rows, t * STRIP, m)
        if combine == SUM:
            _add_agreeing(side, size, x, vote, out)
        else:
            _share_agreeing(side, size, one if combine == COUNT else size, x, vote, out, share)
    if combine != SUM:
        _divide(share, out)


# Ranks of magnitudes within a row.

Counts = npt.NDArray[np.int32]
Packed = npt.NDArray[np.uint64]
"""Magnitudes (the upper 32 bits) with their places (the lower), so that both move together."""


@_exact
def _cases(density: float, slope: float, off: float) -> float:
    """Return in how many of 65,536 cases an entry is kept; see `chance.cases_by_rank`."""
    p = density + slope * off
    most = 65536.0 if p >= 1.0 else 65535.0
    cases = (65536.0 * p + TO_WHOLE) - TO_WHOLE
    cases = cases if cases > 1.0 else 1.0
    return cases if cases < most else most


@_exact
def _largest(bits: Bits) -> np.uint32:
    top = np.uint32(0)
    for i in range(bits.size):
        size = np.uint32(bits[i] & np.uint32(0x7FFFFFFF))
        top = size if size > top else top
    return top


@_exact
def _bin_of(size: np.uint32, low: np.uint32) -> np.uint32:
    key = np.uint32(size >> np.uint32(COARSE))
    return np.uint32((key if key > low else low) - low)


@_exact
def _bin(bits: Bits, low: np.uint32, bins: npt.NDArray[np.uint16]) -> None:
    """Put magnitudes into bins, and mark those that are not the least of their bin; the least of the first is zero."""
    for i in range(bits.size):
        size = np.uint32(bits[i] & np.uint32(0x7FFFFFFF))
        at = _bin_of(size, low)
        least = np.uint32((at + low if at > np.uint32(0) else np.uint32(0)) << np.uint32(COARSE))
        bins[i] = np.uint16(at | (np.uint32(UNEVEN) if size != least else np.uint32(0)))


@_exact
def _count_bins(bins: npt.NDArray[np.uint16], counts: Counts, more: Counts) -> None:
    """Count by turns here and there: equal magnitudes side by side would wait for each other's count."""
    even = bins.size // 2 * 2
    for i in range(0, even, 2):
        counts[bins[i] & np.uint16(UNEVEN - 1)] += np.int32(1)
        more[bins[i + 1] & np.uint16(UNEVEN - 1)] += np.int32(1)
    for i in range(even, bins.size):
        counts[bins[i] & np.uint16(UNEVEN - 1)] += np.int32(1)


@_exact
def _pack(bits: Bits, i: int) -> np.uint64:
    return np.uint64(np.uint64(bits[i] & np.uint32(0x7FFFFFFF)) << np.uint64(32)) | np.uint64(i)


@_exact
def _size_of(packed: np.uint64) -> np.uint32:
    return np.uint32(packed >> np.uint64(32))


@_exact
def _pack_marked(bits: Bits, bins: npt.NDArray[np.uint16], fours: npt.NDArray[np.uint64], out: Packed) -> int:
    """Pack the magnitudes whose bins are marked, looking at four bins at once: marks are rare."""
    found = 0
    for four in range(fours.size):
        if fours[four] & np.uint64(0x8000800080008000):
            for i in range(4 * four, 4 * four + 4):
                if bins[i] & np.uint16(UNEVEN):
                    out[found] = _pack(bits, i)
                    found += 1
    for i in range(4 * fours.size, bins.size):
        if bins[i] & np.uint16(UNEVEN):
            out[found] = _pack(bits, i)
            found += 1
    return found


@_exact
def _insert(keys: Packed) -> None:
    for i in range(1, keys.size):
        key, j = keys[i], i
        while j > 0 and keys[j - 1] > key:
            keys[j] = keys[j - 1]
            j -= 1
        keys[j] = key


@_exact
def _digit(key: np.uint64, place: int, low: np.uint64) -> np.uint64:
    """Return where a digit of a packed magnitude is counted: its last byte, the one before, or the rest from `low`."""
    if place == 0:
        return (key >> np.uint64(32)) & np.uint64(255)
    if place == 1:
        return np.uint64(256) + ((key >> np.uint64(40)) & np.uint64(255))
    return np.uint64(512) + ((key >> np.uint64(48)) - low)


@_exact
def _scatter(keys: Packed, place: int, low: np.uint64, starts: Counts, out: Packed) -> None:
    for i in range(keys.size):
        digit = _digit(keys[i], place, low)
        out[np.uint32(starts[digit])] = keys[i]
        starts[digit] += np.int32(1)


@_exact
def _sort(keys: Packed, spare: Packed, starts: Counts) -> Packed:
    """Sort by magnitude, a few by insertion, many by their digits; return the array that holds the result."""
    if keys.size <= FEW:
        _insert(keys)
        return keys
    low, top = keys[0] >> np.uint64(48), keys[0] >> np.uint64(48)
    for i in range(keys.size):
        rest = keys[i] >> np.uint64(48)
        low, top = min(low, rest), max(top, rest)
    edges = (0, 256, 512, 513 + np.int64(top - low))
    for k in range(edges[3]):
        starts[k] = np.int32(0)
    for i in range(keys.size):
        for place in range(3):
            starts[_digit(keys[i], place, low)] += np.int32(1)
    for place in range(3):
        total = np.int32(0)
        for k in range(edges[place], edges[place + 1]):
            total, starts[k] = np.int32(total + starts[k]), total
    _scatter(keys, 0, low, starts, spare)
    _scatter(spare, 1, low, starts, keys)
    _scatter(keys, 2, low, starts, spare)
    return spare


@_exact
def _tabulate(
    density: float, slope: float, n: int, counts: Counts, more: Counts, marked: Counts, table: Counts
) -> None:
    """Find the cases of every bin's least magnitude, less one; turn counts into sums up to each bin."""
    total = 0
    for k in range(counts.size):
        count = counts[k] + more[k]
        more[k] = np.int32(total)
        total += count
        counts[k] = np.int32(total)
    for k in range(counts.size):
        off = np.int32(np.int32(more[k] - np.int32(n)) + np.int32(counts[k] - marked[k]))
        table[k] = np.int32(_cases(density, slope, np.float64(off)) - 1.0)


@_exact
def _rank_row(bits: Bits, density: float, reach: float, desk: np.uint64, cases: npt.NDArray[np.uint16]) -> None:
    """Find for each entry of a row in how many of 65,536 cases it is kept, less one.

    Magnitudes that are the least of their bin are counted, not sorted. Where inputs are bf16 or float16 these are
    nearly all: the difference of two such numbers has few bits.
    """
    n, found, low = bits.size, bits.size, np.uint32(0)
    slope = reach / max(n - 1, 1)
    counts, more, marked, table = _counts(desk, 0), _counts(desk, 1), _counts(desk, 2), _counts(desk, 3)
    starts = _carray(_pointer(desk + np.uint64(4 * APART)), 512 + (1 << 15), np.int32)
    near = desk + np.uint64(DESK)
    keys = _carray(_pointer(near), n, np.uint64)
    if n > FEW:
        top, last = np.uint32(_largest(bits) >> np.uint32(COARSE)), np.uint32(BINS - 1)
        low = np.uint32((top if top > last else last) - last)
        _bin(bits, low, cases)
        for k in range(BINS):
            counts[k], more[k], marked[k] = np.int32(0), np.int32(0), np.int32(0)
        _count_bins(cases, counts, more)
        fours = _carray(_pointer(np.uint64(cases.ctypes.data)), n // 4, np.uint64)
        found = _pack_marked(bits, cases, fours, keys)
        for j in range(found):
            marked[_bin_of(_size_of(keys[j]), low)] += np.int32(1)
        _tabulate(density, slope, n, counts, more, marked, table)
        for i in range(n):
            cases[i] = np.uint16(table[cases[i] & np.uint16(UNEVEN - 1)])
    else:
        for i in range(n):
            keys[i] = _pack(bits, i)
    spare = _carray(_pointer(near + np.uint64(8 * n)), found, np.uint64)
    keys = _sort(_carray(_pointer(near), found, np.uint64), spare, starts)
    i, rank, here = 0, 0, np.uint32(0xFFFFFFFF)
    while i < found:
        size, stop = _size_of(keys[i]), i + 1
        while stop < found and _size_of(keys[stop]) == size:
            stop += 1
        if n > FEW and _bin_of(size, low) != here:
            here = _bin_of(size, low)
            rank = np.int64(counts[here]) - np.int64(marked[here])
        kept_of = np.uint16(_cases(density, slope, np.float64(rank + rank + stop - i - n)) - 1.0)
        for j in range(i, stop):
            cases[np.uint64(keys[j] & np.uint64(0xFFFFFFFF))] = kept_of
        rank += stop - i
        i = stop


@_exact
def _counts(desk: np.uint64, at: int) -> Counts:
    return _carray(_pointer(desk + np.uint64(APART * at)), BINS, np.int32)


@_exact
def _drop_by_rank(words: npt.NDArray[np.uint16], cases: npt.NDArray[np.uint16], p: np.float32, x: F32) -> None:
    """Drop, and divide by `p`, or where it is 0 by each entry's own chance."""
    if p == np.float32(0):
        for i in range(x.size):
            quotient = x[i] / (np.float32(np.int32(np.int32(cases[i]) + np.int32(1))) * np.float32(1 / 65536))
            x[i] = quotient if words[i] <= cases[i] else np.float32(0)
    else:
        for i in range(x.size):
            quotient = x[i] / p
            x[i] = quotient if words[i] <= cases[i] else np.float32(0)


# From the stored bits of every input to the stored bits of the result, or to what a search wants to know.

Inputs = tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.bool_], np.uint64, int]
"""Where each input lies, its kind, whether the base is to be subtracted; the base's address and kind (-1: none)."""

Chances = tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32], F32, int]
"""Each task's key, in how many of 65,536 cases it is kept, what it is divided by; the first entry's offset."""


Space = npt.NDArray[np.float32]
"""Strips to work in. Arrays are made of their addresses: those cost nothing to make, while a slice of an array counts
references, atomically, twice for each strip and step."""


@_exact
def _words(task: int, begin: int, count: int, chances: Chances, draws: np.uint64) -> npt.NDArray[np.uint16]:
    """Return the random words of a strip, drawn at `draws`."""
    keys, _, _, start = chances
    at = start + begin
    skip = at % DRAWN
    steps = (skip + count + DRAWN - 1) // DRAWN
    _draw(keys[task, 0], keys[task, 1], np.uint64(at // DRAWN), _carray(_pointer(draws), 4 * steps, np.uint64))
    return _short(draws, skip, count)


@_kernel
def _rank(
    inputs: Inputs,
    columns: int,
    density: npt.NDArray[np.float64],
    reach: npt.NDArray[np.float64],
    begin: int,
    end: int,
    cases: npt.NDArray[np.uint16],
    desk: npt.NDArray[np.uint8],
    space: Space,
) -> None:
    """Rank every task's entries within each row of a panel; see `_rank_row`."""
    addresses, kinds, subtract, base_address, base_kind = inputs
    lent, at_desk = np.uint64(space.ctypes.data), np.uint64(desk.ctypes.data)
    to = np.uint64(cases.ctypes.data)
    row = at_desk + np.uint64(DESK + 16 * columns)
    _fill(np.float32(0), _f32(lent, 0, STRIP))
    for t in range(addresses.size):
        for start in range(begin, end, columns):
            for at in range(start, start + columns, STRIP):
                m = min(STRIP, start + columns - at)
                nothing, reference = _f32(lent, 0, m), _f32(lent, STRIP, m)
                if subtract[t]:
                    _take(base_address, base_kind, at, nothing, reference)
                origin = reference if subtract[t] else nothing
                _take(addresses[t], kinds[t], at, origin, _f32(row, at - start, m))
            bits = _carray(_pointer(row), columns, np.uint32)
            its_cases = _short(to, t * cases.shape[1] + start - begin, columns)
            _rank_row(bits, density[t], reach[t], at_desk, its_cases)


@_kernel
def _blend(
    inputs: Inputs,
    weights: F32,
    dropping: bool,
    chances: Chances,
    ranked: bool,
    cases: npt.NDArray[np.uint16],
    banded: bool,
    low: F32,
    high: F32,
    elect: int,
    combine: int,
    positive: bool,
    scale: np.float32,
    out_address: np.uint64,
    out_kind: int,
    start: int,
    stop: int,
    space: Space,
) -> tuple[float, float, float]:
    """One strip at a time through everything."""
    addresses, kinds, subtract, base_address, base_kind = inputs
    tasks, straight = weights.size, not (dropping or banded or elect >= 0)
    lent = np.uint64(space.ctypes.data)
    rows = lent + np.uint64(4 * STRIP * STANDING)
    draws, odds = lent + np.uint64(4 * 5 * STRIP), np.uint64(cases.ctypes.data)
    odd, lost, moved = np.float32(0), np.float64(0), np.float64(0)
    _fill(np.float32(0), _f32(lent, 0, STRIP))
    for begin in range(start, stop, STRIP):
        m = min(STRIP, stop - begin)
        nothing, reference, total = _f32(lent, 0, m), _f32(lent, STRIP, m), _f32(lent, 2 * STRIP, m)
        if base_kind >= 0:
            _take(base_address, base_kind, begin, nothing, reference)
        else:
            _take(addresses[0], kinds[0], begin, nothing, reference)
        for t in range(tasks):
            origin = reference if subtract[t] else nothing
            if straight and kinds[t] != HALF:
                _weigh(weights[t], addresses[t], kinds[t], begin, origin, total, t == 0)
                continue
            x = _f32(rows, t * STRIP if elect >= 0 else 0, m)
            odd += _take(addresses[t], kinds[t], begin, origin, x)
            if dropping:
                words = _words(t, begin, m, chances, draws)
                if ranked:
                    its_odds = _short(odds, t * cases.shape[1] + begin - start, m)
                    _drop_by_rank(words, its_odds, chances[2][t], x)
                else:
                    _drop(words, chances[1][t], chances[2][t], x)
            if banded:
                _keep(low[t], high[t], x)
            if elect < 0 and t == 0:
                _scale(weights[t], x, total)
            elif elect < 0:
                _add(weights[t], x, total)
        if elect >= 0:
            vote, share = _f32(lent, 3 * STRIP, m), _f32(lent, 4 * STRIP, m)
            _elect(rows, weights, elect, combine, positive, vote, share, total)
        if base_kind >= 0:
            _add_base(reference, scale, total)
        moved += _squared_distance(total, reference)
        lost += _store(total, out_address, out_kind, begin)
    return odd, lost, moved


@_kernel
def _survey(
    inputs: Inputs,
    dropping: bool,
    chances: Chances,
    task: npt.NDArray[np.int64],
    low: Bits,
    high: Bits,
    inside: npt.NDArray[np.uint64],
    above: npt.NDArray[np.int64],
    equal: npt.NDArray[np.int64],
    found: npt.NDArray[np.int64],
    n: int,
    space: Space,
) -> np.float32:
    addresses, kinds, subtract, base_address, base_kind = inputs
    lent = np.uint64(space.ctypes.data)
    odd = np.float32(0)
    _fill(np.float32(0), _f32(lent, 0, STRIP))
    for begin in range(0, n, STRIP):
        m = min(STRIP, n - begin)
        nothing, reference, x = _f32(lent, 0, m), _f32(lent, STRIP, m), _f32(lent, 2 * STRIP, m)
        if base_kind >= 0:
            _take(base_address, base_kind, begin, nothing, reference)
        for t in range(addresses.size):
            odd += _take(addresses[t], kinds[t], begin, reference if subtract[t] else nothing, x)
            if dropping:
                _drop(_words(t, begin, m, chances, lent + np.uint64(4 * 5 * STRIP)), chances[1][t], chances[2][t], x)
            for s in range(task.size):
                if task[s] == t:
                    at = lent + np.uint64(4 * 2 * STRIP)
                    above[s], equal[s], found[s] = _sift(
                        at, m, low[s], high[s], inside[s], above[s], equal[s], found[s]
                    )
    return odd


@_exact
def _sift(
    at: np.uint64, m: int, low: np.uint32, high: np.uint32, to: np.uint64, above: int, equal: int, found: int
) -> tuple[int, int, int]:
    """Count a strip's magnitudes above a bracket and at its low end, and store the patterns between at `to`."""
    next_, width, whole = np.uint32(low + np.uint32(1)), np.uint32(high - low), m // LANES * LANES
    for i in range(0, whole, LANES):
        here = at + np.uint64(4 * i)
        above += _count_above(here, high)
        equal += _count_equal(here, low)
        if width:
            found += _pick(here, next_, np.uint32(width - np.uint32(1)), to + np.uint64(4 * found))
    rest = _f32(at, whole, m - whole)
    for i in range(rest.size):
        bits = np.uint32(_as_bits(rest[i]) & np.uint32(0x7FFFFFFF))
        if bits > high:
            above += 1
        elif bits == low:
            equal += 1
        elif bits > low:
            _carray(_pointer(to + np.uint64(4 * found)), 1, np.uint32)[0] = bits
            found += 1
    return above, equal, found


@_kernel
def _tally(
    patterns: Bits, low: np.uint32, shift: np.uint32, counts: npt.NDArray[np.int64], least: Bits, greatest: Bits
) -> None:
    for i in range(patterns.size):
        place = np.uint32(patterns[i] - low) >> shift
        counts[place] += 1
        if shift:
            least[place] = min(least[place], patterns[i])
            greatest[place] = max(greatest[place], patterns[i])


def tally(patterns: Bits, low: int, shift: int, counts: npt.NDArray[np.int64], least: Bits, greatest: Bits) -> None:
    """See `select.Bins.add`."""
    _tally(patterns, np.uint32(low), np.uint32(shift), counts, least, greatest)


@_kernel
def _gather(inputs: Inputs, rows: np.uint64, reference: np.uint64, n: int, space: Space) -> bool:
    addresses, kinds, subtract, base_address, base_kind = inputs
    lent = np.uint64(space.ctypes.data)
    odd = np.float32(0)
    _fill(np.float32(0), _f32(lent, 0, STRIP))
    for begin in range(0, n, STRIP):
        m = min(STRIP, n - begin)
        nothing, base = _f32(lent, 0, m), _f32(reference, begin, m)
        if base_kind >= 0:
            _take(base_address, base_kind, begin, nothing, base)
        for t in range(addresses.size):
            origin = base if subtract[t] else nothing
            odd += _take(addresses[t], kinds[t], begin, origin, _f32(rows, t * n + begin, m))
        if base_kind < 0:
            _copy(_f32(rows, begin, m), base)
    return odd == odd


@_kernel
def _finish(
    merged: F32, reference: F32, with_base: bool, scale: np.float32, out_address: np.uint64, out_kind: int
) -> tuple[float, float]:
    totals = np.empty(STRIP, np.float32)
    lost, moved = np.float64(0), np.float64(0)
    for begin in range(0, merged.size, STRIP):
        end = min(begin + STRIP, merged.size)
        total = totals[: end - begin]
        _copy(merged[begin:end], total)
        if with_base:
            _add_base(reference[begin:end], scale, total)
        moved += _squared_distance(total, reference[begin:end])
        lost += _store(total, out_address, out_kind, begin)
    return lost, moved


def _space(tasks: int) -> Space:
    return np.empty((STANDING + tasks) * STRIP, np.float32)


def _where(array: npt.NDArray[Any]) -> np.uint64:
    return np.uint64(array.__array_interface__["data"][0])


def _inputs(inputs: Any, base: Any) -> Inputs:
    addresses = np.array([_where(s.raw) for s in inputs], np.uint64)
    kinds = np.array([KINDS.index(s.code) for s in inputs], np.int64)
    subtract = np.array([base is not None and not s.delta for s in inputs])
    if base is None:
        return addresses, kinds, subtract, np.uint64(0), -1
    return addresses, kinds, subtract, _where(base.raw), KINDS.index(base.code)


def _rows(stack: F32) -> Inputs:
    """Return the tasks of a stack in memory as inputs."""
    rows = stack.reshape(stack.shape[0], -1)
    addresses = _where(rows) + np.uint64(rows.strides[0]) * np.arange(len(rows), dtype=np.uint64)
    return addresses, np.ones(len(rows), np.int64), np.zeros(len(rows), np.bool_), np.uint64(0), -1


def _chances(drop: Any, tasks: int) -> tuple[bool, Chances]:
    if drop is None:
        return False, (np.zeros((tasks, 2), np.uint64), np.zeros(tasks, np.int32), np.ones(tasks, np.float32), 0)
    keys, kept_of, p, start = drop
    return True, (keys, kept_of, p.astype(np.float32), start)


def _edges(band: Any, tasks: int) -> tuple[bool, F32, F32]:
    if band is None:
        return False, np.zeros(tasks, np.float32), np.zeros(tasks, np.float32)
    return True, band[0].astype(np.float32), band[1].astype(np.float32)


def _ballot(vote: Any) -> tuple[int, int, bool]:
    if vote is None:
        return -1, 0, False
    elect, combine, tied = vote
    return ELECTIONS.index(elect), COMBINATIONS.index(combine), tied == "positive"


def _whole_way(
    given: Inputs, w: F32, drop: Any, ranks: Any, band: Any, vote: Any, scale: Any, out: Any, kind: int, n: int
) -> tuple[float, float, float]:
    """Blend all entries at once or, where they are ranked before, a panel of whole rows at a time."""
    steps = *_edges(band, w.size), *_ballot(vote), np.float32(1 if scale is None else scale), _where(out), kind
    space, chances = _space(w.size), _chances(drop, w.size)
    if ranks is None:
        nothing = np.zeros((1, 1), np.uint16)
        sums: tuple[float, float, float] = _blend(given, w, *chances, False, nothing, *steps, 0, n, space)
        return sums
    columns, density, reach = ranks
    panel = max(1, columns * max(1, min(PANEL, n) // max(1, columns)))
    cases, desk = np.empty((w.size, panel), np.uint16), np.empty(DESK + 20 * columns, np.uint8)
    totals = np.zeros(3)
    for begin in range(0, n, panel):
        end = min(begin + panel, n)
        _rank(given, columns, density, reach, begin, end, cases, desk, space)
        totals += _blend(given, w, *chances, True, cases, *steps, begin, end, space)
    return float(totals[0]), float(totals[1]), float(totals[2])


def blend(
    inputs: Any,
    base: Any,
    weights: Any,
    drop: Any,
    ranks: Any,
    band: Any,
    vote: Any,
    scale: float | None,
    code: str,
    out: Any,
) -> tuple[bool, float, float]:
    """See `slices.blend_stored`."""
    w, given, n = np.array(weights, np.float32), _inputs(inputs, base), inputs[0].raw.size
    odd, lost, moved = _whole_way(given, w, drop, ranks, band, vote, scale, out, KINDS.index(code), n)
    return bool(odd == odd), float(lost), float(moved)


def survey(inputs: Any, base: Any, drop: Any, brackets: Any, room: Bits) -> tuple[bool, list[tuple[int, int, Bits]]]:
    """See `slices.survey`."""
    n, searches = inputs[0].raw.size, len(brackets)
    inside = room[: searches * n].reshape(searches, n)
    to = _where(inside) + np.uint64(4 * n) * np.arange(searches, dtype=np.uint64)
    above, equal, found = np.zeros((3, searches), np.int64)
    tasks, lows, highs = zip(*brackets, strict=True)
    looked_for = np.array(tasks, np.int64), np.array(lows, np.uint32), np.array(highs, np.uint32)
    dropped = _chances(drop, len(inputs))
    odd = _survey(_inputs(inputs, base), *dropped, *looked_for, to, above, equal, found, n, _space(0))
    seen = zip(above.tolist(), equal.tolist(), inside, found.tolist(), strict=True)
    return bool(odd == odd), [(over, same, x[:count].copy()) for over, same, x, count in seen]


def blend_rows(
    stack: F32, weights: Any, drop: Any = None, ranks: Any = None, band: Any = None, vote: Any = None
) -> F32:
    """See `blend.blend`."""
    out, w = np.empty(stack.shape[1:], np.float32), np.array(weights, np.float32)
    _whole_way(_rows(stack), w, drop, ranks, band, vote, None, out, SINGLE, out.size)
    return out


def gather(inputs: Any, base: Any, rows: F32, reference: F32) -> bool:
    """See `slices.gather`."""
    return bool(_gather(_inputs(inputs, base), _where(rows), _where(reference), reference.size, _space(0)))


def finish(merged: F32, reference: F32, scale: float | None, code: str, out: Any) -> tuple[float, float]:
    """See `slices.finish`."""
    factor = np.float32(1 if scale is None else scale)
    where, kind = np.uint64(_where(out)), KINDS.index(code)
    sums = _finish(merged.reshape(-1), reference.reshape(-1), scale is not None, factor, where, kind)
    return float(sums[0]), float(sums[1])


# Single steps, for those who take them one by one.


@_kernel
def _add_scaled(base: F32, delta: F32, scale: np.float32, out: F32) -> None:
    for i in range(out.size):
        step = scale * delta[i]
        out[i] = base[i] if step == np.float32(0) else base[i] + step


def add_scaled(base: F32, delta: F32, scale: float) -> F32:
    """See `combine.add_scaled`."""
    out = np.empty_like(base)
    _add_scaled(base.reshape(-1), delta.reshape(-1), np.float32(scale), out.reshape(-1))
    return out


@_kernel
def _widen(raw: npt.NDArray[np.uint16], bits: Bits) -> None:
    for i in range(bits.size):
        bits[i] = np.uint32(raw[i]) << np.uint32(16)


def widen(raw: npt.NDArray[np.uint16], out: F32) -> F32:
    """See `floats.widen`, for bf16."""
    _widen(raw, out.view(np.uint32))
    return out


@_kernel
def _look_up(table: F32, codes: npt.NDArray[np.uint8], out: F32) -> None:
    for i in range(out.size):
        out[i] = table[codes[i]]


def look_up(table: F32, codes: npt.NDArray[np.uint8], out: F32) -> None:
    """See `eight_bits.decode`; the table has 256 entries."""
    _look_up(table, codes, out)


@_exact
def _take_off(base: F32, out: F32) -> None:
    for i in range(out.size):
        out[i] -= base[i]


@_kernel
def _subtract_bf16(raw: npt.NDArray[np.uint16], base: F32, bits: Bits, out: F32) -> None:
    for begin in range(0, raw.size, STRIP):
        end = min(begin + STRIP, raw.size)
        _widen(raw[begin:end], bits[begin:end])
        _take_off(base[begin:end], out[begin:end])


def subtract_bf16(raw: npt.NDArray[np.uint16], base: F32, out: F32) -> F32:
    """See `floats.subtract`, for bf16."""
    _subtract_bf16(raw, base, out.view(np.uint32), out)
    return out


@_kernel
def _narrow_bf16(bits: Bits, out: npt.NDArray[np.uint16]) -> None:
    for i in range(out.size):
        out[i] = np.uint16(_round_bits(bits[i]))


def narrow_bf16(x: F32) -> npt.NDArray[np.uint16]:
    """See `floats.narrow`, for bf16 and to the nearest."""
    out = np.empty(x.size, np.uint16)
    _narrow_bf16(x.view(np.uint32), out)
    return out


@_kernel
def _lost_bf16(x: F32, raw: npt.NDArray[np.uint16], bits: Bits, wide: F32) -> np.float32:
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


@_kernel
def _moved(x: F32, y: F32) -> np.float32:
    return _squared_distance(x, y)


def moved(x: F32, reference: F32) -> float:
    """See `floats.moved`."""
    return float(_moved(x.reshape(-1), reference.reshape(-1)))


@_kernel
def _nonfinite(bits: Bits) -> int:
    count = np.uint32(0)
    for i in range(bits.size):
        count += np.uint32((bits[i] & np.uint32(0x7F800000)) == np.uint32(0x7F800000))
    return count


def nonfinite(x: F32) -> int:
    """See `floats.nonfinite`."""
    return int(_nonfinite(x.view(np.uint32)))


@_exact
def _inner(x: F32, y: F32, lanes: npt.NDArray[np.float64]) -> np.float64:
    _fill_lanes(lanes)
    whole = x.size // LANES * LANES
    _multiply_add(np.uint64(x.ctypes.data), np.uint64(y.ctypes.data), whole, np.uint64(lanes.ctypes.data))
    for i in range(whole, x.size):
        lanes[i - whole] += np.float64(x[i]) * np.float64(y[i])
    total = lanes[0]
    for k in range(1, LANES):
        total += lanes[k]
    return total


@_exact
def _fill_lanes(lanes: npt.NDArray[np.float64]) -> None:
    for k in range(lanes.size):
        lanes[k] = 0.0


@_kernel
def _gram_block(rows: F32, out: npt.NDArray[np.float64], lanes: npt.NDArray[np.float64]) -> None:
    for i in range(rows.shape[0]):
        for j in range(i + 1):
            out[i, j] = _inner(rows[i], rows[j], lanes)
            out[j, i] = out[i, j]


@_kernel
def _grams(inputs: Inputs, n: int, block: int, rows: F32, out: npt.NDArray[np.float64], space: Space) -> bool:
    """Gather a block at a time, so that it stays in the cache, and take its Gram matrix."""
    addresses, kinds, subtract, base_address, base_kind = inputs
    tasks, finite, lanes = addresses.size, True, np.empty(LANES, np.float64)
    here = np.empty_like(addresses)
    for begin in range(0, n, block):
        m = min(block, n - begin)
        for t in range(tasks):
            here[t] = addresses[t] + np.uint64((4 if kinds[t] == SINGLE else 2) * begin)
        base_here = base_address + np.uint64((4 if base_kind == SINGLE else 2) * begin)
        at = np.uint64(rows.ctypes.data)
        there = (here, kinds, subtract, base_here, base_kind)
        finite &= _gather(there, at, at + np.uint64(4 * tasks * m), m, space)
        _gram_block(_carray(_pointer(at), (tasks, m), np.float32), out[begin // block], lanes)
    return finite


def grams(inputs: Any, base: Any, block: int) -> tuple[bool, npt.NDArray[np.float64]]:
    """See `slices.inner_products`."""
    tasks, n = len(inputs), inputs[0].raw.size
    out = np.zeros((max(1, -(-n // block)), tasks, tasks))
    rows = np.empty((tasks + 1) * block, np.float32)
    return bool(_grams(_inputs(inputs, base), n, block, rows, out, _space(0))), out


def gram_block(rows: F32) -> npt.NDArray[np.float64]:
    """See `gram._block`."""
    out = np.empty((rows.shape[0], rows.shape[0]))
    _gram_block(rows, out, np.empty(LANES))
    return out


@_kernel
def _energies(rows: F32, block: int, out: npt.NDArray[np.float64]) -> None:
    lanes = np.empty(LANES)
    for at in range(out.shape[0]):
        for t in range(rows.shape[0]):
            x = rows[t, at * block : (at + 1) * block]
            out[at, t] = _inner(x, x, lanes)


def energies(rows: F32, block: int) -> npt.NDArray[np.float64]:
    """See `gram.energy_parts`."""
    out = np.empty((max(1, -(-rows.shape[1] // block)), rows.shape[0]))
    _energies(rows, block, out)
    return out


@_kernel
def _pairs(rows: F32, left: Any, right: Any, block: int, out: npt.NDArray[np.float64]) -> None:
    lanes = np.empty(LANES)
    for at in range(out.shape[0]):
        for p in range(left.size):
            x = rows[left[p], at * block : (at + 1) * block]
            y = rows[right[p], at * block : (at + 1) * block]
            out[at, p] = _inner(x, y, lanes)


def pairs(rows: F32, left: Any, right: Any, block: int) -> npt.NDArray[np.float64]:
    """See `gram.pair_parts`."""
    out = np.empty((max(1, -(-rows.shape[1] // block)), left.size))
    _pairs(rows, left, right, block, out)
    return out


# Sketches.

TURNED = 2048
"""Entries whose signs are in as many bits of 64 words of 32 bits: bit k of all words is that of 64 entries in a row."""


@_exact
def _turn(bits: Bits, signs: Bits, out: Bits) -> None:
    """Turn the sign of each entry whose bit is 1."""
    if bits.size == TURNED:
        for k in range(32):
            shift = np.uint32(31 - k)
            for j in range(64):
                out[64 * k + j] = bits[64 * k + j] ^ ((signs[j] << shift) & np.uint32(0x80000000))
        return
    for i in range(bits.size):
        out[i] = bits[i] ^ ((signs[i % 64] << np.uint32(31 - i // 64)) & np.uint32(0x80000000))


@_exact
def _add_wide(x: F32, out: Doubles) -> None:
    for i in range(x.size):
        out[i] += x[i]


@_kernel
def _sketch(bits: Bits, signs: Bits, rotations: Any, turned: Bits, x: F32, out: Doubles) -> None:
    """`turned` and `x` are the same memory: entries with their signs, in the innermost cache."""
    width = out.size
    for at in range(0, bits.size, TURNED):
        count = min(TURNED, bits.size - at)
        _turn(bits[at : at + count], signs[at // 32 : at // 32 + 64], turned[:count])
        for first in range(0, count, width):
            last = min(first + width, count)
            place = ((at + first) % width + rotations[(at + first) // width]) % width
            head = min(last - first, width - place)
            _add_wide(x[first : first + head], out[place : place + head])
            _add_wide(x[first + head : last], out[: last - first - head])


def sketch(x: F32, signs: Bits, rotations: Any, width: int) -> Doubles:
    """See `sketch._sketch`."""
    out, some = np.zeros(width), np.empty(TURNED, np.float32)
    _sketch(x.view(np.uint32), signs.reshape(-1), rotations, some.view(np.uint32), some, out)
    return out


@_kernel
def _carry(held: Doubles, term: Doubles, rest: Doubles) -> bool:
    some = False
    for i in range(term.size):
        rounded = held[i] + term[i]
        back = rounded - held[i]
        left = (held[i] - (rounded - back)) + (term[i] - back)
        held[i] = rounded
        rest[i] = left if left == left else 0.0
        some |= rest[i] != 0.0
    return some


def carry(held: Doubles, term: Doubles) -> Doubles | None:
    """Add a term, and return what rounding has left of it, or None: the step of `gram.ExactSum`."""
    rest = np.empty_like(term)
    return rest if _carry(held, term, rest) else None


# Softmaxes of rows.

# The numbers of `exponential`, here again because numba would not notice if they changed there.
LOG2_E = float.fromhex("0x1.71547652b82fep+0")
LN2_HIGH = float.fromhex("0x1.62e42feep-1")
LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
ROUND, SMALL, MOST = 6755399441055744.0, 0.5, 300.0
C0, C1, C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12 = (
    1.0 / f for f in (1, 1, 2, 6, 24, 120, 720, 5040, 40320, 362880, 3628800, 39916800, 479001600)
)


@_exact
def _exp(x: np.float64) -> np.float64:
    """See `exponential.exp`."""
    x = min(max(x, -MOST), MOST)
    shifted = x * LOG2_E + ROUND
    k = shifted - ROUND
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    p = C11
    p = p * r + C10
    p = p * r + C9
    p = p * r + C8
    p = p * r + C7
    p = p * r + C6
    p = p * r + C5
    p = p * r + C4
    p = p * r + C3
    p = p * r + C2
    p = p * r + C1
    p = p * r + C0
    return p * _as_double((_as_long(shifted) + np.int64(1023)) << np.int64(52))


@_exact
def _exp_beyond_linear(x: np.float64) -> np.float64:
    """See `exponential.exp_beyond_linear`, for small x."""
    p = C12
    p = p * x + C11
    p = p * x + C10
    p = p * x + C9
    p = p * x + C8
    p = p * x + C7
    p = p * x + C6
    p = p * x + C5
    p = p * x + C4
    p = p * x + C3
    p = p * x + C2
    return p * x * x


@_exact
def _weigh_changes(base: F32, tuned: F32, q: Doubles, change: Doubles) -> None:
    for i in range(q.size):
        wide = np.float64(base[i])
        change[i] = np.float64(tuned[i]) - wide
        q[i] = _exp(wide)


@_exact
def _center(mean: np.float64, u: Doubles) -> bool:
    large = False
    for i in range(u.size):
        u[i] = min(max(u[i] - mean, -MOST), MOST)
        large |= abs(u[i]) > SMALL
    return large


@_exact
def _moments(large: bool, q: Doubles, u: Doubles) -> None:
    """Put the terms of both moments where the softmax and the changes were."""
    for i in range(q.size):
        beyond = _exp_beyond_linear(u[i])
        if large and abs(u[i]) > SMALL:
            beyond = (_exp(u[i]) - 1.0) - u[i]
        u[i] = q[i] * (u[i] * (beyond + u[i]))
        q[i] = q[i] * beyond


@_exact
def _sum_lanes(x: Doubles, y: Doubles, times: bool, lanes: Doubles) -> np.float64:
    """Add up x, or x times y, as `divergence._sum` does."""
    _fill_lanes(lanes)
    whole = x.size // LANES * LANES
    for at in range(0, whole, LANES):
        for k in range(LANES):
            lanes[k] += x[at + k] * y[at + k] if times else x[at + k]
    for i in range(whole, x.size):
        lanes[i - whole] += x[i] * y[i] if times else x[i]
    total = lanes[0]
    for k in range(1, LANES):
        total += lanes[k]
    return total


@_kernel
def _divergence(base: F32, tuned: F32, out: Doubles, space: Doubles, lanes: Doubles) -> None:
    q, u = space[0], space[1]
    for r in range(base.shape[0]):
        _weigh_changes(base[r], tuned[r], q, u)
        total = _sum_lanes(q, u, False, lanes)
        mean = _sum_lanes(q, u, True, lanes) / total
        _moments(_center(mean, u), q, u)
        out[r, 0] = _sum_lanes(u, u, False, lanes) / total
        out[r, 1] = _sum_lanes(q, q, False, lanes) / total


def divergence(base: F32, tuned: F32, out: Doubles) -> None:
    """See `divergence.row_divergence`."""
    _divergence(base, tuned, out, np.empty((2, base.shape[1])), np.empty(LANES))


# What tasks do at one entry: how far apart they are, which of them changed it, what each counts against the others.


@_exact
def _clear(total: Doubles, energy: Doubles) -> None:
    for i in range(total.size):
        total[i] = 0.0
        energy[i] = 0.0


@_exact
def _add_apart(first: F32, x: F32, total: Doubles, energy: Doubles) -> None:
    for i in range(total.size):
        d = np.float64(x[i]) - np.float64(first[i])
        total[i] += d
        energy[i] += d * d


@_exact
def _sum_apart(rows: np.uint64, tasks: int, n: int, begin: int, total: Doubles, energy: Doubles) -> None:
    """Add up how far the tasks are from the first one, and the squares of that, over a strip."""
    first = _f32(rows, begin, total.size)
    _clear(total, energy)
    for t in range(1, tasks):
        _add_apart(first, _f32(rows, t * n + begin, total.size), total, energy)


@_exact
def _end_spread(tasks: np.float64, total: Doubles, energy: Doubles, out: F32) -> None:
    for i in range(out.size):
        out[i] = np.float32(np.sqrt(tasks * energy[i] - total[i] * total[i]) / tasks)


@_kernel
def _spread(rows: np.uint64, tasks: int, n: int, out: np.uint64) -> None:
    total_of, energy_of = np.empty(STRIP, np.float64), np.empty(STRIP, np.float64)
    for begin in range(0, n, STRIP):
        m = min(STRIP, n - begin)
        total, energy = total_of[:m], energy_of[:m]
        _sum_apart(rows, tasks, n, begin, total, energy)
        _end_spread(np.float64(tasks), total, energy, _f32(out, begin, m))


@_exact
def _squared_spread(tasks: np.float64, total: Doubles, energy: Doubles) -> None:
    for i in range(total.size):
        energy[i] = tasks * energy[i] - total[i] * total[i]


@_exact
def _keep_where(size: Doubles, least: np.float64, x: F32, out: F32) -> None:
    for i in range(out.size):
        out[i] = x[i] if size[i] >= least else np.float32(0)


@_kernel
def _keep_apart(rows: np.uint64, tasks: int, n: int, least: np.float64, out: np.uint64) -> None:
    total_of, energy_of = np.empty(STRIP, np.float64), np.empty(STRIP, np.float64)
    for begin in range(0, n, STRIP):
        m = min(STRIP, n - begin)
        total, energy = total_of[:m], energy_of[:m]
        _sum_apart(rows, tasks, n, begin, total, energy)
        _squared_spread(np.float64(tasks), total, energy)
        for t in range(tasks):
            _keep_where(energy, least, _f32(rows, t * n + begin, m), _f32(out, t * n + begin, m))


@lru_cache
def _least_square(least: np.float32, tasks: int) -> float:
    """Return the smallest number whose root over `tasks` rounds to `least` or more: instead of roots of all."""
    low, high = np.int64(0), np.float64(np.inf).view(np.int64)
    while low < high:
        middle = low + (high - low) // 2
        with np.errstate(over="ignore"):
            reached = np.float32(np.sqrt(middle.view(np.float64)) / tasks) >= least
        low, high = (low, middle) if reached else (middle + 1, high)
    return float(low.view(np.float64))


def keep_apart(stack: F32, least: float) -> F32:
    """See `spread.keep_apart`."""
    out = np.empty_like(stack)
    square = _least_square(np.float32(least), stack.shape[0])
    _keep_apart(_where(stack), stack.shape[0], out[0].size, square, _where(out))
    return out


@_exact
def _mark_other(first: F32, x: F32, other: Counts) -> None:
    for i in range(other.size):
        other[i] |= np.int32(x[i] != first[i])


@_exact
def _total_of(counts: Counts) -> int:
    total = np.int32(0)
    for i in range(counts.size):
        total += counts[i]
    return total


@_kernel
def _differing(rows: np.uint64, tasks: int, n: int) -> int:
    other_of, total = np.empty(STRIP, np.int32), 0
    for begin in range(0, n, STRIP):
        m = min(STRIP, n - begin)
        other, first = other_of[:m], _f32(rows, begin, m)
        for i in range(m):
            other[i] = np.int32(0)
        for t in range(1, tasks):
            _mark_other(first, _f32(rows, t * n + begin, m), other)
        total += _total_of(other)
    return total


def differing(stack: F32) -> int:
    """See `spread.differing`."""
    return int(_differing(_where(stack), stack.shape[0], stack[0].size))


def spread(stack: F32) -> F32:
    """See `spread.spread`."""
    out = np.empty(stack.shape[1:], np.float32)
    _spread(_where(stack), stack.shape[0], out.size, _where(out))
    return out


@_exact
def _add_changed(epsilon: np.float32, alone: np.float32, x: F32, total: F32, raised: F32, count: F32) -> None:
    for i in range(x.size):
        changed = abs(x[i]) > epsilon
        kept = x[i] if changed else np.float32(0)
        total[i] += kept
        raised[i] += alone * kept
        count[i] += np.float32(1) if changed else np.float32(0)


@_exact
def _mean_changed(raising: bool, raised: F32, count: F32, out: F32) -> None:
    for i in range(out.size):
        c = count[i]
        mean = out[i] / (c if c != np.float32(0) else np.float32(1))
        out[i] = raised[i] if raising & (c == np.float32(1)) else mean


@_kernel
def _average_changed(rows: np.uint64, n: int, epsilon: np.float32, raising: bool, alone: F32, out: np.uint64) -> None:
    raised_of, count_of = np.empty(STRIP, np.float32), np.empty(STRIP, np.float32)
    for begin in range(0, n, STRIP):
        m = min(STRIP, n - begin)
        raised, count, total = raised_of[:m], count_of[:m], _f32(out, begin, m)
        for part in (raised, count, total):
            _fill(np.float32(0), part)
        for t in range(alone.size):
            _add_changed(epsilon, alone[t], _f32(rows, t * n + begin, m), total, raised, count)
        _mean_changed(raising, raised, count, total)


def average_changed(stack: F32, epsilon: float, alone: Any) -> F32:
    """See `overlap.average_changed`."""
    out = np.empty(stack.shape[1:], np.float32)
    factors = np.ones(stack.shape[0], np.float32) if alone is None else np.array(alone, np.float32)
    _average_changed(_where(stack), out.size, np.float32(epsilon), alone is not None, factors, _where(out))
    return out


@_exact
def _count_changed(epsilon: np.float32, x: F32, count: Counts) -> None:
    for i in range(x.size):
        count[i] += np.int32(abs(x[i]) > epsilon)


@_exact
def _count_shared(epsilon: np.float32, x: F32, count: Counts) -> tuple[int, int]:
    shared, alone = np.int32(0), np.int32(0)
    for i in range(x.size):
        changed = abs(x[i]) > epsilon
        shared += np.int32(changed & (count[i] > np.int32(1)))
        alone += np.int32(changed & (count[i] == np.int32(1)))
    return shared, alone


@_kernel
def _overlaps(rows: np.uint64, n: int, epsilon: np.float32, out: Doubles) -> None:
    count_of = np.empty(STRIP, np.int32)
    for begin in range(0, n, STRIP):
        m = min(STRIP, n - begin)
        count = count_of[:m]
        for i in range(m):
            count[i] = np.int32(0)
        for t in range(out.shape[0]):
            _count_changed(epsilon, _f32(rows, t * n + begin, m), count)
        for t in range(out.shape[0]):
            shared, alone = _count_shared(epsilon, _f32(rows, t * n + begin, m), count)
            out[t, 0] += shared
            out[t, 1] += alone


def overlaps(rows: F32, epsilon: float) -> Doubles:
    """See `overlap.overlaps`."""
    out = np.zeros((rows.shape[0], 2))
    _overlaps(_where(rows), rows.shape[1], np.float32(epsilon), out)
    return out


@_exact
def _score(tasks: float, low: float, high: float, span: float, x: F32, total: Doubles, out: F32) -> None:
    for i in range(x.size):
        wide = np.float64(x[i])
        size = low if abs(wide) < low else abs(wide)
        s = ((high if size > high else size) - low) / span
        score = (_exp(s * s * tasks) * wide) * total[i]
        out[i] = np.float32(np.sqrt(0.0 if score <= 0.0 else score))


@_kernel
def _standing(rows: np.uint64, n: int, low: Doubles, high: Doubles, span: Doubles, out: np.uint64) -> None:
    total_of, tasks = np.empty(STRIP, np.float64), low.size
    for begin in range(0, n, STRIP):
        m = min(STRIP, n - begin)
        total, first = total_of[:m], _f32(rows, begin, m)
        for i in range(m):
            total[i] = np.float64(first[i])
        for t in range(1, tasks):
            x = _f32(rows, t * n + begin, m)
            for i in range(m):
                total[i] += np.float64(x[i])
        for t in range(tasks):
            x, to = _f32(rows, t * n + begin, m), _f32(out, t * n + begin, m)
            _score(np.float64(tasks), low[t], high[t], span[t], x, total, to)


def standing(rows: F32, low: Doubles, high: Doubles, span: Doubles) -> F32:
    """See `competition.standing`."""
    out = np.empty_like(rows)
    ends = (np.ascontiguousarray(x, dtype=np.float64) for x in (low, high, span))
    _standing(_where(rows), rows.shape[1], *ends, _where(out))
    return out


@_exact
def _share_above(root: np.float32, threshold: float, top: float) -> np.float32:
    """See `competition.shares_above`."""
    wide = np.float64(root)
    if top <= threshold:
        return np.float32(1) if (wide >= top) & (wide > 0.0) else np.float32(0)
    above = wide * wide - threshold * threshold
    return np.float32((0.0 if above < 0.0 else above) / (top * top - threshold * threshold))


@_exact
def _add_shares(
    low: np.float32,
    high: np.float32,
    threshold: float,
    top: float,
    w: np.float32,
    x: F32,
    root: F32,
    out: F32,
    shares: F32,
) -> None:
    for i in range(out.size):
        share = _share_above(root[i], threshold, top)
        size = low if abs(x[i]) < low else abs(x[i])
        size = high if size > high else size
        turned = _as_float(np.uint32(_as_bits(size) | (_as_bits(x[i]) & np.uint32(0x80000000))))
        out[i] += w * (share * turned)
        shares[i] += share


@_kernel
def _combine_shares(
    rows: np.uint64, roots: np.uint64, n: int, w: F32, clip: F32, ends: Doubles, out: np.uint64
) -> None:
    shares = np.empty(STRIP, np.float32)
    for begin in range(0, n, STRIP):
        m = min(STRIP, n - begin)
        share, total = shares[:m], _f32(out, begin, m)
        _fill(np.float32(0), share)
        _fill(np.float32(0), total)
        for t in range(w.size):
            x, root = _f32(rows, t * n + begin, m), _f32(roots, t * n + begin, m)
            _add_shares(clip[t, 0], clip[t, 1], ends[t, 0], ends[t, 1], w[t], x, root, total, share)
        for i in range(m):
            total[i] /= share[i] if share[i] != np.float32(0) else np.float32(1)


def combine_shares(rows: F32, roots: F32, weights: Any, clip: Doubles, ends: Doubles) -> F32:
    """See `competition.combine_shares`."""
    out, w = np.empty(rows.shape[1], np.float32), np.array(weights, np.float32)
    given = clip.astype(np.float32, order="C"), np.ascontiguousarray(ends, dtype=np.float64)
    _combine_shares(_where(rows), _where(roots), out.size, w, *given, _where(out))
    return out


# Sums and inner products with factors for each row or column.


@_exact
def _add_each(f: F32, x: F32, out: F32) -> None:
    for i in range(out.size):
        out[i] += f[i] * x[i]


@_exact
def _begin_each(f: F32, x: F32, out: F32) -> None:
    for i in range(out.size):
        out[i] = f[i] * x[i]


@_kernel
def _sum_by_parts(rows: np.uint64, n: int, f: F32, start: int, columns: int, by_row: bool, out: np.uint64) -> None:
    at = 0
    while at < n:
        part, column = (start + at) // columns, (start + at) % columns
        m = min(columns - column, n - at)
        to = _f32(out, at, m)
        for t in range(f.shape[0]):
            x = _f32(rows, t * n + at, m)
            if by_row and t == 0:
                _scale(f[t, part], x, to)
            elif by_row:
                _add(f[t, part], x, to)
            elif t == 0:
                _begin_each(f[t, column : column + m], x, to)
            else:
                _add_each(f[t, column : column + m], x, to)
        at += m


def sum_by_parts(stack: F32, factors: Doubles, start: int, columns: int, by_row: bool) -> F32:
    """See `combine.sum_by_parts`."""
    out = np.empty(stack.shape[1:], np.float32)
    f = np.ascontiguousarray(factors.T, dtype=np.float32)
    _sum_by_parts(_where(stack), out.size, f, start, columns, by_row, _where(out))
    return out


@_exact
def _add_products(x: F32, y: F32, out: Doubles) -> None:
    for i in range(out.size):
        out[i] += np.float64(x[i]) * np.float64(y[i])


@_exact
def _add_exactly(term: Doubles, high: Doubles, low: Doubles) -> bool:
    """Add to a sum and to what it could not hold; return whether the two of them lost nothing."""
    exact = True
    for i in range(term.size):
        x, h, rest = term[i], high[i], low[i]
        high[i] = h + x
        back = high[i] - h
        left = (h - (high[i] - back)) + (x - back)
        left = left if left == left else 0.0  # NaN and Inf are in the sum, and leave nothing over
        low[i] = rest + left
        back = low[i] - rest
        exact &= (rest - (low[i] - back)) + (left - back) == 0.0
    return exact


@_exact
def _part_products(x: F32, y: F32, start: int, columns: int, by_row: bool, out: Doubles, lanes: Doubles) -> None:
    """Add up the products of a block by rows, from that of its first entry on; or by columns, all of them."""
    for i in range(out.size):
        out[i] = 0.0
    at, row = 0, 0
    while at < x.size:
        column = (start + at) % columns
        m = min(columns - column, x.size - at)
        if by_row:
            out[row] = _inner(x[at : at + m], y[at : at + m], lanes)
        else:
            _add_products(x[at : at + m], y[at : at + m], out[column : column + m] if out.size > m else out)
        at, row = at + m, row + 1


@_kernel
def _part_grams(
    rows: F32, start: int, columns: int, by_row: bool, first: int, block: int, high: Any, low: Any, room: Doubles
) -> bool:
    exact, lanes = True, np.empty(LANES)
    for begin in range(0, rows.shape[1], block):
        m = min(block, rows.shape[1] - begin)
        here = start + begin
        row, last = here // columns, (here + m - 1) // columns
        at, parts = row - first, last - row + 1
        if not by_row:
            at, parts = (here % columns - first, m) if row == last else (0, columns)
        term, now = room[:parts], rows[:, begin : begin + m]
        for i in range(rows.shape[0]):
            for j in range(i + 1):
                _part_products(now[i], now[j], here, columns, by_row, term, lanes)
                exact &= _add_exactly(term, high[i, j, at : at + parts], low[i, j, at : at + parts])
    for i in range(rows.shape[0]):
        for j in range(i):
            high[j, i], low[j, i] = high[i, j], low[i, j]
    return exact


def part_grams(rows: F32, start: int, columns: int, by_row: bool, first: int, block: int, high: Any, low: Any) -> bool:
    """Add the terms of `gram.grams_of` to `high`, what it cannot hold to `low`; return whether that was all."""
    return bool(_part_grams(rows, start, columns, by_row, first, block, high, low, np.empty(high.shape[-1])))


@_exact
def _pack_factors(right: F32, begin: int, panel: F32) -> None:
    """Copy `LANES` columns of a factor side by side; what lies beyond its last column is 0."""
    width = min(LANES, right.shape[1] - begin)
    for k in range(right.shape[0]):
        for j in range(width):
            panel[k, j] = right[k, begin + j]
        for j in range(width, LANES):
            panel[k, j] = np.float32(0)


@_exact
def _panel_product(left: F32, panel: F32, scale: np.float32, out: np.uint64, out_row: int) -> None:
    rank, rows = panel.shape[0], left.shape[0]
    first, there = np.uint64(left.ctypes.data), np.uint64(panel.ctypes.data)
    whole = rows // TALL * TALL
    for i in range(0, whole, TALL):
        here, to = first + np.uint64(4 * rank * i), out + np.uint64(out_row * i)
        _tile(here, there, to, 4 * rank, 4 * LANES, out_row, rank, scale)
    for i in range(whole, rows):
        here, to = first + np.uint64(4 * rank * i), out + np.uint64(out_row * i)
        _strip(here, there, to, 4 * rank, 4 * LANES, out_row, rank, scale)


@_kernel
def _low_rank(left: F32, right: F32, scale: np.float32, out: F32) -> None:
    rank, columns = right.shape
    panel = np.empty((rank, LANES), np.float32)
    whole = columns // LANES * LANES
    at = np.uint64(out.ctypes.data)
    for begin in range(0, whole, LANES):
        _pack_factors(right, begin, panel)
        _panel_product(left, panel, scale, at + np.uint64(4 * begin), 4 * columns)
    if whole < columns:
        rest = np.empty((left.shape[0], LANES), np.float32)
        _pack_factors(right, whole, panel)
        _panel_product(left, panel, scale, np.uint64(rest.ctypes.data), 4 * LANES)
        for i in range(left.shape[0]):
            for j in range(whole, columns):
                out[i, j] = rest[i, j - whole]


def low_rank(left: F32, right: F32, scale: float, out: F32) -> None:
    """See `low_rank.low_rank`."""
    _low_rank(left, right, np.float32(scale), out)


@_kernel
def _resize_rows(base: F32, change: F32, sizes: F32, row: F32, lanes: npt.NDArray[np.float64]) -> None:
    for i in range(base.shape[0]):
        for j in range(row.size):
            row[j] = base[i, j] + change[i, j]
        g = np.float64(sizes[i]) / np.sqrt(_inner(row, row, lanes))
        grow, less = np.float32(g), np.float32(g - 1.0)
        for j in range(row.size):
            change[i, j] = change[i, j] * grow + less * base[i, j]


def resize_rows(base: F32, change: F32, sizes: F32) -> None:
    """See `dora.resize_rows`."""
    _resize_rows(base, change, sizes, np.empty(base.shape[1], np.float32), np.empty(LANES))


def prepare() -> None:
    """See `kernels.prepare`."""
    blend_rows(np.zeros((1, 1), np.float32), [1.0])


class _Compiling(_events.Listener):
    """Tells once when a kernel has to be compiled; those that are on disk, compiled, are only loaded."""

    tell: Callable[[], None] | None = None

    def on_start(self, event: Any) -> None:
        """Called when numba begins to compile something of anybody's."""
        if self.tell and event.data["dispatcher"].py_func.__module__ == __name__:
            tell, self.tell = self.tell, None
            tell()

    def on_end(self, event: Any) -> None:
        """Nothing."""


_compiling = _Compiling()
_register("numba:compile", _compiling)


def when_compiling(tell: Callable[[], None]) -> None:
    """See `kernels.when_compiling`."""
    _compiling.tell = tell
