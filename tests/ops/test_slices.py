"""A slice from stored bits to stored bits."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from taskvec.ops import kernels as k
from taskvec.ops.blend import Blend, Drop, RankedDrop, Vote, blend
from taskvec.ops.chance import Chance, words
from taskvec.ops.combine import add_scaled, weighted_sum
from taskvec.ops.floats import narrow, widen
from taskvec.ops.gram import BLOCK, gram_parts
from taskvec.ops.slices import Finished, Slice, Stored, blend_stored, finish, gather, inner_products, survey

from .samples import SIZES, bf16, floats32

Twins = Callable[[str, Callable[[], Any]], tuple[Any, Any]]
F4 = np.dtype("f4")
CODES = [
    ("BF16", "BF16", "BF16"),
    ("F32", "F32", "F32"),
    ("BF16", "F32", "BF16"),
    ("F32", "BF16", "F16"),
    ("F16", "F16", "F16"),
]
BASES = [None, "BF16", "F32", "F16"]
WEIGHTS = [0.7, -1.3, 0.1]


def stored(rng: np.random.Generator, n: int, code: str, delta: bool = False) -> Stored:
    """Random bits of a type."""
    x = floats32(rng, n)
    return Stored(
        bf16(x) if code == "BF16" else narrow(np.clip(x, -6e4, 6e4) if code == "F16" else x, code), code, delta
    )


def some(
    rng: np.random.Generator, n: int, codes: tuple[str, ...], base: str | None, deltas: tuple[bool, ...] = (False,) * 3
) -> tuple[list[Stored], Stored | None]:
    """Inputs of these types, and a base or none."""
    inputs = [stored(rng, n, code, delta) for code, delta in zip(codes, deltas, strict=True)]
    return inputs, stored(rng, n, base) if base else None


def gathered(inputs: list[Stored], base: Stored | None, dtype: np.dtype = F4) -> tuple[bytes, bytes, bool]:
    """What `gather` fills and returns."""
    n = inputs[0].raw.size
    rows, reference = np.full((len(inputs), n), np.nan, dtype), np.full(n, np.nan, dtype)
    finite = gather(inputs, base, rows, reference)
    return rows.tobytes(), reference.tobytes(), finite


def mix(
    inputs: list[Stored],
    base: Stored | None,
    weights: list[float],
    scale: float | None,
    code: str,
    dtype: np.dtype,
    *rest: Any,
    **more: Any,
) -> Finished:
    """A weighted sum."""
    return blend_stored(Slice(inputs, base, dtype), Blend(np.array(weights)), scale, code, *rest, **more)


@pytest.mark.parametrize("n", SIZES)
def test_gather_gives_the_same_bytes_fused_and_plain(twins: Twins, rng: np.random.Generator, n: int) -> None:
    for codes, base, deltas in product(CODES, BASES, [(False,) * 3, (True, False, True), (True,) * 3]):
        inputs, origin = some(rng, n, codes, base, deltas)
        fused, plain = twins("gather", lambda inputs=inputs, origin=origin: gathered(inputs, origin))
        assert fused == plain, (codes, base, deltas)
        assert fused[2]


@pytest.mark.parametrize("n", SIZES)
def test_mix_gives_the_same_bytes_fused_and_plain(twins: Twins, rng: np.random.Generator, n: int) -> None:
    for codes, base, out in product(CODES, BASES, ["BF16", "F32", "F16"]):
        inputs, origin = some(rng, n, codes, base, (False, base is not None, False))
        scale = None if origin is None else 0.3
        fused, plain = twins(
            "blend",
            lambda inputs=inputs, origin=origin, scale=scale, out=out: mix(inputs, origin, WEIGHTS, scale, out, F4),
        )
        assert fused.raw.dtype == plain.raw.dtype
        assert fused.raw.tobytes() == plain.raw.tobytes(), (codes, base, out)


@pytest.mark.parametrize("n", SIZES)
def test_finish_gives_the_same_bytes_fused_and_plain(twins: Twins, rng: np.random.Generator, n: int) -> None:
    merged, reference = floats32(rng, n), floats32(rng, n)
    for scale, out in product([None, 0.0, 1.0, -0.3], ["BF16", "F32", "F16"]):
        fused, plain = twins("finish", lambda scale=scale, out=out: finish(merged, reference, scale, out))
        assert fused.raw.dtype == plain.raw.dtype
        assert fused.raw.tobytes() == plain.raw.tobytes(), (scale, out)


@pytest.mark.parametrize("base", [True, False], ids=["base", "no base"])
@pytest.mark.parametrize("scale", [None, 0.3], ids=["no scale", "scale"])
def test_mix_is_gather_weighted_sum_and_finish(
    kernels: str, rng: np.random.Generator, base: bool, scale: float | None
) -> None:
    inputs, origin = some(rng, 3000, ("BF16", "F32", "BF16"), "BF16" if base else None)
    done = mix(inputs, origin, WEIGHTS, scale, "BF16", F4)
    rows, reference = np.empty((3, 3000), F4), np.empty(3000, F4)
    gather(inputs, origin, rows, reference)
    by_hand = finish(weighted_sum(rows, np.array(WEIGHTS)), reference, scale, "BF16")
    assert done.raw.tobytes() == by_hand.raw.tobytes()


@pytest.mark.parametrize("code", ["BF16", "F32", "F16", "F64"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_type_is_widened_less_the_base_added_and_rounded(
    kernels: str, rng: np.random.Generator, code: str, dtype: type
) -> None:
    if code == "F64" and dtype is np.float32:
        code = "F32"  # float64 is never merged in float32
    inputs, origin = some(rng, 500, (code, code, code), code, (False, True, False))
    assert origin is not None
    base = widen(origin.raw, code, dtype)
    rows = [widen(s.raw, code, dtype) - (0 if s.delta else base) for s in inputs]
    with np.errstate(over="ignore"):
        expected = add_scaled(base, weighted_sum(np.stack(rows), np.array(WEIGHTS)), 0.5)
        done = mix(inputs, origin, WEIGHTS, 0.5, code, np.dtype(dtype))
        assert done.raw.tobytes() == narrow(expected, code).tobytes()


def test_a_scale_of_zero_gives_back_the_bits_of_the_base(kernels: str, rng: np.random.Generator) -> None:
    for code in ("BF16", "F32", "F16"):
        inputs, origin = some(rng, 3000, (code, code, code), code)
        assert origin is not None
        assert mix(inputs, origin, WEIGHTS, 0.0, code, F4).raw.tobytes() == origin.raw.tobytes()


@pytest.mark.parametrize("place", [0, 2047, 2048, 2999])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("code", ["BF16", "F32", "F16"])
@pytest.mark.parametrize("base", BASES)
def test_gather_tells_of_nan_and_inf_in_any_input(
    kernels: str, rng: np.random.Generator, place: int, bad: float, code: str, base: str | None
) -> None:
    inputs, origin = some(rng, 3000, (code, code, code), base)
    spoilt = np.zeros(3000, np.float32)
    spoilt[place] = bad
    inputs[1] = Stored(bf16(spoilt) if code == "BF16" else narrow(spoilt, code), code)
    assert not gathered(inputs, origin)[2]


def test_gather_tells_of_a_difference_that_overflows(kernels: str) -> None:
    top = np.full(5, 3e38, np.float32)
    with np.errstate(over="ignore"):
        assert not gathered([Stored(-top, "F32")], Stored(top, "F32"))[2]


def test_without_a_base_the_first_input_is_the_reference(kernels: str, rng: np.random.Generator) -> None:
    inputs, _ = some(rng, 3000, ("BF16", "F32", "BF16"), None)
    _, reference, _ = gathered(inputs, None)
    assert reference == widen(inputs[0].raw, "BF16").tobytes()


@pytest.mark.parametrize("code", ["BF16", "F32", "F16"])
def test_the_result_may_be_put_in_a_buffer(kernels: str, rng: np.random.Generator, code: str) -> None:
    inputs, origin = some(rng, 3000, ("BF16", "F32", "BF16"), "BF16")
    room = np.empty(8 * 4000, np.uint8)
    kept = mix(inputs, origin, WEIGHTS, 1.0, code, F4, out=room).raw.tobytes()
    assert kept == mix(inputs, origin, WEIGHTS, 1.0, code, F4).raw.tobytes()
    assert len(kept) == 3000 * (4 if code == "F32" else 2)


@pytest.mark.parametrize("code", ["BF16", "F32", "F16"])
def test_bits_may_begin_at_any_byte(kernels: str, rng: np.random.Generator, code: str) -> None:
    """A safetensors header may have any length, so a mapped tensor need not be aligned."""
    inputs, origin = some(rng, 3000, (code,) * 3, code)
    assert origin is not None

    def shifted(s: Stored) -> Stored:
        return Stored(np.frombuffer(b"\0" + s.raw.tobytes(), s.raw.dtype, offset=1), s.code, s.delta)

    aligned = mix(inputs, origin, WEIGHTS, 1.0, code, F4).raw.tobytes()
    assert mix([shifted(s) for s in inputs], shifted(origin), WEIGHTS, 1.0, code, F4).raw.tobytes() == aligned
    assert gathered([shifted(s) for s in inputs], shifted(origin)) == gathered(inputs, origin)


@pytest.mark.parametrize("code", ["BF16", "F32", "F16"])
def test_the_report_sums_are_right(kernels: str, rng: np.random.Generator, code: str) -> None:
    merged, reference = rng.standard_normal((2, 5000)).astype(np.float32)
    done = finish(merged, reference, 0.5, code)
    exact = (reference + np.float32(0.5) * merged).astype(np.float64)
    kept = widen(done.raw, code, np.float64)
    assert done.lost == pytest.approx(((kept - exact) ** 2).sum(), rel=1e-4, abs=1e-12)
    assert done.moved == pytest.approx(((exact - reference) ** 2).sum(), rel=1e-4)


def test_rounding_by_chance_is_the_same_with_either_kernel(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    inputs, origin = some(rng, 3000, ("BF16", "F32", "BF16"), "BF16")
    drawn, results = words("rounding", 0, 3000), []
    for choice in ("fused", "plain"):
        monkeypatch.setattr(k, "choice", choice)
        results.append(mix(inputs, origin, WEIGHTS, 0.5, "BF16", F4, drawn).raw.tobytes())
    monkeypatch.setattr(k, "choice", "fused")
    assert results[0] == results[1] != mix(inputs, origin, WEIGHTS, 0.5, "BF16", F4).raw.tobytes()


STEPS = [
    (drop, band, vote)
    for drop in (None, Drop((0.5, 0.9, 1.0)), Drop(0.3, rescale=False))
    for band in (None, (np.array([0.5, 0.0, 0.1]), np.array([np.inf, 2.0, 1.0])))
    for vote in (None, Vote(), Vote("weighted", "sum", "positive"), Vote("count", "count"))
]


@pytest.mark.parametrize("n", SIZES)
def test_a_blend_gives_the_same_bytes_fused_and_plain(twins: Twins, rng: np.random.Generator, n: int) -> None:
    for (drop, band, vote), (codes, base) in product(
        STEPS, [(CODES[0], "BF16"), (CODES[2], "F32"), (CODES[3], None), (CODES[4], "F16")]
    ):
        inputs, origin = some(rng, n, codes, base, (False, base is not None, False))
        scale = None if origin is None else 0.3
        part = Slice(inputs, origin, F4, Chance(3, ("a", "b", "c"), "w", start=5 * n + 3))
        how = Blend(np.array(WEIGHTS), drop, band, vote)
        fused, plain = twins("blend", lambda part=part, how=how, scale=scale: blend_stored(part, how, scale, "BF16"))
        assert fused.raw.tobytes() == plain.raw.tobytes(), (drop, band, vote, codes, base)
        assert fused.finite
        assert plain.finite


@pytest.mark.parametrize("columns", [1, 96, 700, 5000])
def test_a_blend_by_rank_gives_the_same_bytes_fused_and_plain(
    twins: Twins, rng: np.random.Generator, columns: int
) -> None:
    n = columns * max(1, 9000 // columns)
    how = Blend(np.array(WEIGHTS), RankedDrop((0.5, 0.9, 1.0), (0.3, 0.1, 0.2)))
    for vote, divisor, (codes, base) in product(
        (None, Vote()), (None, np.array([1.0, 0.4, 2.0])), [(CODES[0], "BF16"), (CODES[2], "F32"), (CODES[4], "F16")]
    ):
        inputs, origin = some(rng, n, codes, base, (False, True, False))
        chance = Chance(3, ("a", "b", "c"), "w", start=5 * columns)
        part = Slice(inputs, origin, F4, chance, columns=columns)
        these = replace(how, drop=replace(how.drop, divisor=divisor), vote=vote)  # type: ignore[type-var]
        fused, plain = twins("blend", lambda part=part, these=these: blend_stored(part, these, 0.3, "BF16"))
        assert fused.raw.tobytes() == plain.raw.tobytes(), (vote, divisor, codes, base)
        assert fused.finite
        assert plain.finite


def test_entries_that_are_not_whole_rows_are_refused() -> None:
    part = Slice([Stored(np.zeros(7, np.float32), "F32")], None, F4, columns=3)
    with pytest.raises(ValueError, match="7 entries are not whole rows of 3"):
        blend_stored(part, Blend(np.ones(1), RankedDrop([0.5], [0.1])), None, "F32")


@pytest.mark.parametrize(
    ("drop", "message"),
    [
        (RankedDrop([0.5], [0.1, 0.1]), "1 densities for 2 tasks"),
        (RankedDrop([0.5, 0.5], [0.1]), "1 reaches for 2 tasks"),
        (RankedDrop([0.5, 0.5], [0.1, 0.1], np.ones(3)), "3 divisors for 2 tasks"),
    ],
)
def test_numbers_that_are_not_one_a_task_are_refused(drop: RankedDrop, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        blend(np.zeros((2, 3), np.float32), Blend(np.ones(2), drop))


@pytest.mark.parametrize("n", SIZES)
def test_rows_in_memory_blend_to_the_same_bytes_fused_and_plain(twins: Twins, rng: np.random.Generator, n: int) -> None:
    stack = np.stack([floats32(rng, n) for _ in WEIGHTS])
    for drop, band, vote in STEPS:
        how = Blend(np.array(WEIGHTS), drop, band, vote)
        fused, plain = twins("blend_rows", lambda how=how: blend(stack, how, Chance(1, start=7)))
        assert fused.tobytes() == plain.tobytes(), (drop, band, vote)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_are_told_though_a_step_drops_them(kernels: str, rng: np.random.Generator, bad: float) -> None:
    for drop, band, vote in STEPS:
        inputs, origin = some(rng, 3000, ("BF16", "F32", "BF16"), "BF16")
        spoilt = floats32(rng, 3000)
        spoilt[2999] = bad
        inputs[1] = Stored(spoilt, "F32")
        with np.errstate(all="ignore"):
            done = blend_stored(Slice(inputs, origin, F4), Blend(np.array(WEIGHTS), drop, band, vote), 1.0, "F32")
        assert not (done.finite and np.isfinite(done.moved)), (drop, band, vote)


@pytest.mark.parametrize("n", SIZES)
def test_a_survey_gives_the_same_fused_and_plain(twins: Twins, rng: np.random.Generator, n: int) -> None:
    brackets = [
        (0, 0, 0x7FFFFFFF),
        (2, 0x3F000000, 0x3F800000),
        (2, 0x3DCCCCCD, 0x3DCCCCCD),
        (1, 0x40000000, 0x40000001),
    ]
    for drop, codes, base in product([None, Drop(0.5)], CODES, BASES):
        inputs, origin = some(rng, n, codes, base)
        part = Slice(inputs, origin, F4, Chance(2, start=n + 1))
        fused, plain = twins("survey", lambda part=part, drop=drop: survey(part, drop, brackets))
        assert fused[0] == plain[0]
        for (*counts, inside), (*plain_counts, plain_inside) in zip(fused[1], plain[1], strict=True):
            assert counts == plain_counts
            assert inside.tobytes() == plain_inside.tobytes(), (drop, codes, base)


def test_a_survey_tells_of_nan(kernels: str, rng: np.random.Generator) -> None:
    spoilt = floats32(rng, 100)
    spoilt[50] = np.nan
    assert not survey(Slice([Stored(spoilt, "F32")], None, F4), None, [(0, 0, 1)])[0]


@pytest.mark.parametrize("n", [1, 1000, BLOCK, BLOCK + 1, 2 * BLOCK + 777])
def test_inner_products_are_those_of_the_gathered_rows(twins: Twins, rng: np.random.Generator, n: int) -> None:
    for codes, base in product(CODES, BASES):
        inputs, origin = some(rng, n, codes, base)
        rows = np.empty((3, n), F4)
        gather(inputs, origin, rows, np.empty(n, F4))
        by_rows = [part.tobytes() for part in gram_parts(rows)]
        part = Slice(inputs, origin, F4)
        for finite, parts in twins("grams", lambda part=part: inner_products(part)):
            assert finite
            assert [p.tobytes() for p in parts] == by_rows


def test_slices_of_different_lengths_are_refused() -> None:
    part = Slice([Stored(np.zeros(5, np.float32), "F32"), Stored(np.zeros(4, np.float32), "F32")], None, F4)
    with pytest.raises(ValueError, match="do not belong together"):
        blend_stored(part, Blend(np.ones(2)), None, "F32")
