"""Drop the outliers and the small change, then add."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reference.breadcrumbs import breadcrumbs as loop
from taskvec.merge.methods import breadcrumbs, task_arithmetic

from .inputs import Array, assert_agree, each, flat, quarters, shares, stacks


@given(st.data(), stacks())
def test_matches_the_slow_loop(dtype: np.dtype, data: st.DataObject, stack: Array) -> None:
    tasks = len(stack)
    weights, density = data.draw(quarters(tasks)), data.draw(shares(tasks))
    gamma = data.draw(st.one_of(st.just(0.0), st.just(1.0), shares(tasks, low=0.0)))
    expected = loop(flat(stack), weights, density=each(density, tasks), gamma=each(gamma, tasks))
    deltas = stack.astype(dtype)

    merged = breadcrumbs(deltas, np.array(weights), density=density, gamma=gamma)

    assert_agree(merged, expected, deltas, np.tensordot(np.abs(weights), np.abs(stack), 1))


def test_keeping_everything_is_task_arithmetic(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((3, 200)).astype(dtype), np.array([1.0, -0.5, 2.0])
    merged = breadcrumbs(deltas, weights, density=1.0, gamma=0.0)
    assert merged.tobytes() == task_arithmetic(deltas, weights).tobytes()


def test_outliers_that_are_equal_to_the_first_one_kept_stay(dtype: np.dtype) -> None:
    deltas = np.array([[9.0, 5.0, -5.0, 5.0, 1.0]], dtype)
    assert breadcrumbs(deltas, np.ones(1), density=0.4, gamma=0.4).tolist() == [0, 5, -5, 5, 0]
