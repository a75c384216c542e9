"""What is said of an estimate's stability."""

import numpy as np
import pytest
import torch

from curvature.conftest import Make
from taskvec.curvature import ESTIMATORS, Estimating, estimate
from taskvec.curvature.stability import Halves, said


def test_the_error_is_the_one_of_the_mean(rng: np.random.Generator) -> None:
    """Of many samples, the square of what is said is on average the square of how far the mean is off."""
    true = rng.random(400) + 0.5
    said_, off = [], []
    for _ in range(200):
        sample = true * rng.exponential(size=(16, 400))
        first, second = torch.from_numpy(sample[:8].mean(0)), torch.from_numpy(sample[8:].mean(0))
        error = Halves.of(first, second).error((8, 8))
        assert error is not None
        said_.append((error * np.linalg.norm(sample.mean(0))) ** 2)
        off.append(np.linalg.norm(sample.mean(0) - true) ** 2)
    assert np.mean(said_) == pytest.approx(np.mean(off), rel=0.05)


def test_halves_of_a_kronecker_product_are_the_products(rng: np.random.Generator) -> None:
    a, b, c, d = (torch.from_numpy(rng.random((n, n))) for n in (2, 2, 3, 3))
    found = Halves.of(a, b) * Halves.of(c, d)
    true = Halves.of(torch.kron(a, c), torch.kron(b, d))
    assert (found.first, found.second, found.both) == pytest.approx((true.first, true.second, true.both))


def test_equal_halves_have_no_error() -> None:
    x = torch.arange(1.0, 4.0)
    assert Halves.of(x, x).error((3, 3)) == 0
    assert Halves.of(x, x).cosine == pytest.approx(1)
    assert Halves.of(0 * x, 0 * x).error((3, 3)) is None
    assert said({"w": Halves.of(x, x)}, (1, 0), 1) is None


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_estimate_says_it(double: Make, estimator: str) -> None:
    model, lesson = double("bert")
    found = estimate(model, lesson, Estimating(estimator=estimator, batch=3, labels="data")).facts["stability"]
    assert found["examples"] == 12
    assert 0 < found["error"] < 1
    assert 0 < found["cosine"] < 1
    assert found["expected"]["64"] == pytest.approx(found["error"] * (12 / 64) ** 0.5)
    name = "encoder.layer.0.output.dense.weight"
    assert 0 < found["tensors"][name][0] < 1


def test_one_example_says_nothing_of_it(double: Make) -> None:
    model, lesson = double("bert")
    assert estimate(model, lesson, Estimating(examples=1)).facts["stability"] is None
