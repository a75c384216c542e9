"""Means of directions from inner products."""

import math

import numpy as np
import pytest

from taskvec.ops.gram import gram
from taskvec.ops.sphere import arc, arcs, directions, karcher_mean, mean_direction


def test_a_vector_of_zeros_has_no_direction() -> None:
    norms, inner = directions(gram(np.array([[3.0, 4.0], [0.0, 0.0]])))
    assert norms.tolist() == [5, 0]
    assert inner.tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize("angle", [3.0, 1.0, 1e-3, 1e-5])
def test_the_factors_of_an_arc_are_those_of_the_angle(angle: float) -> None:
    matrix = gram(np.array([[1.0, 0.0], [2 * math.cos(angle), 2 * math.sin(angle)]]))
    expected = [math.sin(0.75 * angle) / math.sin(angle), math.sin(0.25 * angle) / math.sin(angle)]
    assert arc(matrix, 0.25) == pytest.approx(expected, rel=1e-9 / angle)


def test_many_arcs_are_the_same_to_the_bit(rng: np.random.Generator) -> None:
    many = np.stack([gram(rng.standard_normal((2, 3))) for _ in range(50)])
    assert arcs(many, 0.3).tobytes() == np.stack([arc(one, 0.3) for one in many]).tobytes()
    assert arcs(many[:0], 0.3).shape == (0, 2)


@pytest.mark.parametrize("tasks", [2, 3, 10])
def test_of_orthogonal_vectors_all_means_agree(tasks: int) -> None:
    expected = np.full(tasks, tasks**-0.5)
    np.testing.assert_allclose(karcher_mean(np.eye(tasks)), expected, rtol=1e-14)
    np.testing.assert_allclose(mean_direction(np.eye(tasks), np.full(tasks, 1 / tasks)), expected, rtol=1e-14)
    if tasks == 2:
        np.testing.assert_allclose(arc(np.eye(2), 0.5), expected, rtol=1e-14)


def test_the_karcher_mean_is_not_the_mean_direction(rng: np.random.Generator) -> None:
    matrix = gram(rng.standard_normal((3, 20)) + np.array([[1.0], [1.0], [-0.2]]))
    apart = karcher_mean(matrix) / mean_direction(matrix, np.full(3, 1 / 3))
    assert apart.max() - apart.min() > 1e-3
