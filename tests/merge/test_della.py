"""Drop by rank and rescale, then elect and merge."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.della import della as loop
from taskvec.merge.methods import dare_ties, della, della_linear, ties
from taskvec.ops.arrays import columns_of
from taskvec.ops.chance import Chance

from .inputs import Array, assert_agree, each, flat, quarters, shares, stacks

NAMES = ("math", "code", "law", "chat", "bio")


@settings(max_examples=12)
@given(st.data(), stacks(step=2.0**-10), st.integers(0, 9))
@pytest.mark.parametrize("combine", ["mean", "sum", "count"])
def test_matches_the_slow_loop(dtype: np.dtype, combine: str, data: st.DataObject, stack: Array, seed: int) -> None:
    tasks = len(stack)
    weights, density, epsilon = data.draw(quarters(tasks)), data.draw(shares(tasks)), data.draw(shares(tasks, 0.0))
    how = {
        "rescale": "none",  # quotients are rounded, and float32 would tie where float64 does not
        "elect": data.draw(st.sampled_from(["sum", "weighted", "count"])),
        "combine": combine,
        "tied": data.draw(st.sampled_from(["zero", "positive"])),
    }
    if tasks == 1:
        how["rescale"] = data.draw(st.sampled_from(["own", "mergekit"]))
    source = {"seed": seed, "keys": NAMES[:tasks], "tensor": "layers.0.weight"}
    given_each = {"density": each(density, tasks), "epsilon": each(epsilon, tasks)}
    expected = loop(flat(stack), weights, columns=columns_of(stack.shape[1:]), **given_each, **how, **source)
    deltas = stack.astype(dtype)

    merged = della(deltas, np.array(weights), density=density, epsilon=epsilon, **how, chance=Chance(**source))

    assert_agree(merged, expected, deltas, np.abs(expected))


def test_density_one_is_ties_that_keeps_all(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((3, 8, 25)).astype(dtype), np.array([1.0, -0.5, 2.0])
    merged = della(deltas, weights, density=1.0)
    assert merged.tobytes() == ties(deltas, weights, density=1.0).tobytes()


def test_epsilon_zero_is_dare_ties_without_trim(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((3, 8, 25)).astype(dtype), np.array([1.0, -0.5, 2.0])
    merged = della(deltas, weights, density=0.6, epsilon=0.0)
    assert merged.tobytes() == dare_ties(deltas, weights, density=0.6, trim=1.0).tobytes()


def test_one_task_is_della_linear(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas, chance = rng.standard_normal((1, 8, 25)).astype(dtype), Chance(seed=3)
    merged = della(deltas, np.ones(1), chance=chance)
    assert np.array_equal(merged, della_linear(deltas, np.ones(1), chance=chance))
