"""Weighted sums, sign elections, and the last step onto the base."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from taskvec.ops.combine import add_scaled, elect_and_average, weighted_sum
from taskvec.ops.select import keep_between

from .samples import SIZES, floats32

Twins = Callable[[str, Callable[[], Any]], tuple[Any, Any]]
WAYS = list(product(["sum", "weighted", "count"], ["mean", "sum", "count"], ["zero", "positive"]))
WEIGHTS = np.array([0.7, -1.3, 0.1, 0.0])
BANDS = [
    None,
    (np.array([0.5, 0.0, 1e-45, 1.0]), np.full(4, np.inf)),
    (np.array([0.5, 0.0, 2.5, np.inf]), np.array([2.5, 1.0, 2.5, np.inf])),
]


@pytest.mark.parametrize("n", SIZES)
def test_weighted_sum_gives_the_same_bytes_fused_and_plain(twins: Twins, rng: np.random.Generator, n: int) -> None:
    stack = floats32(rng, 4, n)
    for band in BANDS:
        fused, plain = twins("blend_rows", lambda band=band: weighted_sum(stack, WEIGHTS, band))
        assert fused.tobytes() == plain.tobytes()
        assert fused.shape == (n,)


@pytest.mark.parametrize("n", SIZES)
def test_election_gives_the_same_bytes_fused_and_plain(twins: Twins, rng: np.random.Generator, n: int) -> None:
    stack = floats32(rng, 4, n)
    for (elect, combine, tied), band in product(WAYS, BANDS):
        how = {"elect": elect, "combine": combine, "tied": tied, "band": band}
        fused, plain = twins("blend_rows", lambda how=how: elect_and_average(stack, WEIGHTS, **how))
        assert fused.tobytes() == plain.tobytes(), how


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_election_treats_nan_and_inf_alike_fused_and_plain(twins: Twins, way: tuple[str, str, str]) -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 1.0, -1.0, 0.0], np.float32)
    stack = np.array(list(product(odd, odd, odd)), np.float32).T.copy()
    how = dict(zip(("elect", "combine", "tied"), way, strict=True))
    for band in (None, (np.ones(3), np.full(3, np.inf))):
        with np.errstate(invalid="ignore"):
            fused, plain = twins(
                "blend_rows",
                lambda band=band: elect_and_average(stack, np.array([1.0, -0.5, 2.0]), band=band, **how),
            )
        np.testing.assert_array_equal(fused, plain)


@pytest.mark.parametrize("n", SIZES)
def test_add_scaled_gives_the_same_bytes_fused_and_plain(twins: Twins, rng: np.random.Generator, n: int) -> None:
    base, delta = floats32(rng, n), floats32(rng, n)
    for scale in (0.0, -0.0, 1.0, -0.3, 1e-30):
        fused, plain = twins("add_scaled", lambda scale=scale: add_scaled(base, delta, scale))
        assert fused.tobytes() == plain.tobytes()


def test_products_and_sums_are_rounded_one_by_one_from_left_to_right(kernels: str, rng: np.random.Generator) -> None:
    stack, weights = rng.standard_normal((3, 100)).astype(np.float32), [0.1, 0.7, -1.9]
    expected = []
    for a, b, c in stack.T:
        first, second, third = (np.float32(w) * x for w, x in zip(weights, (a, b, c), strict=True))
        expected.append((first + second) + third)
    assert weighted_sum(stack, np.array(weights)).tolist() == [float(x) for x in expected]


@pytest.mark.parametrize("band", BANDS[1:], ids=["low", "low and high"])
def test_a_band_is_keep_between_first(
    kernels: str, rng: np.random.Generator, band: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
) -> None:
    stack = floats32(rng, 4, 50, 60)
    kept = keep_between(stack, *band)
    assert weighted_sum(stack, WEIGHTS, band).tobytes() == weighted_sum(kept, WEIGHTS).tobytes()
    assert elect_and_average(stack, WEIGHTS, band=band).tobytes() == elect_and_average(kept, WEIGHTS).tobytes()


def test_adding_with_scale_zero_leaves_every_bit_of_the_base(kernels: str, rng: np.random.Generator) -> None:
    base = np.concatenate([floats32(rng, 3000), np.float32([-0.0, 0.0, np.inf, -np.inf, np.nan])])
    delta = rng.standard_normal(base.size).astype(np.float32)
    assert add_scaled(base, delta, 0.0).tobytes() == base.tobytes()


def test_a_delta_of_zero_leaves_negative_zero_negative(kernels: str) -> None:
    base = np.array([-0.0, -0.0, 0.0, 0.0], np.float32)
    delta = np.array([0.0, -0.0, 0.0, -0.0], np.float32)
    assert add_scaled(base, delta, 2.0).tobytes() == base.tobytes()


@given(
    arrays(np.float32, (3, 4), elements=st.integers(-3, 3).map(float)), st.sampled_from(["sum", "weighted", "count"])
)
def test_turning_everything_around_turns_the_election_around(kernels: str, stack: Any, elect: str) -> None:
    weights = np.array([1.0, 0.5, 2.0])
    there = elect_and_average(stack, weights, elect=elect)
    back = elect_and_average(-stack, weights, elect=elect)
    assert np.array_equal(there, -back)


def test_a_vote_by_count_ignores_magnitudes(kernels: str) -> None:
    stack = np.array([[9.0], [-1.0], [-2.0]], np.float32)
    assert elect_and_average(stack, np.ones(3), elect="count").tolist() == [-1.5]
    assert elect_and_average(stack, np.ones(3), elect="sum").tolist() == [9.0]


def test_a_weighted_vote_heeds_the_weights(kernels: str) -> None:
    stack = np.array([[3.0], [-2.0]], np.float32)
    assert elect_and_average(stack, np.array([1.0, 2.0]), elect="weighted").tolist() == [-2.0]
    assert elect_and_average(stack, np.array([1.0, 2.0]), elect="sum").tolist() == [3.0]


def test_a_weight_of_zero_has_no_share_of_the_mean(kernels: str) -> None:
    stack = np.array([[3.0, 3.0], [1.0, -4.0]], np.float32)
    assert elect_and_average(stack, np.array([0.0, 1.0]), elect="weighted").tolist() == [1.0, -4.0]


def test_an_entry_that_nobody_has_is_zero_whoever_wins_a_tie(kernels: str) -> None:
    stack = np.zeros((2, 3), np.float32)
    for tied in ("zero", "positive"):
        assert not elect_and_average(stack, np.ones(2), tied=tied).any()


def test_a_weight_that_float32_rounds_to_zero_turns_nothing_around(kernels: str) -> None:
    stack = np.array([[3.0], [1.0]], np.float32)
    assert elect_and_average(stack, np.array([-1e-50, 1.0])).tolist() == [1.0]
