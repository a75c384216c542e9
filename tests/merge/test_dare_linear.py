"""Drop and rescale, then add."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reference.dare import dare_linear as loop
from taskvec.merge.methods import dare_linear, task_arithmetic
from taskvec.ops.chance import Chance

from .inputs import Array, assert_agree, each, flat, quarters, shares, stacks

NAMES = ("math", "code", "law", "chat", "bio")


@given(st.data(), stacks(), st.booleans(), st.integers(0, 9))
def test_matches_the_slow_loop(dtype: np.dtype, data: st.DataObject, stack: Array, rescale: bool, seed: int) -> None:
    tasks = len(stack)
    weights, density = data.draw(quarters(tasks)), data.draw(shares(tasks))
    source = {"seed": seed, "keys": NAMES[:tasks], "tensor": "layers.0.weight"}
    expected = loop(flat(stack), weights, density=each(density, tasks), rescale=rescale, **source)
    deltas = stack.astype(dtype)

    merged = dare_linear(deltas, np.array(weights), density=density, rescale=rescale, chance=Chance(**source))

    p = np.array(each(density, tasks)) if rescale else np.ones(tasks)
    assert_agree(merged, expected, deltas, np.tensordot(np.abs(weights) / p, np.abs(stack), 1))


def test_density_one_is_task_arithmetic(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((3, 200)).astype(dtype), np.array([1.0, -0.5, 2.0])
    merged = dare_linear(deltas, weights, density=1.0)
    assert merged.tobytes() == task_arithmetic(deltas, weights).tobytes()


def test_without_rescaling_every_entry_is_kept_as_it_is_or_dropped(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((1, 400)).astype(dtype)
    merged = dare_linear(deltas, np.ones(1), density=0.3, rescale=False)
    kept = merged == deltas[0]
    assert np.all(kept | (merged == 0))
    assert 80 < kept.sum() < 160
