"""Drop by rank and rescale, then add."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.della import della_linear as loop
from taskvec.merge.methods import dare_linear, della_linear, task_arithmetic
from taskvec.ops.arrays import columns_of
from taskvec.ops.chance import Chance

from .inputs import Array, assert_agree, each, flat, quarters, shares, stacks

NAMES = ("math", "code", "law", "chat", "bio")


@settings(max_examples=20)
@given(st.data(), stacks(), st.sampled_from(["own", "none", "mergekit"]), st.integers(0, 9))
def test_matches_the_slow_loop(dtype: np.dtype, data: st.DataObject, stack: Array, rescale: str, seed: int) -> None:
    tasks = len(stack)
    weights, density, epsilon = data.draw(quarters(tasks)), data.draw(shares(tasks)), data.draw(shares(tasks, 0.0))
    source = {"seed": seed, "keys": NAMES[:tasks], "tensor": "layers.0.weight"}
    how = {"density": each(density, tasks), "epsilon": each(epsilon, tasks), "rescale": rescale, **source}
    columns = columns_of(stack.shape[1:])
    expected = loop(flat(stack), weights, columns=columns, **how)
    deltas = stack.astype(dtype)

    merged = della_linear(
        deltas, np.array(weights), density=density, epsilon=epsilon, rescale=rescale, chance=Chance(**source)
    )

    reach = loop(flat(np.abs(stack)), [abs(w) for w in weights], columns=columns, **how)
    assert_agree(merged, expected, deltas, reach)


def test_density_one_is_task_arithmetic(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((3, 8, 25)).astype(dtype), np.array([1.0, -0.5, 2.0])
    merged = della_linear(deltas, weights, density=1.0, epsilon=0.3)
    assert merged.tobytes() == task_arithmetic(deltas, weights).tobytes()


def test_epsilon_zero_is_dare_linear(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((3, 8, 250)).astype(dtype), np.array([1.0, -0.5, 2.0])
    merged = della_linear(deltas, weights, density=0.3, epsilon=0.0)
    assert merged.tobytes() == dare_linear(deltas, weights, density=0.3).tobytes()


def test_rows_of_equal_entries_are_dropped_as_dare_drops_them(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas = np.sign(rng.standard_normal((2, 30, 200))).astype(dtype)
    merged = della_linear(deltas, np.ones(2), density=0.3, epsilon=0.3)
    assert merged.tobytes() == dare_linear(deltas, np.ones(2), density=0.3).tobytes()


def test_ranks_are_taken_within_rows(dtype: np.dtype) -> None:
    """A row a thousand times larger than another keeps as much of itself."""
    rows = np.linspace(1, 2, 1000).reshape(2, 500) * np.array([[1.0], [1000.0]])
    merged = della_linear(rows[None].astype(dtype), np.ones(1), density=0.5, epsilon=0.5)
    kept = np.count_nonzero(merged, axis=1)
    assert np.all(np.abs(kept - 250) < 5 * 500**0.5 / 2)
    halves = np.count_nonzero(merged.reshape(2, 2, 250), axis=2)
    assert np.all(halves[:, 1] > 2 * halves[:, 0])
