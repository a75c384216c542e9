"""Trimming with the L1 norm given back, as mergekit's `rescale: true` does."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from reference.breadcrumbs import breadcrumbs_ties as breadcrumbs_ties_loop
from reference.ties import ties as ties_loop
from taskvec.merge.methods import breadcrumbs, breadcrumbs_ties, ties
from taskvec.merge.methods.breadcrumbs import KEPT

from .inputs import assert_agree, each, flat

RESCALED = {"rescale": "mergekit"}


@pytest.mark.parametrize("elect", ["sum", "weighted", "count"])
@pytest.mark.parametrize("combine", ["mean", "sum", "count"])
@pytest.mark.parametrize("density", [0.3, (0.9, 0.1, 0.5)])
def test_a_vote_matches_the_slow_loop(
    dtype: np.dtype, elect: str, combine: str, density: Any, rng: np.random.Generator
) -> None:
    deltas, weights = rng.standard_normal((3, 7, 31)).astype(dtype), np.array([0.5, -1.0, 1.5])
    wide, how = flat(deltas.astype(np.float64)), {"elect": elect, "combine": combine, **RESCALED}
    merged = ties(deltas, weights, density=density, **how)
    expected = ties_loop(wide, weights.tolist(), density=each(density, 3), **how)
    assert_agree(merged, expected, deltas, np.abs(expected))
    merged = breadcrumbs_ties(deltas, weights, density=density, gamma=0.1, **how)
    expected = breadcrumbs_ties_loop(wide, weights.tolist(), density=each(density, 3), gamma=[0.1] * 3, **how)
    assert_agree(merged, expected, deltas, np.abs(expected))


@pytest.mark.parametrize("method", [ties, breadcrumbs, breadcrumbs_ties])
@pytest.mark.parametrize("size", [1.0, 1e-12])
def test_one_task_keeps_its_l1_norm(
    dtype: np.dtype, method: Callable[..., Any], size: float, rng: np.random.Generator
) -> None:
    deltas = (size * rng.standard_normal((1, 900))).astype(dtype)
    merged = method(deltas, np.ones(1), density=0.4, **RESCALED)
    kept = merged != 0
    assert np.count_nonzero(kept) == 360
    assert np.abs(merged).sum() == pytest.approx(np.abs(deltas).sum(), rel=1e-5)
    factors = merged[kept] / deltas[0, kept]
    assert factors.min() > 1
    np.testing.assert_allclose(factors, factors[0], rtol=1e-6)


def test_keeping_everything_changes_nothing(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((3, 200)).astype(dtype), np.array([1.0, -0.5, 2.0])
    for method, how in ((ties, {"density": 1.0}), (breadcrumbs, {"density": 1.0, "gamma": 0.0})):
        assert method(deltas, weights, **how, **RESCALED).tobytes() == method(deltas, weights, **how).tobytes()


def test_the_numbers_are_the_band_and_the_factor() -> None:
    numbers = KEPT.whole(np.array([[9.0, -3.0, 2.0, 1.0]]), {"density": 0.5, "gamma": 0.25, **RESCALED})
    assert numbers.tolist() == [[3.0, 2.0, 3.0]]
