"""Keep the largest, then add."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reference.magnitude_prune import magnitude_prune as loop
from taskvec.merge.methods import breadcrumbs, magnitude_prune, task_arithmetic, ties

from .inputs import Array, assert_agree, each, flat, quarters, shares, stacks


@given(st.data(), stacks())
def test_matches_the_slow_loop(dtype: np.dtype, data: st.DataObject, stack: Array) -> None:
    tasks = len(stack)
    weights, density = data.draw(quarters(tasks)), data.draw(shares(tasks))
    expected = loop(flat(stack), weights, density=each(density, tasks))
    deltas = stack.astype(dtype)

    merged = magnitude_prune(deltas, np.array(weights), density=density)

    assert_agree(merged, expected, deltas, np.tensordot(np.abs(weights), np.abs(stack), 1))


def test_keeping_everything_is_task_arithmetic(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((3, 200)).astype(dtype), np.array([1.0, -0.5, 2.0])
    merged = magnitude_prune(deltas, weights, density=1.0)
    assert merged.tobytes() == task_arithmetic(deltas, weights).tobytes()


def test_it_is_breadcrumbs_without_outliers(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((3, 200)).astype(dtype), np.array([1.0, -0.5, 2.0])
    merged = magnitude_prune(deltas, weights, density=0.3)
    assert merged.tobytes() == breadcrumbs(deltas, weights, density=0.3, gamma=0.0).tobytes()


def test_it_is_ties_without_the_vote(dtype: np.dtype) -> None:
    deltas = np.array([[3.0, 1.0, 0.5], [-2.0, 1.0, 0.5]], dtype)
    assert magnitude_prune(deltas, np.ones(2), density=1 / 3).tolist() == [1.0, 0.0, 0.0]
    assert ties(deltas, np.ones(2), density=1 / 3).tolist() == [3.0, 0.0, 0.0]


def test_equal_entries_are_kept_together(dtype: np.dtype) -> None:
    deltas = np.array([[2.0, -2.0, 2.0, 1.0]], dtype)
    assert magnitude_prune(deltas, np.ones(1), density=0.25).tolist() == [2.0, -2.0, 2.0, 0.0]
