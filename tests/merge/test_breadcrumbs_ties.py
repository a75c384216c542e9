"""Drop the outliers and the small change, then elect and merge."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.breadcrumbs import breadcrumbs_ties as loop
from taskvec.merge.methods import breadcrumbs, breadcrumbs_ties, ties

from .inputs import Array, assert_agree, each, flat, quarters, shares, stacks


@settings(max_examples=15)
@given(st.data(), stacks(step=2.0**-10))
@pytest.mark.parametrize("combine", ["mean", "sum", "count"])
def test_matches_the_slow_loop(dtype: np.dtype, combine: str, data: st.DataObject, stack: Array) -> None:
    tasks = len(stack)
    weights, density = data.draw(quarters(tasks)), data.draw(shares(tasks))
    gamma = data.draw(st.one_of(st.just(0.0), shares(tasks, low=0.0)))
    how = {
        "elect": data.draw(st.sampled_from(["sum", "weighted", "count"])),
        "combine": combine,
        "tied": data.draw(st.sampled_from(["zero", "positive"])),
    }
    expected = loop(flat(stack), weights, density=each(density, tasks), gamma=each(gamma, tasks), **how)
    deltas = stack.astype(dtype)

    merged = breadcrumbs_ties(deltas, np.array(weights), density=density, gamma=gamma, **how)

    assert_agree(merged, expected, deltas, np.abs(expected))


def test_without_outliers_it_is_ties(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((3, 200)).astype(dtype), np.array([1.0, -0.5, 2.0])
    merged = breadcrumbs_ties(deltas, weights, density=0.3, gamma=0.0)
    assert merged.tobytes() == ties(deltas, weights, density=0.3).tobytes()


def test_one_task_of_weight_one_is_breadcrumbs(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((1, 200)).astype(dtype)
    merged = breadcrumbs_ties(deltas, np.ones(1), density=0.5, gamma=0.1)
    assert np.array_equal(merged, breadcrumbs(deltas, np.ones(1), density=0.5, gamma=0.1))


def test_an_outlier_has_no_vote(dtype: np.dtype) -> None:
    deltas = np.array([[-9.0, 3.0, 2.0, 1.0], [2.0, 3.0, 9.0, 1.0]], dtype)
    merged = breadcrumbs_ties(deltas, np.ones(2), density=0.75, gamma=0.25)
    assert merged.tolist() == [2.0, 3.0, 2.0, 1.0]
