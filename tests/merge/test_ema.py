"""The average along a run."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.ema import ema as loop
from taskvec.merge.methods import ema, linear
from taskvec.merge.methods.ema import coefficients

from .inputs import Array, assert_agree, flat, stacks


@given(stacks(tasks=st.integers(2, 5)), st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1)))
def test_matches_the_recursion(dtype: np.dtype, stack: Array, decay: float) -> None:
    models = stack.astype(dtype)
    merged = ema(models, np.ones(len(stack)), decay=decay)
    assert_agree(merged, loop(flat(stack), decay=decay), models, np.abs(stack).sum(0))


@pytest.mark.parametrize("decay", [0.0, 0.2, 0.9, 1.0])
def test_the_factors_sum_to_1(decay: float) -> None:
    for tasks in (2, 3, 10, 100):
        assert coefficients(tasks, decay).sum() == pytest.approx(1, abs=1e-14)


def test_decay_0_is_the_last_checkpoint_and_1_the_first(dtype: np.dtype, rng: np.random.Generator) -> None:
    models = rng.standard_normal((4, 50)).astype(dtype)
    assert np.array_equal(ema(models, np.ones(4), decay=0.0), models[3])
    assert np.array_equal(ema(models, np.ones(4), decay=1.0), models[0])


def test_the_order_matters(rng: np.random.Generator) -> None:
    models = rng.standard_normal((3, 50))
    there, back = ema(models, np.ones(3)), ema(models[::-1], np.ones(3))
    assert np.abs(there - back).max() > 0.1


def test_it_is_linear_with_given_weights(rng: np.random.Generator) -> None:
    models = rng.standard_normal((3, 50))
    same = linear(models, np.array([0.64, 0.16, 0.2]))
    np.testing.assert_allclose(ema(models, np.ones(3), decay=0.8), same, rtol=1e-13)
