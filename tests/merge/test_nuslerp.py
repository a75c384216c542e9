"""The arc, with weights; over tensors, rows and columns."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from reference.nuslerp import nuslerp as loop
from reference.slerp import angle
from taskvec.errors import RecipeError
from taskvec.merge.methods import linear, nuslerp, slerp
from taskvec.merge.methods.nuslerp import PRODUCTS
from taskvec.merge.statistics import Question
from taskvec.ops.chance import Chance
from taskvec.ops.gram import BLOCK
from taskvec.ops.slices import Slice

from .inputs import Array, assert_agree, flat, stacks


@given(stacks(tasks=st.just(2)), st.floats(0, 4))
def test_matches_the_slow_loop(dtype: np.dtype, stack: Array, weight: float) -> None:
    sine = math.sin(omega := angle(*flat(stack)))
    assume(omega < 1.6 or sine > 0.1)  # near the pole the arc is anybody's guess
    models = stack.astype(dtype)
    merged = nuslerp(models, np.array([1.0, weight]))
    reach = np.abs(stack).sum(0) / (1 if omega < 1.6 else sine)
    assert_agree(merged, loop(flat(stack), [1.0, weight]), models, reach)


@given(
    array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=6), st.sampled_from(["row", "column"]), st.integers(0, 9)
)
def test_rows_and_columns_match_the_slow_loop(dtype: np.dtype, shape: tuple[int, ...], over: str, seed: int) -> None:
    assume(shape[0] > 1)  # one row is one vector
    models = (np.random.default_rng(seed).standard_normal((2, *shape)) + 2).astype(np.float32).astype(dtype)
    columns = math.prod(shape[1:])
    merged = nuslerp(models, np.array([0.5, 0.75]), over=over)
    expected = loop(flat(models.astype(np.float64)), [0.5, 0.75], over=over, columns=columns)
    assert_agree(merged, expected, models, 4 * np.abs(models.astype(np.float64)).sum(0))


@pytest.mark.parametrize("weights", [[1.0, 1.0], [0.2, 0.6], [2.0, -0.5]])
def test_over_tensors_it_is_slerp(dtype: np.dtype, weights: list[float], rng: np.random.Generator) -> None:
    models = rng.standard_normal((2, 20, 30)).astype(dtype)
    t = weights[1] / sum(weights)
    assert nuslerp(models, np.array(weights)).tobytes() == slerp(models, np.ones(2), t=t).tobytes()


@pytest.mark.parametrize("over", ["tensor", "row", "column"])
@pytest.mark.parametrize("shape", [(), (7,), (1, 7)])
def test_what_has_one_axis_or_one_row_is_one_vector(
    over: str, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    models = rng.standard_normal((2, *shape))
    whole = nuslerp(models.reshape(2, -1), np.ones(2))
    assert nuslerp(models, np.ones(2), over=over).reshape(-1).tobytes() == whole.tobytes()


@pytest.mark.parametrize(
    ("over", "shape"),
    [("row", (300, 170)), ("row", (4, 5000)), ("row", (2000, 9)), ("column", (130, 170)), ("column", (17_000, 1))],
)
def test_slices_of_flat_tensors_give_the_bytes_of_the_whole(
    kernels: str, over: str, shape: tuple[int, int], rng: np.random.Generator
) -> None:
    models, weights = rng.standard_normal((2, *shape)).astype(np.float32), np.array([0.3, 0.9])
    whole = nuslerp(models, weights, over=over)
    rows, columns = models.reshape(2, -1), shape[1]
    for cuts in ((0, BLOCK, rows.shape[1]), (0, rows.shape[1])):
        search = PRODUCTS.search(
            Question(*rows.shape, rows.dtype, {"over": over}, lambda: rows[:, :0], columns=columns)
        )
        for start, stop in reversed(list(pairwise(cuts))):
            finite, seen = search.look(Slice.of(np.ascontiguousarray(rows[:, start:stop]), Chance(start=start)))
            assert finite
            search.add(start, seen)
        search.end_pass()
        found = search.value
        assert found.tobytes() == PRODUCTS.whole(models, {"over": over}).tobytes()
        parts = [
            nuslerp(rows[:, start:stop], weights, over=over, gram=found, place=(start, columns))
            for start, stop in pairwise((0, 1, BLOCK, BLOCK + 99, rows.shape[1]))
        ]
        assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert nuslerp(torch.from_numpy(models), weights, over=over).numpy().tobytes() == whole.tobytes()


@pytest.mark.parametrize("over", ["tensor", "row", "column"])
def test_a_vector_of_zeros_goes_the_straight_line_where_mergekit_takes_a_right_angle(over: str) -> None:
    """Its cosine with a vector of zeros is 0, so that half of a model and nothing is 0.71 of the model."""
    models = np.stack([np.zeros((2, 2)), np.array([[3.0, 1.0], [2.0, 5.0]])])
    half = nuslerp(models, np.ones(2), over=over)
    np.testing.assert_allclose(half, linear(models, np.ones(2)), rtol=1e-15)


def test_there_is_no_threshold_on_the_angle() -> None:
    models = np.array([[1.0, 0.0], [math.cos(0.01), math.sin(0.01)]])
    half = nuslerp(models, np.ones(2))
    assert np.linalg.norm(half) == pytest.approx(1, abs=1e-12)
    assert np.linalg.norm(linear(models, np.ones(2))) < 1 - 1e-5


def test_weights_that_sum_to_0_are_refused_where_mergekit_takes_the_middle() -> None:
    with pytest.raises(RecipeError, match=r"weights \[1.0, -1.0\] sum to 0. Type other weights."):
        nuslerp(np.eye(2), np.array([1.0, -1.0]))
