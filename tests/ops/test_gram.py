"""Inner products, the same bits however they are sliced."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from taskvec.ops.gram import BLOCK, ExactSum, cosines, fold, gram, gram_parts, grams_of, pair_parts, total

from .samples import SIZES, floats32

Twins = Callable[[str, Callable[[], Any]], tuple[Any, Any]]


@pytest.mark.parametrize("n", [*SIZES, BLOCK - 1, BLOCK, BLOCK + 1])
def test_gram_gives_the_same_bytes_fused_and_plain(twins: Twins, rng: np.random.Generator, n: int) -> None:
    stack = floats32(rng, 3, n)
    fused, plain = twins("gram_block", lambda: gram(stack))
    assert fused.tobytes() == plain.tobytes()


@pytest.mark.parametrize("n", [0, 5, BLOCK + 33])
def test_chosen_pairs_are_those_of_the_whole_matrix(twins: Twins, rng: np.random.Generator, n: int) -> None:
    rows, left, right = floats32(rng, 4, n), np.array([0, 3, 2, 1]), np.array([0, 1, 3, 0])
    fused, plain = twins("pairs", lambda: pair_parts(rows, left, right))
    assert fused.tobytes() == plain.tobytes()
    assert fused.tobytes() == np.array([part[left, right] for part in gram_parts(rows)]).tobytes()


@pytest.mark.parametrize("odd", [0.0, np.nan, np.inf])
def test_an_exact_sum_has_the_same_bytes_fused_and_plain(twins: Twins, rng: np.random.Generator, odd: float) -> None:
    terms = rng.standard_normal((40, 30)) * 10.0 ** rng.integers(-25, 25, (40, 1))
    terms[7, 3] += odd

    def added() -> Any:
        exact = ExactSum(30)
        for term in terms:
            exact.add(0, term)
        return exact.value

    fused, plain = twins("carry", added)
    assert fused.tobytes() == plain.tobytes()
    if not odd:
        assert fused.tolist() == [math.fsum(column) for column in terms.T]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_sum_of_any_slices_in_any_order_is_the_whole(kernels: str, rng: np.random.Generator, dtype: type) -> None:
    rows = (rng.standard_normal((3, 5 * BLOCK + 77)) * 10.0 ** rng.integers(-6, 6, 5 * BLOCK + 77)).astype(dtype)
    whole = gram(rows)
    for cuts in ([1, 2, 3, 4, 5], [2], [1, 4], [3, 5]):
        edges = [0, *(c * BLOCK for c in cuts), rows.shape[1]]
        slices = [rows[:, a:b] for a, b in pairwise(edges)]
        rng.shuffle(slices)
        parts = [part for s in slices for part in gram_parts(s)]
        assert total(parts).tobytes() == whole.tobytes()


@given(arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(0, 60)), elements=st.floats(-8, 8, width=32)))
def test_inner_products_are_right_to_the_last_bits_and_symmetric(kernels: str, rows: Any) -> None:
    matrix = gram(rows)
    wide = rows.astype(np.float64)
    assert np.array_equal(matrix, matrix.T)
    for i, j in np.ndindex(matrix.shape):
        products = wide[i] * wide[j]
        assert abs(matrix[i, j] - math.fsum(products)) <= 1e-14 * np.abs(products).sum()


def test_large_terms_that_cancel_between_blocks_lose_nothing(kernels: str) -> None:
    row = np.zeros((1, 3 * BLOCK))
    row[0, [0, BLOCK, 2 * BLOCK]] = 1e10, 1e-3, 1e10
    other = row * np.repeat([1, 1, -1], BLOCK)
    assert gram(np.concatenate([row, other]))[0, 1] == 1e-3 * 1e-3


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0,), (0, 3)])
def test_any_shape_counts_as_one_vector(kernels: str, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    stack = rng.standard_normal((2, *shape)).astype(np.float32)
    assert gram(stack).tobytes() == gram(stack.reshape(2, -1)).tobytes()


def test_torch_gives_the_same(rng: np.random.Generator) -> None:
    stack = rng.standard_normal((2, 30)).astype(np.float32)
    assert gram(torch.from_numpy(stack)).tobytes() == gram(stack).tobytes()


def test_cosines_are_one_on_the_diagonal_and_never_beyond(rng: np.random.Generator) -> None:
    x = rng.standard_normal(1000)
    stack = np.stack([x, 3 * x, -x / 7, 0 * x])
    angles = cosines(gram(stack))
    assert np.array_equal(np.diag(angles), np.ones(4))
    assert np.abs(angles).max() <= 1
    assert angles[0, 1] == pytest.approx(1, abs=1e-15)
    assert angles[0, 2] == pytest.approx(-1, abs=1e-15)
    assert angles[0, 3] == 0


@pytest.mark.parametrize("size", [1e-30, 1e-10, 1e10])
def test_cosines_do_not_depend_on_the_scale(rng: np.random.Generator, size: float) -> None:
    stack = rng.standard_normal((3, 100))
    np.testing.assert_allclose(cosines(gram(size * stack)), cosines(gram(stack)), rtol=1e-13)


@pytest.mark.parametrize("over", ["row", "column"])
@pytest.mark.parametrize("columns", [1, 3, 100, BLOCK, BLOCK + 7])
def test_matrices_of_rows_and_columns_are_those_of_the_rows_and_columns(
    over: Literal["row", "column"], columns: int, rng: np.random.Generator
) -> None:
    count = max(1, 20_000 // columns) * columns
    rows = rng.standard_normal((2, count)).astype(np.float32)
    held = ExactSum(2, 2, count // columns if over == "row" else columns)
    for first, term in grams_of(rows, 0, columns, over):
        held.add(first, term)
    cut = rows.reshape(2, -1, columns).astype(np.float64)
    axes = "irc,jrc->ijr" if over == "row" else "irc,jrc->ijc"
    np.testing.assert_allclose(held.value, np.einsum(axes, cut, cut), rtol=1e-12, atol=1e-12)


def test_an_exact_sum_is_rounded_once_in_any_order(rng: np.random.Generator) -> None:
    terms = rng.standard_normal((200, 3)) * 10.0 ** rng.integers(-20, 20, (200, 3))
    expected = [math.fsum(column) for column in terms.T.tolist()]
    for order in (np.arange(200), np.arange(200)[::-1], rng.permutation(200)):
        held = ExactSum(3)
        for term in terms[order]:
            held.add(0, term)
        assert held.value.tolist() == expected
        assert len(held.carried) < 8


def test_an_exact_sum_of_what_is_not_finite_is_not_finite_and_holds_no_more(rng: np.random.Generator) -> None:
    held = ExactSum(2)
    for term in ([np.inf, 1.0], [1.0, np.nan], [-np.inf, 1e300], [2.0, 3.0]):
        held.add(0, np.array(term))
    assert np.isnan(held.value).all()
    assert len(held.carried) < 4


def test_folded_matrices_have_the_same_sum_to_the_bit(rng: np.random.Generator) -> None:
    parts = list(rng.standard_normal((300, 2, 2)) * 10.0 ** rng.integers(-20, 20, (300, 1, 1)))
    folded = fold(parts)
    assert len(folded) < 8
    assert total(folded).tobytes() == total(parts).tobytes()
    more = rng.standard_normal((2, 2)) - total(parts)
    assert total([*folded, more]).tobytes() == total([*parts, more]).tobytes()
    assert fold([np.zeros((2, 2))])[0].tolist() == [[0, 0], [0, 0]]
    assert np.isnan(fold([np.full((1, 1), np.inf), np.full((1, 1), -np.inf)])[0]).all()
