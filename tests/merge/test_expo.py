"""Beyond a model."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reference.expo import expo as loop
from taskvec.merge.methods import expo, task_arithmetic

from .inputs import Array, assert_agree, flat, stacks


@given(stacks(tasks=st.just(1)), st.integers(-16, 16))
def test_matches_the_slow_loop(dtype: np.dtype, stack: Array, eighths: int) -> None:
    deltas = stack.astype(dtype)
    merged = expo(deltas, np.ones(1), alpha=eighths / 8)
    assert_agree(merged, loop(flat(stack), alpha=eighths / 8), deltas, (1 + abs(eighths / 8)) * np.abs(stack[0]))


def test_alpha_0_is_the_model_and_minus_1_the_base(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((1, 50)).astype(dtype)
    assert np.array_equal(expo(deltas, np.ones(1), alpha=0.0), deltas[0])
    assert not expo(deltas, np.ones(1), alpha=-1.0).any()


def test_it_is_task_arithmetic_with_a_weight_of_1_plus_alpha(dtype: np.dtype, rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((1, 50)).astype(dtype)
    same = task_arithmetic(deltas, np.array([1.3]))
    assert expo(deltas, np.ones(1), alpha=0.3).tobytes() == same.tobytes()
