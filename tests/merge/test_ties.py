"""Trim, elect, merge."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.ties import ties as loop
from taskvec.merge.methods import ties

from .inputs import Array, assert_agree, each, flat, quarters, shares, stacks


@settings(max_examples=15)
@given(st.data(), stacks(step=2.0**-10))
@pytest.mark.parametrize("combine", ["mean", "sum", "count"])
def test_matches_the_slow_loop(dtype: np.dtype, combine: str, data: st.DataObject, stack: Array) -> None:
    tasks = len(stack)
    weights, density = data.draw(quarters(tasks)), data.draw(shares(tasks))
    elect, tied = data.draw(st.sampled_from(["sum", "weighted", "count"])), data.draw(st.booleans())
    how = {"elect": elect, "combine": combine, "tied": "positive" if tied else "zero"}
    expected = loop(flat(stack), weights, density=each(density, tasks), **how)
    deltas = stack.astype(dtype)

    merged = ties(deltas, np.array(weights), density=density, **how)

    # All terms of an entry's sum have one sign, so that the result itself is their size.
    assert_agree(merged, expected, deltas, np.abs(expected))


@given(stacks(step=2.0**-10))
def test_density_one_of_one_task_is_the_task(dtype: np.dtype, stack: Array) -> None:
    deltas = stack[:1].astype(dtype)
    merged = ties(deltas, np.ones(1), density=1.0)
    assert np.array_equal(merged, deltas[0])


def test_the_smallest_density_keeps_one_entry(dtype: np.dtype) -> None:
    deltas = np.array([[0.0, 3.0, -4.0]], dtype)
    assert ties(deltas, np.ones(1), density=1e-9).tolist() == [0, 0, -4]


def test_a_negative_weight_turns_its_task_around_before_the_vote(dtype: np.dtype) -> None:
    deltas = np.array([[1.0, 1.0], [2.0, -2.0]], dtype)
    assert ties(deltas, np.array([1.0, -1.0]), density=1.0).tolist() == [-2.0, 1.5]


def test_agreement_is_never_outside_the_entries_that_agree(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((4, 300)).astype(dtype)
    merged = ties(deltas, np.array([1.0, 0.5, 2.0, 0.25]), density=0.6)
    step = 1 + 4 * np.finfo(dtype).eps
    assert merged.any()
    assert np.all(merged <= deltas.max(0).clip(0) * step)
    assert np.all(merged >= deltas.min(0).clip(max=0) * step)
