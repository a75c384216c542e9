"""`normalize` of the methods that add: the sum is divided by the sum of the weights."""

import numpy as np
import pytest

from taskvec.errors import RecipeError
from taskvec.merge import METHODS

ADDING = ("linear", "task_arithmetic", "magnitude_prune", "breadcrumbs", "dare_linear", "della_linear")

EVERY = pytest.mark.parametrize("method", ADDING)


@EVERY
@pytest.mark.parametrize("weights", [[0.75, 2.0, 1.25], [1.0, -3.0, 0.5]])
def test_the_sum_is_divided_by_the_sum_of_the_weights(
    dtype: np.dtype, method: str, weights: list[float], rng: np.random.Generator
) -> None:
    merge, deltas, w = METHODS[method].function, rng.standard_normal((3, 8, 50)).astype(dtype), np.array(weights)
    merged = merge(deltas, w, normalize=True)
    assert merged.any()
    expected = merge(deltas.astype(np.float64), w, normalize=False) / w.sum()
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(merged, expected, rtol=0, atol=10 * tolerance * np.abs(expected).max())


@EVERY
def test_weights_that_sum_to_zero_are_refused(method: str) -> None:
    with pytest.raises(RecipeError, match=r"weights \[1.0, -1.0\] sum to 0. Type 'normalize: false'"):
        METHODS[method].function(np.ones((2, 3)), np.array([1.0, -1.0]), normalize=True)
