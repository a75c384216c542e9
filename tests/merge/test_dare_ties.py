"""Drop and rescale, then trim, elect, merge."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.dare import dare_ties as loop
from taskvec.merge.methods import dare_linear, dare_ties, ties
from taskvec.ops.chance import Chance

from .inputs import Array, assert_agree, each, flat, quarters, shares, stacks

NAMES = ("math", "code", "law", "chat", "bio")


@settings(max_examples=15)
@given(st.data(), stacks(step=2.0**-10), st.booleans(), st.integers(0, 9))
@pytest.mark.parametrize("combine", ["mean", "sum", "count"])
def test_matches_the_slow_loop(
    dtype: np.dtype, combine: str, data: st.DataObject, stack: Array, rescale: bool, seed: int
) -> None:
    tasks = len(stack)
    weights, density = data.draw(quarters(tasks)), data.draw(shares(tasks))
    trim = data.draw(shares(tasks))
    how = {
        "rescale": rescale,
        "elect": data.draw(st.sampled_from(["sum", "weighted", "count"])),
        "combine": combine,
        "tied": data.draw(st.sampled_from(["zero", "positive"])),
    }
    source = {"seed": seed, "keys": NAMES[:tasks], "tensor": "layers.0.weight"}
    if rescale:  # halves divide exactly, so that float32 ties where float64 does
        density = 0.5
    expected = loop(flat(stack), weights, density=each(density, tasks), trim=each(trim, tasks), **how, **source)
    deltas = stack.astype(dtype)

    merged = dare_ties(deltas, np.array(weights), density=density, trim=trim, **how, chance=Chance(**source))

    assert_agree(merged, expected, deltas, np.abs(expected))


def test_density_one_is_ties(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((3, 200)).astype(dtype), np.array([1.0, -0.5, 2.0])
    merged = dare_ties(deltas, weights, density=1.0, trim=0.2)
    assert merged.tobytes() == ties(deltas, weights, density=0.2).tobytes()


def test_one_task_without_trim_is_dare_linear(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas, chance = rng.standard_normal((1, 200)).astype(dtype), Chance(seed=3)
    merged = dare_ties(deltas, np.ones(1), density=0.3, trim=1.0, chance=chance)
    assert np.array_equal(merged, dare_linear(deltas, np.ones(1), density=0.3, chance=chance))


def test_every_survivor_is_kept_where_the_trim_exceeds_their_share(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas, chance = rng.standard_normal((2, 500)).astype(dtype), Chance(seed=3)
    loose = dare_ties(deltas, np.ones(2), density=0.1, trim=0.2, chance=chance)
    none = dare_ties(deltas, np.ones(2), density=0.1, trim=1.0, chance=chance)
    tight = dare_ties(deltas, np.ones(2), density=0.1, trim=0.05, chance=chance)
    assert loose.tobytes() == none.tobytes()
    assert 0 < np.count_nonzero(tight) < np.count_nonzero(loose)
