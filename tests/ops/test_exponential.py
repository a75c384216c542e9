"""Against 60 decimal digits."""

from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np
import pytest

from taskvec.ops import exponential, fused
from taskvec.ops.exponential import MOST, exp, exp_beyond_linear, log1p

SIZES = 10.0 ** np.arange(-15, 1)


def digits(function: Callable[[Decimal], Decimal], x: np.ndarray) -> np.ndarray:
    """A function of each number, rounded once."""
    with localcontext() as context:
        context.prec = 60
        return np.array([float(function(Decimal(float(v)))) for v in x])


def test_exp(rng: np.random.Generator) -> None:
    x = np.concatenate([rng.uniform(-MOST, MOST, 60), rng.uniform(-1, 1, 60), SIZES, -SIZES, [0.0]])
    np.testing.assert_allclose(exp(x), digits(Decimal.exp, x), rtol=1e-13)
    assert exp(np.array([0.0, -0.0])).tolist() == [1.0, 1.0]


def test_exp_ends_where_sums_of_it_would_overflow() -> None:
    assert exp(np.array([-1e9, 1e9, np.inf])).tolist() == exp(np.array([-MOST, MOST, MOST])).tolist()


def test_what_exp_is_beyond_linear(rng: np.random.Generator) -> None:
    x = np.concatenate([rng.uniform(-20, 20, 60), rng.uniform(-0.6, 0.6, 60), SIZES, -SIZES])
    expected = digits(lambda v: v.exp() - 1 - v, x)
    np.testing.assert_allclose(exp_beyond_linear(x), expected, rtol=1e-11)
    assert exp_beyond_linear(np.zeros(2)).tolist() == [0.0, 0.0]


def test_log1p(rng: np.random.Generator) -> None:
    x = np.concatenate([rng.uniform(-0.49, 3, 60), 10.0 ** rng.uniform(0, 200, 40), SIZES, -SIZES[:-1]])
    np.testing.assert_allclose(log1p(x), digits(lambda v: (1 + v).ln(), x), rtol=1e-14)


@pytest.mark.parametrize("name", ["LOG2_E", "LN2_HIGH", "LN2_LOW", "ROUND", "SMALL", "MOST"])
def test_the_fused_kernels_have_the_same_numbers(name: str) -> None:
    assert getattr(fused, name) == getattr(exponential, name)


def test_the_fused_kernels_have_the_same_factorials() -> None:
    assert tuple(getattr(fused, f"C{k}") for k in range(13)) == exponential.OVER_FACTORIAL
