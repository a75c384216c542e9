"""The arc between two models."""

import math

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from reference.slerp import angle
from reference.slerp import slerp as loop
from taskvec.merge.methods import linear, slerp

from .inputs import Array, assert_agree, flat, stacks


@given(stacks(tasks=st.just(2)), st.one_of(st.just(0.5), st.floats(0, 1)))
@example(np.array([0.3, -0.7]), 0.5).via("opposite, but for rounding")
@example(np.array([[0.1, 0.2, 0.3], [-0.3, -0.6, -0.9]]), 0.3).via("opposite, but for rounding")
def test_matches_the_slow_loop(dtype: np.dtype, stack: Array, t: float) -> None:
    stack = stack.astype(np.float32).astype(np.float64) if dtype == np.float32 else stack
    sine = math.sin(omega := angle(*flat(stack)))
    assume(omega < 1.6 or sine > 0.1 or sine < 1e-6)  # near the pole the arc is anybody's guess
    models = stack.astype(dtype)

    merged = slerp(models, np.ones(2), t=t)

    reach = np.abs(stack).sum(0) / (1 if omega < 1.6 else max(sine, 1e-6 if sine > 1e-6 else 1))
    assert_agree(merged, loop(flat(stack), t), models, reach)


@pytest.mark.parametrize("t", [0.0, 1.0])
def test_the_ends_are_the_models(dtype: np.dtype, t: float, rng: np.random.Generator) -> None:
    models = rng.standard_normal((2, 100)).astype(dtype)
    assert np.array_equal(slerp(models, np.ones(2), t=t), models[int(t)])


def test_the_arc_keeps_the_length(rng: np.random.Generator) -> None:
    models = rng.standard_normal((2, 100))
    models /= np.linalg.norm(models, axis=1, keepdims=True)
    for t in (0.1, 0.5, 0.8):
        assert np.linalg.norm(slerp(models, np.ones(2), t=t)) == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize(
    "models",
    [[[1.0, -2.0], [-2.0, 4.0]], [[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [3.0, 6.0]], [[0.3, 0.1], [0.0, 0.0]]],
    ids=["opposite", "parallel", "first is zero", "second is zero"],
)
def test_the_straight_line_is_taken_where_there_is_no_arc(models: list[list[float]]) -> None:
    line = linear(np.array(models), np.array([0.75, 0.25]))
    np.testing.assert_allclose(slerp(np.array(models), np.ones(2), t=0.25), line, rtol=1e-14, atol=1e-15)
