"""What is near is taken over."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reference.nearswap import nearswap as loop
from taskvec.merge.methods import nearswap

from .inputs import Array, assert_agree, flat, stacks


@given(stacks(tasks=st.just(2)), st.integers(0, 24))
def test_matches_the_interpolation_with_a_weight_an_entry(dtype: np.dtype, stack: Array, eighths: int) -> None:
    base, secondary = flat(stack)
    delta = (stack[1] - stack[0])[None].astype(dtype)
    merged = nearswap(delta, np.ones(1), t=eighths / 8)
    expected = [x - a for x, a in zip(loop(base, secondary, t=eighths / 8), base, strict=True)]
    assert_agree(merged, expected, delta, np.abs(stack).sum(0))


def test_no_entry_moves_further_than_t(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((1, 500)).astype(dtype)
    merged = nearswap(deltas, np.ones(1), t=0.25)
    assert np.abs(merged).max() == 0.25
    near = np.abs(deltas[0]) <= 0.25
    assert 0 < near.sum() < 500
    assert np.array_equal(merged[near], deltas[0][near])


def test_t_0_is_the_base_and_a_large_t_the_model(rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((1, 50))
    assert not nearswap(deltas, np.ones(1), t=0.0).any()
    assert np.array_equal(nearswap(deltas, np.ones(1), t=100.0), deltas[0])


def test_differences_below_1e_6_are_swapped_too_where_mergekit_holds_them_above(dtype: np.dtype) -> None:
    """Its weight is t / max(|difference|, 1e-6), so that t = 1e-7 moves a difference of 1e-7 by a tenth."""
    delta = np.array([[1e-7, -1e-7, 3e-7]], dtype)
    assert nearswap(delta, np.ones(1), t=float(delta[0, 0])).tolist() == [delta[0, 0], -delta[0, 0], delta[0, 0]]
