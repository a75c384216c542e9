"""The sum, where enough tasks want it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.consensus_ta import consensus_ta as loop
from taskvec.errors import RecipeError
from taskvec.merge.methods import consensus_ta, task_arithmetic

from .inputs import Array, assert_agree, each, flat, quarters, stacks

TALLS = st.sampled_from([0.0, 0.25, 0.5, 1.0])  # no rounding in multiples of 2⁻¹⁰, so that equality is equality


@given(st.data(), stacks(tasks=st.integers(2, 5), step=2.0**-10))
def test_matches_the_slow_loop(dtype: np.dtype, data: st.DataObject, stack: Array) -> None:
    tasks = len(stack)
    weights, k = data.draw(quarters(tasks)), data.draw(st.integers(1, tasks))
    tall = data.draw(st.one_of(TALLS, st.lists(TALLS, min_size=tasks, max_size=tasks).map(tuple)))
    deltas = stack.astype(dtype)
    expected = loop(flat(stack), weights, tall=each(tall, tasks), k=k)
    merged = consensus_ta(deltas, np.array(weights), tall=tall, k=float(k))
    assert_agree(merged, expected, deltas, np.abs(np.array(weights) @ np.abs(stack).reshape(tasks, -1)))


def test_masks_of_0_and_1_task_are_task_arithmetic(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((3, 200)).astype(dtype), np.array([0.5, 1.0, 2.0])
    merged = consensus_ta(deltas, weights, tall=0.0, k=1.0)
    assert merged.tobytes() == task_arithmetic(deltas, weights).tobytes()


def test_selfish_and_catastrophic_entries_go() -> None:
    """One task alone has the first; the sum overshoots all of the second; two want the third."""
    deltas = np.array([[5.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0.0, 1.0, 0.0]])
    assert consensus_ta(deltas, np.ones(3), tall=0.6, k=1.0).tolist() == [5.0, 0.0, 4.0]
    assert consensus_ta(deltas, np.ones(3), tall=0.6, k=2.0).tolist() == [0.0, 0.0, 4.0]
    assert not consensus_ta(deltas, np.ones(3), tall=0.6, k=3.0).any()


def test_a_larger_tall_and_a_larger_k_keep_less(rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((4, 5000))
    for settings in ({"k": (1.0, 2.0, 3.0, 4.0)}, {"tall": (0.2, 0.4, 0.6, 0.8)}):
        for name, values in settings.items():
            kept = [np.count_nonzero(consensus_ta(deltas, np.ones(4), **{name: value})) for value in values]
            assert kept == sorted(kept, reverse=True)
            assert len(set(kept)) == 4


def test_more_tasks_than_there_are_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"'k' is 3 and only 2 models are merged.*Type 'k: 2'"):
        consensus_ta(np.ones((2, 3)), np.ones(2), k=3.0)
