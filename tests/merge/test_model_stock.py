"""The average, shortened by disagreement."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.model_stock import model_stock as loop
from taskvec.merge.methods import model_stock
from taskvec.merge.methods.model_stock import interpolation_ratio
from taskvec.ops.gram import gram

from .inputs import Array, assert_agree, flat, stacks


@given(stacks(tasks=st.integers(2, 5)))
def test_matches_the_slow_loop(dtype: np.dtype, stack: Array) -> None:
    deltas = stack.astype(dtype)
    merged = model_stock(deltas, np.ones(len(stack)))
    assert_agree(merged, loop(flat(stack)), deltas, np.abs(stack).mean(0))


@given(stacks(tasks=st.integers(2, 5)))
def test_the_ratio_never_leaves_zero_to_one(stack: Array) -> None:
    assert 0 <= interpolation_ratio(gram(stack)) <= 1


def test_orthogonal_task_vectors_give_the_base() -> None:
    assert not model_stock(np.eye(3), np.ones(3)).any()


@pytest.mark.parametrize("cos", [0.1, 0.5, 0.9])
def test_two_models_follow_equation_4(cos: float) -> None:
    deltas = np.array([[1.0, 0.0], [cos, (1 - cos**2) ** 0.5]])
    assert interpolation_ratio(gram(deltas)) == pytest.approx(2 * cos / (1 + cos), rel=1e-14)


def test_a_task_vector_of_zeros_disagrees_with_all(rng: np.random.Generator) -> None:
    x = rng.standard_normal(20)
    same, with_zero = np.stack([x, x, x]), np.stack([x, x, 0 * x])
    assert interpolation_ratio(gram(same)) == pytest.approx(1, abs=1e-14)
    assert interpolation_ratio(gram(with_zero)) == pytest.approx(3 / 3 / (1 + 2 / 3), abs=1e-14)
