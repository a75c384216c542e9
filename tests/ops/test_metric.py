"""Metrics: what each does is what its matrix does."""

from typing import Any

import numpy as np
import pytest
import torch

from taskvec.ops import metric as m
from taskvec.ops.atoms import Atoms

from .metrics import MAKERS, diagonal, kronecker, psd, rotated, spread

SHAPES = [(6, 5), (1, 7), (7, 1), (4, 9)]
EVERY = pytest.mark.parametrize("kind", MAKERS)
SIZES = pytest.mark.parametrize("shape", SHAPES, ids=str)


def atoms(rng: np.random.Generator, shape: tuple[int, int], p: int = 4) -> tuple[Atoms, np.ndarray]:
    """Atoms that are no basis of anything, and the same as a matrix."""
    u, v = rng.standard_normal((shape[0], p)), rng.standard_normal((shape[1], p))
    return Atoms(u, v), np.stack([np.outer(u[:, i], v[:, i]).ravel() for i in range(p)], axis=1)


@EVERY
@SIZES
def test_it_does_what_its_matrix_does(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> None:
    metric, matrix = MAKERS[kind](rng, *shape)
    x = rng.standard_normal(shape)
    np.testing.assert_allclose(metric.apply(x).ravel(), matrix @ x.ravel(), rtol=1e-10, atol=1e-10)


@EVERY
@SIZES
def test_on_atoms_it_is_its_matrix_between_them(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> None:
    metric, matrix = MAKERS[kind](rng, *shape)
    basis, s = atoms(rng, shape)
    expected = s.T @ matrix @ s
    np.testing.assert_allclose(metric.on_atoms(basis.u, basis.v), expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(metric.at_atoms(basis.u, basis.v), np.diag(expected), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("p", [1, 3, 10, 37])
def test_a_diagonal_on_atoms_a_few_at_a_time(p: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    metric, matrix = diagonal(rng, 8, 6)
    basis, s = atoms(rng, (8, 6), p)
    for block in (1, 8 * 10 * 3, 1 << 22):
        monkeypatch.setattr(m, "BLOCK", block)
        np.testing.assert_allclose(metric.on_atoms(basis.u, basis.v), s.T @ matrix @ s, rtol=1e-10, atol=1e-10)


def test_a_long_factor_on_atoms_is_widened_a_few_rows_at_a_time(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric, matrix = kronecker(rng, 8, 6)
    basis, s = atoms(rng, (8, 6))
    monkeypatch.setattr(m, "BLOCK", 17)
    np.testing.assert_allclose(metric.on_atoms(basis.u, basis.v), s.T @ matrix @ s, rtol=1e-10, atol=1e-10)


@EVERY
def test_its_trace_its_multiples_and_its_diagonal(kind: str, rng: np.random.Generator) -> None:
    metric, matrix = MAKERS[kind](rng, 6, 5)
    x = rng.standard_normal((6, 5))
    np.testing.assert_allclose(metric.times(0.3).apply(x), 0.3 * metric.apply(x), rtol=1e-12)
    if kind == "products":
        assert metric.diagonal(x) is None
        with pytest.raises(ValueError, match="known by its products alone"):
            metric.trace((6, 5))
        return
    assert metric.trace((6, 5)) == pytest.approx(np.trace(matrix), rel=1e-12)
    np.testing.assert_allclose(np.ravel(metric.diagonal(x)), np.diag(matrix), rtol=1e-10, atol=1e-12)


@EVERY
def test_what_is_near_it_on_atoms_is_symmetric_and_has_its_weight(kind: str, rng: np.random.Generator) -> None:
    metric, _ = MAKERS[kind](rng, 12, 10)
    u, v = (np.linalg.qr(rng.standard_normal((n, 8)))[0] for n in (12, 10))
    near = metric.near_atoms(u, v)
    if kind == "products":
        assert near is None
        return
    np.testing.assert_allclose(near, near.T, atol=1e-12)
    assert np.linalg.eigvalsh(near)[0] >= -1e-12 * np.trace(near)
    assert 0.2 < np.trace(near) / np.trace(metric.on_atoms(u, v)) < 5


def test_near_a_diagonal_of_one_outer_product_is_the_diagonal_itself(rng: np.random.Generator) -> None:
    metric = m.Diagonal(np.outer(spread(rng, 9), spread(rng, 7)))
    u, v = rng.standard_normal((9, 4)), rng.standard_normal((7, 4))
    np.testing.assert_allclose(metric.near_atoms(u, v), metric.on_atoms(u, v), rtol=1e-10)
    assert not m.Diagonal(np.zeros((9, 7))).near_atoms(u, v).any()


PAIRS = [(one, other) for one in MAKERS for other in MAKERS]


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=["+".join(pair) for pair in PAIRS])
def test_sums_are_those_of_the_matrices(one: str, other: str, rng: np.random.Generator) -> None:
    (a, first), (b, second) = MAKERS[one](rng, 5, 4), MAKERS[other](rng, 5, 4)
    x = rng.standard_normal((5, 4))
    np.testing.assert_allclose(m.plus(a, b).apply(x).ravel(), (first + second) @ x.ravel(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["flat", "diagonal", "gram", "turned_gram"])
def test_of_many_no_more_is_held_than_of_one(kind: str, rng: np.random.Generator) -> None:
    total = None
    for _ in range(3):
        total = m.plus(total, MAKERS[kind](rng, 5, 4)[0])
    assert type(total) is type(MAKERS[kind](rng, 5, 4)[0])


def test_damping_keeps_the_kind_of_a_diagonal_and_of_eigenvectors(rng: np.random.Generator) -> None:
    for kind in (diagonal, rotated):
        metric, matrix = kind(rng, 4, 3)
        for damped in (m.plus(metric, m.Flat(0.5)), m.plus(m.Flat(0.5), metric)):
            assert type(damped) is type(metric)
            assert damped.trace((4, 3)) == pytest.approx(np.trace(matrix) + 0.5 * 12)


def test_two_identities_are_no_kronecker_metric() -> None:
    with pytest.raises(ValueError, match="use Flat"):
        m.Kronecker(None, None)


def test_what_is_restricted_to_atoms_is_known_there_alone(rng: np.random.Generator) -> None:
    metric, _ = kronecker(rng, 5, 4)
    basis, _ = atoms(rng, (5, 4))
    known = m.Restricted(metric.on_atoms(basis.u, basis.v))
    np.testing.assert_array_equal(m.plus(known, known.times(2)).on_atoms(basis.u, basis.v), 3 * known.matrix)
    np.testing.assert_array_equal(known.at_atoms(basis.u, basis.v), np.diag(known.matrix))
    with pytest.raises(ValueError, match="cannot be applied to a tensor"):
        known.apply(np.zeros((5, 4)))
    with pytest.raises(ValueError, match="trace"):
        known.trace((5, 4))


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind != "products"])
def test_torch_does_the_same_and_float32_nearly(kind: str, rng: np.random.Generator) -> None:
    metric, matrix = MAKERS[kind](rng, 6, 5)
    basis, s = atoms(rng, (6, 5))
    x, expected = rng.standard_normal((6, 5)), s.T @ matrix @ s
    for dtype, off in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        other = _in_torch(metric, dtype)
        u, v, y = (torch.from_numpy(part).to(dtype) for part in (basis.u, basis.v, x))
        assert other.apply(y).dtype == dtype
        assert _off(other.apply(y), metric.apply(x)) < off
        assert other.on_atoms(u, v).dtype == torch.float64
        assert _off(other.on_atoms(u, v), expected) < off
        assert _off(other.at_atoms(u, v), np.diag(expected)) < off
        assert _off(other.near_atoms(u, v), metric.near_atoms(basis.u, basis.v)) < off
        assert _off(other.diagonal(y), metric.diagonal(x)) < off
        assert other.trace((6, 5)) == pytest.approx(metric.trace((6, 5)), rel=1e-5)


def _off(got: Any, expected: np.ndarray) -> float:
    return float(np.linalg.norm(got.numpy() - expected) / np.linalg.norm(expected))


def _in_torch(metric: Any, dtype: torch.dtype) -> Any:
    if isinstance(metric, m.Flat):
        return metric
    if isinstance(metric, m.Sum):
        return m.Sum(tuple(_in_torch(part, dtype) for part in metric.parts))
    parts = {name: None if part is None else torch.from_numpy(part).to(dtype) for name, part in vars(metric).items()}
    return type(metric)(**parts)


class TestAtoms:
    def test_expanding_and_reading_coordinates_are_transposes(self, rng: np.random.Generator) -> None:
        basis, s = atoms(rng, (6, 5))
        d, x = np.array([1.5, 0.0, -2.0, 0.25]), rng.standard_normal((6, 5))
        np.testing.assert_allclose(basis.expand(d).ravel(), s @ d, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(basis.coordinates(x), s.T @ x.ravel(), rtol=1e-12, atol=1e-12)
        assert basis.count == 4
        assert not basis.expand(np.zeros(4)).any()

    def test_atoms_keep_their_type(self, rng: np.random.Generator) -> None:
        basis, _ = atoms(rng, (6, 5))
        small = Atoms(*(torch.from_numpy(part).float() for part in (basis.u, basis.v)))
        wide = torch.from_numpy(rng.standard_normal(4))
        assert small.expand(wide).dtype == torch.float32
        assert small.coordinates(small.expand(wide)).dtype == torch.float32


def test_a_semi_definite_matrix_is_one(rng: np.random.Generator) -> None:
    """The makers of this file give what metrics promise to be."""
    for kind, make in MAKERS.items():
        values = np.linalg.eigvalsh(make(rng, 4, 3)[1])
        assert values[0] > -1e-10 * values[-1], kind
    assert np.linalg.matrix_rank(psd(rng, 6, 2)) == 2
