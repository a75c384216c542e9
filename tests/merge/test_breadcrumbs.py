"""Drop the outliers and the small change, then add."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reference.breadcrumbs import breadcrumbs as loop
from taskvec.merge.methods import breadcrumbs, task_arithmetic

from .inputs import Array, assert_agree, each, flat, quarters, shares, stacks


@given(st.data(), stacks(), st.sampled_from(["none", "mergekit"]))
def test_matches_the_slow_loop(dtype: np.dtype, data: st.DataObject, stack: Array, rescale: str) -> None:
    tasks = len(stack)
    weights, density = data.draw(quarters(tasks)), data.draw(shares(tasks))
    gamma = data.draw(st.one_of(st.just(0.0), st.just(1.0), shares(tasks, low=0.0)))
    how = {"density": each(density, tasks), "gamma": each(gamma, tasks), "rescale": rescale}
    expected, reach = loop(flat(stack), weights, **how), loop(flat(np.abs(stack)), [abs(w) for w in weights], **how)
    deltas = stack.astype(dtype)

    merged = breadcrumbs(deltas, np.array(weights), density=density, gamma=gamma, rescale=rescale)

    assert_agree(merged, expected, deltas, reach)


def test_keeping_everything_is_task_arithmetic(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((3, 200)).astype(dtype), np.array([1.0, -0.5, 2.0])
    merged = breadcrumbs(deltas, weights, density=1.0, gamma=0.0)
    assert merged.tobytes() == task_arithmetic(deltas, weights).tobytes()


def test_outliers_that_are_equal_to_the_first_one_kept_stay(dtype: np.dtype) -> None:
    deltas = np.array([[9.0, 5.0, -5.0, 5.0, 1.0]], dtype)
    assert breadcrumbs(deltas, np.ones(1), density=0.4, gamma=0.4).tolist() == [0, 5, -5, 5, 0]


def test_rescaling_nothing_gives_nothing(dtype: np.dtype) -> None:
    """The outlier is all there is: what is kept are zeros."""
    deltas = np.array([[9.0, 0.0, 0.0, 0.0]], dtype)
    assert not breadcrumbs(deltas, np.ones(1), density=0.5, gamma=0.25, rescale="mergekit").any()
