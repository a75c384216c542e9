"""Bits, gaps, eight bits, one bit, masks and thin factors: against loops in float64, and there and back."""

import numpy as np
import pytest

from taskvec.ops.bits import bytes_for, pack_bits, unpack_bits
from taskvec.ops.emr import agreeing, rescaler, unified
from taskvec.ops.gaps import bytes_of_gaps, pack_gaps, unpack_gaps
from taskvec.ops.int8 import from_int8, to_int8
from taskvec.ops.largest import Magnitudes, largest
from taskvec.ops.one_bit import from_one_bit, one_bit
from taskvec.ops.spectral import svd
from taskvec.ops.tall import tall_mask
from taskvec.ops.thin import factors_of, ranks

Rng = np.random.Generator


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 1000])
def test_bits_come_back_from_any_slice(rng: Rng, count: int) -> None:
    bits = rng.random(count) < 0.3
    packed = pack_bits(bits)
    assert packed.size == bytes_for(count)
    for start in range(0, count, 3):
        for stop in (start, min(start + 5, count), count):
            np.testing.assert_array_equal(unpack_bits(packed[start // 8 :], start, stop), bits[start:stop])


@pytest.mark.parametrize("density", [0.0, 0.001, 0.1, 1.0])
def test_gaps_come_back(rng: Rng, density: float) -> None:
    places = np.flatnonzero(rng.random(5000) < density)
    packed = pack_gaps(places)
    assert packed.size == bytes_of_gaps(places)
    np.testing.assert_array_equal(unpack_gaps(packed), places)


@pytest.mark.parametrize("place", [0, 254, 255, 256, 509, 510, 511])
def test_a_gap_of_any_length(place: int) -> None:
    np.testing.assert_array_equal(unpack_gaps(pack_gaps(np.array([place, place + 1]))), [place, place + 1])


def test_eight_bits_are_within_half_a_step(rng: Rng) -> None:
    x = rng.standard_normal((5, 40)).astype(np.float32)
    codes, step = to_int8(x)
    back = from_int8(codes, step)
    for row in range(5):
        top = max(abs(float(v)) for v in x[row])
        assert float(step[row]) == pytest.approx(top / 127)
        for value, near in zip(x[row], back[row], strict=True):
            assert abs(float(value) - float(near)) <= 0.5 * top / 127 * (1 + 1e-5)


@pytest.mark.parametrize("rows", [False, True])
def test_the_scale_of_signs_is_the_nearest(rng: Rng, rows: bool) -> None:
    """α = mean |τ| by a loop, and no other scale is nearer."""
    x = rng.standard_normal((6, 9)).astype(np.float32)
    x[2] = 0
    positive, scale = one_bit(x, rows=rows)
    spread = scale[:, None] if rows else scale
    wrong = ((from_one_bit(positive, spread).astype(np.float64) - x) ** 2).sum()
    for group, own in zip(x if rows else [x.reshape(-1)], scale, strict=True):
        total = 0.0
        for value in group:
            total += abs(float(value))
        assert float(own) == pytest.approx(total / len(group), rel=1e-6)
    for factor in (0.99, 1.01):
        assert ((from_one_bit(positive, factor * spread).astype(np.float64) - x) ** 2).sum() > wrong


def test_exactly_so_many_are_kept(rng: Rng) -> None:
    x = np.round(3 * rng.standard_normal(400)).astype(np.float32)  # many tie
    for k in (0, 1, 17, 399, 400, 500):
        kept = largest(x, k)
        assert kept.sum() == min(k, 400)
        if 0 < k < 400:
            assert np.abs(x[kept]).min() >= np.abs(x[~kept]).max()


def test_magnitudes_say_what_a_threshold_leaves(rng: Rng) -> None:
    x = rng.standard_normal(3000).astype(np.float32)
    seen = Magnitudes.none()
    for part in np.split(x, 3):
        seen.add(part)
    total = float((x.astype(np.float64) ** 2).sum())
    for share in (0.0, 0.01, 0.3, 0.9):
        threshold = seen.threshold(share * total)
        left = sum(float(v) ** 2 for v in x if abs(v) < threshold)
        assert left <= share * total
        assert left >= 0.97 * share * total - 1e-3  # bins are narrow
        assert seen.count_from(threshold) == np.count_nonzero(np.abs(x) >= threshold)


def test_tall_masks_are_those_of_a_loop(rng: Rng) -> None:
    deltas = rng.standard_normal((3, 50))
    merged = deltas.sum(axis=0)
    for tall in (0.2, 0.4, 1.0):
        mask = tall_mask(deltas[1], merged, tall)
        for kept, own, all_of in zip(mask, deltas[1], merged, strict=True):
            assert kept == (abs(own) >= tall * abs(all_of - own))
    errors = [((np.where(tall_mask(deltas[1], merged, t), merged, 0) - deltas[1]) ** 2).sum() for t in (0.4, 1.0, 2.0)]
    assert errors[1] == min(errors)  # with 1 an entry is kept where that is nearer


def test_emr_is_that_of_a_loop(rng: Rng) -> None:
    deltas = rng.standard_normal((4, 60))
    deltas[:, 5] = [1.0, -1.0, 0.0, 0.0]  # no sign is elected
    merged = unified(deltas)
    for i in range(60):
        sign = np.sign(sum(float(d[i]) for d in deltas))
        sizes = [abs(float(d[i])) for d in deltas if np.sign(d[i]) == sign]
        assert merged[i] == pytest.approx(sign * max(sizes, default=0.0) if sign else 0.0)
        for d in deltas:
            assert agreeing(d, merged)[i] == (float(d[i]) * float(merged[i]) > 0)
    masked = np.where(agreeing(deltas[0], merged), merged, 0)
    factor = rescaler(np.abs(deltas[0]).sum(), np.abs(masked).sum())
    assert np.abs(factor * masked).sum() == pytest.approx(np.abs(deltas[0]).sum())
    assert rescaler(1.0, 0.0) == 0.0


def test_of_one_task_both_masks_give_it_back(rng: Rng) -> None:
    delta = rng.standard_normal(40)
    np.testing.assert_array_equal(np.where(tall_mask(delta, delta, 0.4), delta, 0), delta)
    np.testing.assert_array_equal(unified(delta[None]), delta)
    assert agreeing(delta, delta).all()


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (7, 7)])
def test_factors_are_the_best_of_their_rank(rng: Rng, shape: tuple[int, int]) -> None:
    x = rng.standard_normal(shape)
    s = np.linalg.svd(x, compute_uv=False)
    for rank in (1, 3, 6):
        left, right = factors_of(svd(x), rank)
        assert ((left @ right - x) ** 2).sum() == pytest.approx((s[rank:] ** 2).sum(), abs=1e-9)
    left, right = factors_of(svd(x), min(shape))
    np.testing.assert_allclose(left @ right, x, atol=1e-9)


def test_no_other_ranks_of_that_cost_gain_more(rng: Rng) -> None:
    gains = [np.sort(rng.random(4))[::-1] for _ in range(3)]
    for budget in (2.0, 5.0, 9.0):
        taken = ranks(gains, [1.0, 1.0, 1.0], within=budget)
        assert sum(taken) == budget
        best = max(
            sum(g[:k].sum() for g, k in zip(gains, (a, b, c), strict=True))
            for a in range(5) for b in range(5) for c in range(5) if a + b + c <= budget
        )  # fmt: skip
        assert sum(g[:k].sum() for g, k in zip(gains, taken, strict=True)) == pytest.approx(best)
    left = ranks(gains, [2.0, 1.0, 1.0], leaving=0.5)
    assert sum(g[k:].sum() for g, k in zip(gains, left, strict=True)) <= 0.5 + 1e-12
    assert ranks(gains, [1.0] * 3, leaving=0.0) == [4, 4, 4]
    assert ranks(gains, [1.0] * 3, within=0.5) == [0, 0, 0]
