"""The average of weights."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reference.linear import linear as loop
from taskvec.errors import RecipeError
from taskvec.merge.methods import linear

from .inputs import Array, assert_agree, flat, quarters, stacks


@given(st.data(), stacks(), st.booleans())
def test_matches_the_slow_loop(dtype: np.dtype, data: st.DataObject, stack: Array, normalize: bool) -> None:
    weights = data.draw(quarters(len(stack)))
    assume(not normalize or sum(weights) != 0)
    expected = loop(flat(stack), weights, normalize=normalize)
    models = stack.astype(dtype)

    merged = linear(models, np.array(weights), normalize=normalize)

    factors = np.abs(weights) / (abs(sum(weights)) if normalize else 1)
    assert_agree(merged, expected, models, np.tensordot(factors, np.abs(stack), 1))


def test_one_model_is_itself(dtype: np.dtype, rng: np.random.Generator) -> None:
    models = rng.standard_normal((1, 50)).astype(dtype)
    assert linear(models, np.array([0.7])).tobytes() == models[0].tobytes()


def test_a_negative_weight_is_divided_by_the_sum_too() -> None:
    assert linear(np.array([[3.0], [1.0]]), np.array([2.0, -1.0])).tolist() == [5.0]


def test_weights_that_sum_to_zero_are_refused_instead_of_giving_inf() -> None:
    with pytest.raises(RecipeError, match=r"weights \[1.0, -1.0\] sum to 0. Type 'normalize: false'"):
        linear(np.ones((2, 3)), np.array([1.0, -1.0]))
