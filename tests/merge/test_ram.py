"""Averages of those that changed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reference.ram import ram as loop
from taskvec.merge.methods import ram

from .inputs import Array, assert_agree, flat, stacks

EPSILONS = st.sampled_from([0.0, 0.125, 1.0])


@given(stacks(), EPSILONS)
def test_matches_the_slow_loop(dtype: np.dtype, stack: Array, epsilon: float) -> None:
    deltas = stack.astype(dtype)
    merged = ram(deltas, np.ones(len(stack)), epsilon=epsilon)
    assert_agree(merged, loop(flat(stack), epsilon=epsilon), deltas, np.abs(stack).sum(0))


def test_what_one_task_changed_is_kept_whole_and_not_diluted(dtype: np.dtype) -> None:
    deltas = np.array([[3.0, 3.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], dtype)
    assert ram(deltas, np.ones(3)).tolist() == [3.0, 2.0, 0.0]


def test_where_all_changed_it_is_the_average(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((3, 200)).astype(dtype)
    np.testing.assert_allclose(ram(deltas, np.ones(3)), deltas.mean(0), rtol=1e-5)


def test_opposite_changes_of_two_are_changes(dtype: np.dtype) -> None:
    deltas = np.array([[1.0], [-1.0], [0.0]], dtype)
    assert ram(deltas, np.ones(3)).tolist() == [0.0]
