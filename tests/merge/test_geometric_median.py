"""The point nearest to all."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reference.geometric_median import distance_sum
from reference.geometric_median import geometric_median as loop
from taskvec.errors import RecipeError
from taskvec.merge.methods import geometric_median
from taskvec.merge.methods.geometric_median import coefficients
from taskvec.ops.gram import gram

from .inputs import Array, flat, quarters, stacks


@settings(max_examples=15)
@given(st.data(), stacks(tasks=st.integers(2, 5)))
def test_no_slow_loop_finds_a_better_point(dtype: np.dtype, data: st.DataObject, stack: Array) -> None:
    weights = data.draw(quarters(len(stack)))
    assume(any(weights) and stack[0].size <= 12)
    merged = geometric_median(stack.astype(dtype), np.array(weights))
    assert merged.dtype == dtype
    turned, sizes = np.array(flat(stack)) * np.sign(weights)[:, None], [abs(w) for w in weights]
    ours = distance_sum(turned.tolist(), sizes, merged.reshape(-1).tolist())
    theirs = distance_sum(turned.tolist(), sizes, loop(flat(stack), weights, steps=100))
    size = float(np.sum(sizes)) * float(np.abs(stack).max(initial=0))
    assert ours <= theirs + (1e-8 if dtype == np.float64 else 1e-6) * size


@pytest.mark.parametrize("tasks", [3, 4, 9])
@pytest.mark.parametrize("entries", [2, 3, 200])
def test_the_unit_vectors_to_all_points_cancel_at_the_median(
    tasks: int, entries: int, rng: np.random.Generator
) -> None:
    for _ in range(3):
        deltas, weights = rng.standard_normal((tasks, entries)) * 10 ** rng.uniform(-1, 1), rng.uniform(0.5, 1, tasks)
        median = geometric_median(deltas, weights)
        away = np.linalg.norm(deltas - median, axis=1)
        here = away <= 1e-9 * away.max()
        pull = np.linalg.norm((weights[~here] / away[~here]) @ (deltas - median)[~here])
        assert pull <= weights[here].sum() + 1e-9


def test_a_distant_model_does_not_drag_it_away(rng: np.random.Generator) -> None:
    near = rng.standard_normal((4, 100))
    for far in (1e2, 1e6):
        median = geometric_median(np.concatenate([near, far * np.ones((1, 100))]), np.ones(5))
        assert np.linalg.norm(median - near.mean(0)) < 3 * np.linalg.norm(near - near.mean(0), axis=1).max()


def test_of_two_the_heavier_one_and_of_equals_the_middle(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((2, 50)).astype(dtype)
    assert np.array_equal(geometric_median(deltas, np.array([1.0, 1.1])), deltas[1])
    np.testing.assert_allclose(geometric_median(deltas, np.ones(2)), deltas.mean(0), atol=1e-6)


def test_who_holds_half_of_the_weight_is_the_median(rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((4, 50))
    assert np.array_equal(geometric_median(deltas, np.array([1.0, 1.0, 1.0, 3.1])), deltas[3])


def test_the_middle_of_a_line_is_its_median() -> None:
    deltas = np.outer([1.0, 2.0, 4.0, 9.0, 100.0], [1.0, -2.0])
    np.testing.assert_allclose(geometric_median(deltas, np.ones(5)), [4.0, -8.0], rtol=1e-12)


def test_an_iterate_at_a_point_that_is_not_the_median_goes_on() -> None:
    """The mean, where the iteration starts, is the first point; Weiszfeld's own step is 0/0 there."""
    others = np.array([[10.0, 0.0], [-2.0, 1.0], [-2.0, -1.0], [-2.0, 3.0], [-4.0, -3.0]])
    deltas = np.concatenate([np.zeros((1, 2)), others])
    assert not deltas.mean(0).any()
    median = geometric_median(deltas, np.array([0.1, 1, 1, 1, 1, 1]))
    away = np.linalg.norm(deltas - median, axis=1)
    weights = np.array([0.1, 1, 1, 1, 1, 1])
    assert np.linalg.norm((weights / away) @ (deltas - median)) < 1e-9
    assert np.linalg.norm(median) > 0.1


def test_points_that_coincide_weigh_together(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((2, 30))
    median = geometric_median(np.stack([x, y, x, y, x]), np.array([1.0, 1.0, 1.0, 1.5, 1.0]))
    np.testing.assert_allclose(median, x, rtol=1e-12)
    same = geometric_median(np.stack([x, x, x]), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(same, x, rtol=1e-12)


def test_it_moves_with_the_base(rng: np.random.Generator) -> None:
    models, base = rng.standard_normal((4, 60)), rng.standard_normal(60)
    weights = np.array([1.0, 0.8, 1.2, 0.9])
    there = geometric_median(models - base, weights) + base
    np.testing.assert_allclose(there, geometric_median(models, weights), rtol=1e-9, atol=1e-9)


def test_a_negative_weight_turns_its_vector_around(rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((3, 40))
    turned = deltas * np.array([[1.0], [-1.0], [1.0]])
    weights = np.array([1.0, -0.8, 0.9])
    np.testing.assert_allclose(geometric_median(deltas, weights), geometric_median(turned, np.abs(weights)), rtol=1e-12)


def test_a_weight_of_0_leaves_its_vector_out(rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((4, 40))
    with_zero = geometric_median(deltas, np.array([1.0, 0.9, 0.8, 0.0]))
    np.testing.assert_allclose(with_zero, geometric_median(deltas[:3], np.array([1.0, 0.9, 0.8])), rtol=1e-12)


def test_weights_that_are_all_0_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"the weights \[0.0, 0.0\] are all 0, .* Type other weights\."):
        coefficients(np.zeros(2), gram(np.eye(2)))
