"""Stored floats to float32 and back, bit for bit."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from taskvec.ops.chance import words
from taskvec.ops.floats import lost, moved, narrow, nonfinite, subtract, widen

from .samples import SIZES, bf16, float_of, floats32

Twins = Callable[[str, Callable[[], Any]], tuple[Any, Any]]

ALL_BF16 = np.arange(1 << 16, dtype=np.uint16)


@pytest.fixture(scope="module")
def edges() -> npt.NDArray[np.float32]:
    """Every bf16 number, and what lies just beside it, on the way to the next and just beside that middle."""
    lower = np.array([0, 1, 0x1000, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    return ((ALL_BF16.astype(np.uint32)[:, None] << 16) | lower).reshape(-1).view(np.float32)


@pytest.mark.parametrize("n", SIZES)
def test_widen_subtract_and_narrow_give_the_same_bytes_fused_and_plain(
    twins: Twins, rng: np.random.Generator, n: int
) -> None:
    x, base = floats32(rng, n), floats32(rng, n)
    raw = bf16(x)
    for name, call in (
        ("widen", lambda: widen(raw, "BF16")),
        ("subtract_bf16", lambda: subtract(raw, "BF16", base)),
        ("narrow_bf16", lambda: narrow(x, "BF16")),
    ):
        fused, plain = twins(name, call)
        assert fused.dtype == plain.dtype
        assert fused.tobytes() == plain.tobytes(), name


def test_narrow_gives_the_same_bytes_fused_and_plain_for_every_kind_of_number(
    twins: Twins, edges: npt.NDArray[np.float32]
) -> None:
    fused, plain = twins("narrow_bf16", lambda: narrow(edges, "BF16"))
    assert fused.tobytes() == plain.tobytes()


@pytest.mark.parametrize("n", [0, 1, 2047, 2049, 5001])
def test_sums_for_reports_agree_fused_and_plain(twins: Twins, rng: np.random.Generator, n: int) -> None:
    x, y = rng.standard_normal((2, n)).astype(np.float32)
    raw = bf16(x)
    exact = math.fsum((float_of(raw).astype(np.float64) - x) ** 2)
    assert twins("lost_bf16", lambda: lost(x, raw, "BF16")) == pytest.approx((exact, exact), rel=1e-5)
    exact = math.fsum((x.astype(np.float64) - y) ** 2)
    assert twins("moved", lambda: moved(x, y)) == pytest.approx((exact, exact), rel=1e-5)
    odd = x.copy()
    odd[::3], odd[1::7] = np.inf, np.nan
    exact = int((~np.isfinite(odd)).sum())
    assert twins("nonfinite", lambda: nonfinite(odd)) == (exact, exact)


def test_every_bf16_number_comes_back(kernels: str) -> None:
    wide = widen(ALL_BF16, "BF16")
    back = narrow(wide, "BF16")
    number = ~np.isnan(wide)
    assert np.array_equal(back[number], ALL_BF16[number])
    assert np.isnan(float_of(back[~number])).all()
    assert np.array_equal(back[~number] & 0x8000, ALL_BF16[~number] & 0x8000)


def test_every_float16_number_comes_back(kernels: str) -> None:
    raw = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    raw = raw[~np.isnan(raw)]
    assert narrow(widen(raw, "F16"), "F16").tobytes() == raw.tobytes()


def test_widening_bf16_is_torchs(kernels: str) -> None:
    expected = torch.from_numpy(ALL_BF16.view(np.int16)).view(torch.bfloat16).to(torch.float32).numpy()
    np.testing.assert_array_equal(widen(ALL_BF16, "BF16"), expected)


def test_narrowing_to_bf16_is_torchs(kernels: str, edges: npt.NDArray[np.float32]) -> None:
    expected = torch.from_numpy(edges).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    got = narrow(edges, "BF16")
    nan = np.isnan(edges)
    assert np.array_equal(got[~nan], expected[~nan])
    assert np.isnan(float_of(got[nan])).all()


def test_narrowing_to_float16_is_torchs(kernels: str, edges: npt.NDArray[np.float32]) -> None:
    expected = torch.from_numpy(edges).to(torch.float16).numpy()
    got = narrow(edges, "F16")
    nan = np.isnan(edges)
    assert got[~nan].tobytes() == expected[~nan].tobytes()
    assert np.isnan(got[nan]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("number", "stored"),
    [
        (1 + 2**-8, 1.0),
        (1 + 3 * 2**-8, 1 + 2**-6),
        (-(1 + 2**-8), -1.0),
        (3.3961775292304957e38, np.inf),
        (-3.3961775292304957e38, -np.inf),
        (3.38953138925e38, 3.3895313892515355e38),
        (2.0**-134, 0.0),
        (-(2.0**-134), -0.0),
        (1.5 * 2.0**-133, 2.0**-132),
        (np.inf, np.inf),
    ],
    ids=str,
)
def test_to_bf16_ties_go_to_even_and_what_is_too_large_to_inf(
    kernels: str, number: float, stored: float, dtype: type
) -> None:
    got = float_of(narrow(np.array([number], dtype), "BF16"))
    assert got.tobytes() == np.float32([stored]).tobytes()


def test_nan_stays_nan_in_every_format_and_rounding(kernels: str) -> None:
    quiet, loud = np.uint32(0x7FC00000), np.uint32(0x7F800001)
    x = np.array([quiet, loud, loud | np.uint32(1 << 31)], np.uint32).view(np.float32)
    drawn = np.array([0xFFFF, 0xFFFF, 0], np.uint16)
    for given_words in (None, drawn):
        assert np.isnan(float_of(narrow(x, "BF16", given_words))).all()
        assert np.isnan(narrow(x, "F16", given_words)).all()
        assert np.isnan(narrow(x, "F32", given_words)).all()


def nearest_bf16(x: float) -> float:
    """The nearest bf16 number by exact fractions; of two as near, the one whose last bit is 0."""
    below = int(bf16(np.float32([x]))[0]) - 1
    candidates = [b for b in range(max(0, below & 0xFFFF), (below & 0xFFFF) + 4) if (b & 0x7FFF) < 0x7F80]
    numbers = {b: float(float_of(np.array([b], np.uint16))[0]) for b in candidates}
    return numbers[min(candidates, key=lambda b: (abs(Fraction(numbers[b]) - Fraction(x)), b & 1))]


NEAR_A_MIDDLE = st.builds(
    lambda bits, nudge: float(float_of(np.array([bits], np.uint16))[0]) * (1 + 2.0**-8) * (1 + nudge * 2.0**-50),
    st.integers(0x0100, 0x7E00),
    st.integers(-8, 8),
)


@given(st.one_of(NEAR_A_MIDDLE, st.floats(1e-35, 1e38)))
@example(1 + 2**-8 + 2**-40)
@example(1 + 3 * 2**-8 - 2**-40)
def test_float64_is_rounded_to_bf16_once(x: float) -> None:
    assert float_of(narrow(np.array([x]), "BF16")).tolist() == [nearest_bf16(x)]
    assert float_of(narrow(np.array([-x]), "BF16")).tolist() == [-nearest_bf16(x)]


def test_float64_rounded_twice_would_differ() -> None:
    x = np.array([1 + 2**-8 + 2**-40])
    once, twice = narrow(x, "BF16"), narrow(x.astype(np.float32), "BF16")
    assert float_of(once).tolist() == [1 + 2**-7]
    assert float_of(twice).tolist() == [1.0]


def test_float64_is_rounded_to_float16_once() -> None:
    x = np.array([1 + 2**-11 + 2**-40])
    assert narrow(x, "F16").tolist() == [1 + 2**-10]


STEPS = {"BF16": 2.0**-7, "F16": 2.0**-10}


def numbers(raw: npt.NDArray[Any], code: str) -> npt.NDArray[np.float64]:
    """Stored bits as float64."""
    return widen(raw, code, np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("code", STEPS)
@pytest.mark.parametrize("part", [0.0, 2.0**-12, 0.1, 0.5, 0.77, 1 - 2.0**-12])
@pytest.mark.parametrize("side", [1, -1])
def test_over_all_words_rounding_by_chance_has_the_right_mean(code: str, part: float, side: int, dtype: type) -> None:
    step = STEPS[code]
    x = dtype(side * (1 + step * (2 + part)))
    every_word = np.arange(1 << 16, dtype=np.uint16)
    got = numbers(narrow(np.full(1 << 16, x), code, every_word), code)
    neighbours = {side * (1 + 2 * step), side * (1 + 3 * step)}
    assert set(got.tolist()) <= neighbours
    assert abs(got.mean() - float(x)) <= step * 2.0**-16


@pytest.mark.parametrize("code", STEPS)
def test_rounding_by_chance_is_unbiased_where_rounding_to_nearest_is_not(code: str) -> None:
    n, step = 40_000, STEPS[code]
    x = np.full(n, 1 + 0.2 * step, np.float32)
    got = numbers(narrow(x, code, words("rounding", 0, n)), code)
    standard_error = got.std() / n**0.5
    assert abs(got.mean() - float(x[0])) < 5 * standard_error
    assert numbers(narrow(x, code), code).mean() == 1.0


@pytest.mark.parametrize("code", STEPS)
def test_rounding_by_chance_goes_to_a_neighbour_only(code: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal(5000).astype(np.float32)
    got = numbers(narrow(x, code, words("rounding", 0, x.size)), code)
    size = np.abs(x.astype(np.float64))
    step = 2.0 ** np.floor(np.log2(size)) * STEPS[code]
    coarse = np.maximum(step, 2.0**-24 if code == "F16" else 0)
    assert np.all(np.abs(got - x) < coarse)
    assert np.any(np.abs(got - x) > coarse / 2)


@pytest.mark.parametrize("code", STEPS)
@pytest.mark.parametrize("drawn", [0, 0x7FFF, 0xFFFF])
def test_what_needs_no_rounding_is_not_rounded_by_chance(code: str, drawn: int) -> None:
    x = np.array([0.0, -0.0, 1.0, -1.5, 2.0**-14, -0.375, 1024.0], np.float32)
    got = narrow(x, code, np.full(x.size, drawn, np.uint16))
    assert got.tobytes() == narrow(x, code).tobytes()


@pytest.mark.parametrize("code", ["BF16", "F16", "F32", "F64"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inf_stays_inf_by_chance(code: str, dtype: type) -> None:
    x = np.array([np.inf, -np.inf], dtype)
    for drawn in (0, 0xFFFF):
        got = narrow(x, code, np.full(2, drawn, np.uint16))
        assert numbers(got, code).tolist() == [np.inf, -np.inf]


@pytest.mark.parametrize("code", STEPS)
def test_rounding_by_chance_of_a_slice_is_that_of_the_whole(code: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal(1000).astype(np.float32)
    whole = narrow(x, code, words("rounding", 0, 1000))
    part = narrow(x[333:], code, words("rounding", 333, 667))
    assert part.tobytes() == whole[333:].tobytes()


@pytest.mark.parametrize(("dtype", "code"), [(np.float32, "F32"), (np.float32, "F64"), (np.float64, "F64")])
def test_a_format_as_wide_stores_the_number_itself(rng: np.random.Generator, dtype: type, code: str) -> None:
    x = rng.standard_normal(100).astype(dtype)
    for drawn in (None, words("rounding", 0, 100)):
        assert np.array_equal(narrow(x, code, drawn), x)


def test_float64_is_rounded_to_float32_by_chance_too() -> None:
    step = 2.0**-23
    got = narrow(np.full(1 << 16, 1 + 0.25 * step), "F32", np.arange(1 << 16, dtype=np.uint16))
    assert got.dtype == np.float32
    assert np.mean(got == 1) == 0.75
    assert np.mean(got == np.float32(1 + step)) == 0.25


@pytest.mark.parametrize("code", ["BF16", "F16", "F32"])
def test_widen_and_subtract_write_into_the_room_they_are_given(
    kernels: str, rng: np.random.Generator, code: str
) -> None:
    x, base = rng.standard_normal((2, 50)).astype(np.float32)
    raw, room = narrow(x, code), np.empty(50, np.float32)
    assert widen(raw, code, out=room) is room
    wide = room.copy()
    assert subtract(raw, code, base, room) is room
    assert np.array_equal(room, wide - base)


def test_every_second_entry_can_be_widened_too(kernels: str, rng: np.random.Generator) -> None:
    raw = bf16(rng.standard_normal(100).astype(np.float32))
    base = rng.standard_normal(50).astype(np.float32)
    assert np.array_equal(widen(raw[::2], "BF16"), float_of(raw)[::2])
    assert np.array_equal(subtract(raw[::2], "BF16", base), float_of(raw)[::2] - base)
