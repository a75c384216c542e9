"""Singular values without an SVD: against numpy's on every kind of matrix; the measured error and what follows it."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from taskvec.ops import spectral
from taskvec.ops.spectral import CLOSE, Spectrum, above, gram, leading, reshaped, svd

Array = np.ndarray
SHAPES = [(40, 40), (90, 30), (30, 90), (1, 7), (7, 1), (64, 63)]


def with_values(rng: np.random.Generator, shape: tuple[int, int], values: Array, dtype: Any = np.float64) -> Array:
    """A matrix of given singular values."""
    u, v = (np.linalg.qr(rng.standard_normal((n, len(values))))[0] for n in shape)
    return ((u * values) @ v.T).astype(dtype)


def product(parts: Spectrum) -> Array:
    """u diag(s) vᵀ."""
    u, s, v = (np.asarray(part, np.float64) for part in parts)
    return (u * s) @ v.T


def relative(x: Array, y: Array) -> float:
    """|x - y| / |y|."""
    return float(np.linalg.norm(x - y) / np.linalg.norm(y))


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_values_and_vectors(shape: tuple[int, int], library: Any, rng: np.random.Generator) -> None:
    x = rng.standard_normal(shape)
    parts = svd(library(x))
    np.testing.assert_allclose(np.asarray(parts.s), np.linalg.svd(x, compute_uv=False), rtol=1e-9)
    assert relative(product(parts), x) < 1e-9
    for side in (parts.u, parts.v):
        np.testing.assert_allclose(np.asarray(side.T @ side), np.eye(min(shape)), atol=1e-7)


@pytest.mark.parametrize("rank", [1, 3, 9, 20, 31])
@pytest.mark.parametrize("power", [0.1, 0.6, 2.0])
def test_the_largest_are_the_best_approximation(rank: int, power: float, rng: np.random.Generator) -> None:
    """Eckart and Young: nothing of that rank is nearer."""
    values = np.arange(1, 121.0) ** -power
    for shape in ((150, 120), (120, 200)):
        x = with_values(rng, shape, values, np.float32)
        parts = svd(x, rank)
        best = np.linalg.norm(values[rank:])
        assert np.linalg.norm(x - product(parts)) <= best * (1 + 1e-6) + 1e-6
        np.testing.assert_allclose(parts.s, values[:rank], rtol=1e-5)
        exact = svd(x, rank, exact=True)
        assert relative(product(parts), product(exact)) < 1e-4


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_any_shape_and_rank(rows: int, columns: int, rank: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((rows, columns))
    parts = svd(x, rank)
    kept = min(rank, rows, columns)
    assert (parts.u.shape, parts.s.shape, parts.v.shape) == ((rows, kept), (kept,), (columns, kept))
    np.testing.assert_allclose(parts.s, np.linalg.svd(x, compute_uv=False)[:kept], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("power", [0.0, 0.05, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("rank", [2, 10, 60])
def test_the_measured_error_bounds_the_angle_to_the_true_subspace(
    rank: int, power: float, rng: np.random.Generator
) -> None:
    x = with_values(rng, (300, 200), np.arange(1, 201.0) ** -power * rng.uniform(0.9, 1.0, 200), np.float32)
    found, error = leading(x, rank)
    _, s, vt = np.linalg.svd(x.astype(np.float64))
    outside = vt[rank:] @ np.asarray(found.v, np.float64)  # sines
    true = np.linalg.norm(outside * np.asarray(found.s)) / np.linalg.norm(s[:rank])
    assert true <= 2 * error + 2e-6
    if error <= CLOSE:
        np.testing.assert_allclose(found.s, s[:rank], rtol=1e-5, atol=1e-7 * s[0])


def test_where_it_does_not_come_near_the_gram_matrix_is_decomposed(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """Equal values on both sides of the cut: no leading subspace is to be found, and that is seen."""
    values = np.concatenate([np.full(50, 2.0), np.full(300, 2.0 - 1e-9)])
    x = with_values(rng, (400, 350), values)
    assert leading(x, 10)[1] > CLOSE
    asked = []
    plain = spectral._by_gram
    monkeypatch.setattr(spectral, "_by_gram", lambda *args: asked.append(1) or plain(*args))
    parts = svd(x, 10)
    assert asked
    np.testing.assert_allclose(parts.s, 2.0, rtol=1e-7)
    asked.clear()
    svd(with_values(rng, (400, 350), np.arange(1, 351.0) ** -2.0), 10)
    assert not asked


def test_of_a_given_rank_nothing_is_drawn_anew(rng: np.random.Generator) -> None:
    x = rng.standard_normal((300, 250)).astype(np.float32)
    assert svd(x, 5).u.tobytes() == svd(x, 5).u.tobytes()


@pytest.mark.parametrize("rank", [None, 2, 12])
def test_values_that_are_rounding_are_zeros_with_their_vectors(rank: int | None, rng: np.random.Generator) -> None:
    for shape in ((60, 50), (50, 60)):
        parts = svd(with_values(rng, shape, np.array([3.0, 1.0, 2e-6, 1e-9]), np.float32), rank)
        real = 3 if rank is None or rank > 2 else 2
        assert not parts.s[real:].any()
        assert not parts.u[:, real:].any()
        assert not parts.v[:, real:].any()
        np.testing.assert_allclose(parts.s[:2], [3, 1], rtol=1e-5)
    assert not svd(np.zeros((9, 5)), 2).s.any()


def test_values_below_a_number_are_left_out() -> None:
    parts = above(svd(np.diag([3.0, 2.0, 1.0])), 1.5)
    assert parts.s.tolist() == [3.0, 2.0, 0.0]
    assert not parts.u[:, 2].any()
    assert not parts.v[:, 2].any()


def test_a_gram_matrix_of_float32_is_summed_in_float64(rng: np.random.Generator) -> None:
    x = rng.standard_normal((2000, 7)).astype(np.float32)
    np.testing.assert_allclose(gram(x), x.astype(np.float64).T @ x.astype(np.float64), rtol=1e-13)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_other_values_on_the_same_vectors(shape: tuple[int, int], rng: np.random.Generator) -> None:
    x = rng.standard_normal(shape)
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    np.testing.assert_allclose(reshaped(x, lambda s: s**2 + 1), (u * (s**2 + 1)) @ vt, rtol=1e-6, atol=1e-8)
