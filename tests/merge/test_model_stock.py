"""The average, shortened by disagreement."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from reference.model_stock import model_stock as loop
from taskvec.merge.methods import model_stock
from taskvec.merge.methods.model_stock import PRODUCTS, interpolation_ratio
from taskvec.merge.statistics import Question
from taskvec.ops.chance import Chance
from taskvec.ops.gram import BLOCK, gram
from taskvec.ops.slices import Slice

from .inputs import Array, assert_agree, flat, stacks


@given(stacks(tasks=st.integers(2, 5)))
def test_matches_the_slow_loop(dtype: np.dtype, stack: Array) -> None:
    deltas = stack.astype(dtype)
    merged = model_stock(deltas, np.ones(len(stack)))
    assert_agree(merged, loop(flat(stack)), deltas, np.abs(stack).mean(0))


@given(array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=6), st.integers(2, 5), st.integers(0, 9))
def test_rows_match_the_slow_loop(dtype: np.dtype, shape: tuple[int, ...], tasks: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    deltas = (rng.standard_normal((tasks, *shape)) + rng.standard_normal(shape)).astype(np.float32).astype(dtype)
    merged = model_stock(deltas, np.ones(tasks), over="row")
    wide = deltas.astype(np.float64)
    assert_agree(merged, loop(flat(wide), columns=math.prod(shape[1:])), deltas, np.abs(wide).mean(0))


@pytest.mark.parametrize("shape", [(), (7,), (1, 7)])
def test_what_has_one_axis_or_one_row_is_one_vector(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((3, *shape)) + 1
    assert model_stock(deltas, np.ones(3), over="row").tobytes() == model_stock(deltas, np.ones(3)).tobytes()


def test_each_row_has_its_own_ratio() -> None:
    deltas = np.array([[[1.0, 0.0], [2.0, 4.0]], [[0.0, 1.0], [2.0, 4.0]]])
    np.testing.assert_allclose(model_stock(deltas, np.ones(2), over="row"), [[0, 0], [2, 4]], rtol=1e-15)


@pytest.mark.parametrize("shape", [(130, 170), (4, 5000), (17_000, 1)])
def test_slices_of_flat_tensors_give_the_bytes_of_the_whole(
    kernels: str, shape: tuple[int, int], rng: np.random.Generator
) -> None:
    deltas = (rng.standard_normal((6, *shape)) + 1).astype(np.float32)
    whole = model_stock(deltas, np.ones(6), over="row")
    rows, columns, how = deltas.reshape(6, -1), shape[1], {"over": "row"}
    search = PRODUCTS.search(Question(6, rows.shape[1], rows.dtype, how, lambda: rows[:, :0], columns=columns))
    for start, stop in ((BLOCK, rows.shape[1]), (0, BLOCK)):
        finite, seen = search.look(Slice.of(np.ascontiguousarray(rows[:, start:stop]), Chance(start=start)))
        assert finite
        search.add(start, seen)
    search.end_pass()
    assert search.value.tobytes() == PRODUCTS.whole(deltas, how).tobytes()
    parts = [
        model_stock(rows[:, a:b], np.ones(6), over="row", gram=search.value, place=(a, columns))
        for a, b in pairwise((0, 1, BLOCK, BLOCK + 99, rows.shape[1]))
    ]
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert model_stock(torch.from_numpy(deltas), np.ones(6), over="row").numpy().tobytes() == whole.tobytes()


@given(stacks(tasks=st.integers(2, 5)))
def test_the_ratio_never_leaves_zero_to_one(stack: Array) -> None:
    assert 0 <= interpolation_ratio(gram(stack)) <= 1


def test_orthogonal_task_vectors_give_the_base() -> None:
    assert not model_stock(np.eye(3), np.ones(3)).any()


@pytest.mark.parametrize("cos", [0.1, 0.5, 0.9])
def test_two_models_follow_equation_4(cos: float) -> None:
    deltas = np.array([[1.0, 0.0], [cos, (1 - cos**2) ** 0.5]])
    assert interpolation_ratio(gram(deltas)) == pytest.approx(2 * cos / (1 + cos), rel=1e-14)


def test_a_task_vector_of_zeros_disagrees_with_all(rng: np.random.Generator) -> None:
    x = rng.standard_normal(20)
    same, with_zero = np.stack([x, x, x]), np.stack([x, x, 0 * x])
    assert interpolation_ratio(gram(same)) == pytest.approx(1, abs=1e-14)
    assert interpolation_ratio(gram(with_zero)) == pytest.approx(3 / 3 / (1 + 2 / 3), abs=1e-14)
