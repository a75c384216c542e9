"""Polar factors and nuclear norms: both ways against an SVD, and what is said where there is none."""

from typing import Any

import numpy as np
import pytest
import torch

from taskvec.ops import polar as module
from taskvec.ops.polar import TOLERANCE, by_products, nuclear_norm, polar, weights

from .test_spectral import SHAPES, with_values

Array = np.ndarray


def exact(x: Array) -> Array:
    """U Vᵀ."""
    u, _, vt = np.linalg.svd(x.astype(np.float64), full_matrices=False)
    return u @ vt


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("power", [0.0, 1.0, 2.5])
def test_both_ways_are_the_svds(shape: tuple[int, int], power: float, library: Any, rng: np.random.Generator) -> None:
    x = with_values(rng, shape, 1e-3 * np.arange(1, min(shape) + 1.0) ** -power)
    expected = exact(x)
    np.testing.assert_allclose(np.asarray(polar(library(x))), expected, atol=1e-6)
    found, error = by_products(library(x))
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-6)
    assert error <= TOLERANCE
    assert nuclear_norm(library(x), found) == pytest.approx(np.linalg.svd(x, compute_uv=False).sum(), rel=1e-6)


def test_down_to_a_millionth(rng: np.random.Generator) -> None:
    x = with_values(rng, (50, 40), np.geomspace(1, 2e-6, 40))
    found, error = by_products(x)
    assert error <= TOLERANCE
    np.testing.assert_allclose(found, exact(x), atol=1e-6)
    np.testing.assert_allclose(polar(x), exact(x), atol=1e-4)


def test_values_between_nothing_and_a_millionth_are_told(rng: np.random.Generator) -> None:
    x = with_values(rng, (30, 20), np.array([1.0, 0.5, 1e-9]))
    assert by_products(x)[1] > TOLERANCE
    low_rank = with_values(rng, (30, 20), np.array([1.0, 0.5, 0.2]))
    u, s, vt = np.linalg.svd(low_rank, full_matrices=False)
    np.testing.assert_allclose(polar(low_rank), u[:, :3] @ vt[:3], atol=1e-9)
    assert s[3] < 1e-12


@pytest.mark.parametrize("way", [polar, lambda x: by_products(x)[0]])
def test_zeros_stay(way: Any) -> None:
    for shape in ((4, 6), (6, 4), (3, 3)):
        assert not way(np.zeros(shape)).any()


def test_float32_stays_float32(rng: np.random.Generator) -> None:
    x = rng.standard_normal((20, 30)).astype(np.float32)
    assert polar(x).dtype == by_products(x)[0].dtype == np.float32
    np.testing.assert_allclose(by_products(x)[0], exact(x), atol=1e-5)


class Elsewhere(torch.Tensor):
    """A tensor that says it is on an accelerator."""

    @property
    def device(self) -> Any:  # type: ignore[override]
        """Not a processor's."""
        return "meta:0"


def test_on_an_accelerator_products_are_taken_and_checked(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    x = torch.from_numpy(rng.standard_normal((20, 12)))
    asked, plain = [], module.by_products

    def watched(x: Any) -> Any:
        asked.append(1)
        return plain(torch.Tensor(x).to(torch.float64).as_subclass(torch.Tensor))

    monkeypatch.setattr(module, "by_products", watched)
    found = polar(x.as_subclass(Elsewhere))
    assert asked
    np.testing.assert_allclose(found.numpy(), exact(x.numpy()), atol=1e-6)
    monkeypatch.setattr(module, "by_products", lambda x: (x, 1.0))
    monkeypatch.setattr(module, "reshaped", lambda x, values: torch.full(x.shape, 7.0))
    assert (polar(x.as_subclass(Elsewhere)) == 7).all()


@pytest.mark.parametrize("low", [1e-12, 1e-6, 1e-2, 0.5, 0.999])
def test_a_step_brings_all_values_nearer_to_one(low: float) -> None:
    a, b, c = weights(low)
    s = np.geomspace(low, 1, 200)
    after = s * (a + b * s**2) / (1 + c * s**2)
    assert after.max() <= 1 + 1e-9
    assert after.min() == pytest.approx(low * (a + b * low**2) / (1 + c * low**2))
    assert after.min() > min(0.99, 2 * low)
