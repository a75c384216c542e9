"""The standard deviation over tasks."""

from itertools import permutations

import numpy as np
import pytest

from taskvec.ops.spread import spread


@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_it_is_numpys(dtype: np.dtype, tasks: int, rng: np.random.Generator) -> None:
    stack = rng.standard_normal((tasks, 300)).astype(dtype)
    np.testing.assert_allclose(spread(stack), stack.astype(np.float64).std(axis=0), rtol=1e-6)


@pytest.mark.parametrize("tasks", [2, 3, 7])
def test_equal_entries_have_exactly_none(dtype: np.dtype, tasks: int, rng: np.random.Generator) -> None:
    assert not spread(np.stack([rng.standard_normal(300).astype(dtype)] * tasks)).any()


def test_no_order_changes_it_in_float32(rng: np.random.Generator) -> None:
    stack = rng.standard_normal((4, 3000)).astype(np.float32)
    assert len({spread(stack[list(order)]).tobytes() for order in permutations(range(4))}) == 1


@pytest.mark.parametrize("values", [[0.375, -0.875, -0.875], [0.0, 0.7, 0.7, 0.1], [3.0, 1.0, 4.0, 1.0, 5.0]])
def test_the_same_values_in_any_order_are_equally_far_apart(dtype: np.dtype, values: list[float]) -> None:
    """A mean of three rounds, and with it what is left of each; ranks would then go by the order of the tasks."""
    orders = np.array(list(permutations(values)), np.float16).T.astype(dtype)
    assert np.unique(spread(orders)).size == 1


def test_other_values_of_the_same_variance_are_equally_far_apart(dtype: np.dtype) -> None:
    """0² + 0·7 + 7² = 3² + 3·5 + 5²."""
    stack = np.array([[0, 0], [0, 3], [7, 8]], dtype) / 8
    assert np.unique(spread(stack)).size == 1


@pytest.mark.parametrize("size", [1e-30, 1e-6, 1e30])
def test_it_has_the_scale_of_its_inputs(size: float, rng: np.random.Generator) -> None:
    stack = rng.standard_normal((3, 300))
    small = (np.float32(size) * stack).astype(np.float32)
    np.testing.assert_allclose(spread(small) / np.float64(np.float32(size)), spread(stack), rtol=1e-6)
