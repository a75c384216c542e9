"""Select, calculate, erase."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.sce import sce as loop
from taskvec.merge.methods import sce
from taskvec.merge.methods.sce import SELECTED

from .inputs import Array, assert_agree, flat, stacks


@given(stacks(tasks=st.integers(2, 5), step=2.0**-10), st.sampled_from([0.1, 0.3, 0.5, 0.9, 1.0]), st.booleans())
def test_matches_the_slow_loop(dtype: np.dtype, stack: Array, topk: float, tied: bool) -> None:
    deltas, how = stack.astype(dtype), "positive" if tied else "zero"
    merged = sce(deltas, np.ones(len(stack)), select_topk=topk, tied=how)
    assert_agree(merged, loop(flat(stack), select_topk=topk, tied=how), deltas, np.abs(stack).max(0))


def test_what_is_selected_is_a_share_of_what_differs(dtype: np.dtype, rng: np.random.Generator) -> None:
    """Frozen entries, and those on which the tasks agree, are not counted."""
    deltas = rng.standard_normal((3, 1000)).astype(dtype)
    deltas[:, :600] = deltas[0, :600]
    merged = sce(deltas, np.ones(3), select_topk=0.25)
    assert np.count_nonzero(merged) == 100
    assert not merged[:600].any()


def test_weights_are_the_shares_of_the_squares_of_what_is_selected(rng: np.random.Generator) -> None:
    deltas = np.abs(rng.standard_normal((3, 500))) * np.array([[1.0], [2.0], [0.1]])
    least, *energy = SELECTED.whole(deltas, {"select_topk": 0.2}).tolist()
    chosen = deltas.var(0) >= least**2 * (1 - 1e-12)
    assert np.count_nonzero(chosen) == 100
    assert energy == pytest.approx((deltas[:, chosen] ** 2).sum(1), rel=1e-12)
    shares = np.array(energy) / sum(energy)
    np.testing.assert_allclose(sce(deltas, np.ones(3), select_topk=0.2), shares @ (deltas * chosen), rtol=1e-12)


def test_equal_spreads_share_one_fate_in_any_order(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas = np.zeros((2, 100), dtype)
    deltas[0, :50], deltas[1, 50:] = 1, 1
    assert np.count_nonzero(sce(deltas, np.ones(2), select_topk=0.1)) == 100
    turned = np.array([[0.375, -0.875, -0.875], [-0.875, 0.375, -0.875], [-0.875, -0.875, 0.375]], dtype)
    assert np.all(sce(turned, np.ones(3), select_topk=0.1) < 0)


@pytest.mark.parametrize("topk", [0.1, 1.0])
def test_identical_models(topk: float, dtype: np.dtype, rng: np.random.Generator) -> None:
    """Nothing differs, so nothing is selected but by a share of 1."""
    one = rng.standard_normal(50).astype(dtype)
    merged = sce(np.stack([one] * 3), np.ones(3), select_topk=topk)
    np.testing.assert_allclose(merged, one if topk == 1 else 0 * one, rtol=1e-6)
