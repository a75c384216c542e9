"""The weighted sum of task vectors."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reference.task_arithmetic import task_arithmetic as loop
from taskvec.errors import RecipeError
from taskvec.merge.methods import task_arithmetic

from .inputs import Array, assert_agree, flat, quarters, stacks


@given(st.data(), stacks(), st.booleans())
def test_matches_the_slow_loop(dtype: np.dtype, data: st.DataObject, stack: Array, normalize: bool) -> None:
    weights = data.draw(quarters(len(stack)))
    assume(not normalize or sum(weights) != 0)
    expected = loop(flat(stack), weights, normalize=normalize)
    deltas = stack.astype(dtype)

    merged = task_arithmetic(deltas, np.array(weights), normalize=normalize)

    factors = np.abs(weights) / (abs(sum(weights)) if normalize else 1)
    assert_agree(merged, expected, deltas, np.tensordot(factors, np.abs(stack), 1))


def test_a_task_less_itself_is_exactly_nothing(dtype: np.dtype, rng: np.random.Generator) -> None:
    tau = rng.standard_normal(50).astype(dtype)
    assert not task_arithmetic(np.stack([tau, tau]), np.array([1.0, -1.0])).any()


def test_one_task_of_weight_one_is_itself(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((1, 50)).astype(dtype)
    assert task_arithmetic(deltas, np.ones(1)).tobytes() == deltas[0].tobytes()


def test_normalising_weights_that_sum_to_zero_is_refused_and_not_skipped_in_silence() -> None:
    with pytest.raises(RecipeError, match="sum to 0"):
        task_arithmetic(np.ones((2, 3)), np.array([1.0, -1.0]), normalize=True)
