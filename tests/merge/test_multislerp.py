"""The mean direction."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reference.multislerp import multislerp as loop
from taskvec.errors import RecipeError
from taskvec.merge.methods import linear, multislerp, slerp
from taskvec.ops.gram import gram
from taskvec.ops.sphere import mean_direction

from .inputs import Array, assert_agree, flat, quarters, stacks


@given(st.data(), stacks(tasks=st.integers(2, 5)), st.booleans())
def test_matches_the_loop_through_the_tangent_space(
    dtype: np.dtype, data: st.DataObject, stack: Array, normalize: bool
) -> None:
    weights = np.array(data.draw(quarters(len(stack))))
    assume(not normalize or weights.sum() != 0)
    factors = mean_direction(gram(stack), weights / (weights.sum() if normalize else 1))
    assume(np.abs(factors).max(initial=0) < 20)  # else the directions nearly cancel, and rounding decides
    models = stack.astype(dtype)
    merged = multislerp(models, weights, normalize=normalize)
    assert_agree(merged, loop(flat(stack), weights.tolist(), normalize=normalize), models, 20 * np.abs(stack).sum(0))


def test_lengths_and_directions_are_averaged_apart(rng: np.random.Generator) -> None:
    models = rng.standard_normal((3, 200)) + rng.standard_normal(200)
    models *= np.array([[1.0], [2.0], [5.0]])
    merged = multislerp(models, np.array([1.0, 2.0, 1.0]))
    norms = np.linalg.norm(models, axis=1)
    assert np.linalg.norm(merged) == pytest.approx(np.dot([0.25, 0.5, 0.25], norms), rel=1e-13)
    direction = np.dot([0.25, 0.5, 0.25], models / norms[:, None])
    np.testing.assert_allclose(merged / np.linalg.norm(merged), direction / np.linalg.norm(direction), atol=1e-13)


def test_the_middle_of_two_of_one_length_is_that_of_slerp(rng: np.random.Generator) -> None:
    models = rng.standard_normal((2, 50))
    models /= np.linalg.norm(models, axis=1, keepdims=True)
    np.testing.assert_allclose(multislerp(models, np.ones(2)), slerp(models, np.ones(2)), atol=1e-14)


def test_directions_that_cancel_give_the_straight_line_where_mergekit_stops(dtype: np.dtype) -> None:
    angles = np.array([0, 2, 4]) * np.pi / 3
    models = (np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array([[1.0], [2.0], [4.0]])).astype(dtype)
    if dtype == np.float64:
        merged = multislerp(models, np.ones(3))
        np.testing.assert_allclose(merged, linear(models, np.ones(3)), rtol=1e-14)
    opposite = np.array([[1.0, -2.0], [-2.0, 4.0]], dtype)
    assert np.array_equal(multislerp(opposite, np.ones(2)), linear(opposite, np.ones(2)))


def test_a_tensor_of_zeros_shortens_and_does_not_turn(rng: np.random.Generator) -> None:
    x = rng.standard_normal(20)
    np.testing.assert_allclose(multislerp(np.stack([x, 0 * x]), np.ones(2)), x / 2, rtol=1e-14)


@pytest.mark.parametrize("size", [1e-12, 1e-6, 1e6])
def test_nothing_is_absolute(size: float, rng: np.random.Generator) -> None:
    """mergekit adds 1e-8 to norms: task vectors of norm 1e-9 become ten times shorter."""
    deltas = rng.standard_normal((3, 30))
    w = np.array([0.5, 1.0, 0.25])
    np.testing.assert_allclose(multislerp(size * deltas, w), size * multislerp(deltas, w), rtol=1e-12)


def test_weights_that_sum_to_0_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"sum to 0. Type 'normalize: false'"):
        multislerp(np.eye(2), np.array([1.0, -1.0]))
