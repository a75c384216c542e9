"""The geometric median from inner products."""

import math

import numpy as np
import pytest

from taskvec.ops.gram import gram
from taskvec.ops.median import geometric_median


def test_the_fermat_point_of_a_triangle_sees_its_sides_at_120_degrees(rng: np.random.Generator) -> None:
    corners = np.array([[0.0, 0.0], [3.0, 0.0], [1.0, 2.0]])
    to = corners - geometric_median(gram(corners), np.full(3, 1 / 3)) @ corners
    to /= np.linalg.norm(to, axis=1, keepdims=True)
    np.testing.assert_allclose((to @ to.T)[np.triu_indices(3, 1)], math.cos(2 * math.pi / 3), rtol=1e-9)


def test_a_corner_wider_than_120_degrees_is_the_point() -> None:
    corners = np.array([[0.0, 0.0], [3.0, 0.1], [-3.0, 0.1]])
    assert geometric_median(gram(corners), np.full(3, 1 / 3)).tolist() == [1, 0, 0]


@pytest.mark.parametrize("power", [-40, 30])
def test_the_factors_do_not_depend_on_the_size(power: int, rng: np.random.Generator) -> None:
    points, shares = rng.standard_normal((5, 40)), np.full(5, 0.2)
    same = geometric_median(gram(2.0**power * points), shares)
    assert same.tobytes() == geometric_median(gram(points), shares).tobytes()


def test_the_factors_are_shares(rng: np.random.Generator) -> None:
    for _ in range(20):
        factors = geometric_median(gram(rng.standard_normal((6, 4))), np.full(6, 1 / 6))
        assert factors.min() >= 0
        assert factors.sum() == pytest.approx(1, abs=1e-12)


def test_points_that_are_one_have_it_as_their_median() -> None:
    shares = np.array([0.2, 0.3, 0.5])
    assert geometric_median(np.ones((3, 3)), shares).sum() == pytest.approx(1)
    assert geometric_median(np.zeros((3, 3)), shares).tolist() == shares.tolist()
