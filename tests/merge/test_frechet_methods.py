"""One function, many methods: each comes out of `ops.frechet` by its choice of a basis and of metrics."""

from typing import Any

import numpy as np
import pytest

import taskvec as tv
from ops.metrics import MAKERS, psd, spread
from taskvec.merge.curvature import Measured
from taskvec.ops.atoms import Atoms
from taskvec.ops.frechet import frechet
from taskvec.ops.metric import Diagonal, Flat, Kronecker, Metric, Restricted
from taskvec.ops.polar import polar
from taskvec.ops.select import count_of, kth_largest
from taskvec.ops.spectral import svd

Array = np.ndarray
T, SHAPE = 4, (12, 9)


def near(got: Any, expected: Any) -> None:
    """Compare to a millionth of the norm."""
    assert np.linalg.norm(np.asarray(got) - np.asarray(expected)) <= 1e-6 * np.linalg.norm(expected)


@pytest.fixture
def deltas(rng: np.random.Generator) -> Array:
    """Task vectors."""
    return rng.standard_normal((T, *SHAPE)) @ np.diag(np.arange(1.0, 10.0) ** -1)


@pytest.fixture
def weights() -> Array:
    """A weight a task."""
    return np.array([0.5, 1.0, 2.0, 0.25])


def labelled_atoms(deltas: Array, keep: int) -> tuple[Atoms, list[Array]]:
    """TSV-M's basis, and the task vectors in it."""
    parts = [svd(x, keep) for x in deltas]
    u, v = (polar(np.concatenate([p[side] for p in parts], axis=1)) for side in (0, 2))
    return Atoms(u, v), [np.concatenate([p.s * (t == own) for own, p in enumerate(parts)]) for t in range(len(deltas))]


def test_task_arithmetic(deltas: Array, weights: Array) -> None:
    near(frechet(deltas, [Flat()] * T, weights, summed=True).curved, tv.task_arithmetic(deltas, weights))


def test_fisher_averaging(deltas: Array, weights: Array, rng: np.random.Generator) -> None:
    fishers = spread(rng, T, *SHAPE)
    near(frechet(deltas, map(Diagonal, fishers), weights).curved, tv.fisher(deltas, weights, curvature=fishers))


def test_gradient_matching(deltas: Array, weights: Array, rng: np.random.Generator) -> None:
    fishers, base = spread(rng, T, *SHAPE), spread(rng, *SHAPE)
    quadratic = Diagonal(base + np.tensordot(weights, fishers, 1))
    found = frechet(deltas, (Diagonal(base + f) for f in fishers), weights, quadratic=quadratic, summed=True)
    near(found.curved, tv.gradient_matching(deltas, weights, curvature=fishers, base_curvature=base))


def test_regmean(deltas: Array, weights: Array, rng: np.random.Generator) -> None:
    metrics = [Kronecker(None, psd(rng, 9)) for _ in range(T)]
    measured = [Measured(metric, 1.0) for metric in metrics]
    near(frechet(deltas, metrics, weights).curved, tv.regmean(deltas, weights, off_diagonal=1.0, curvature=measured))


def test_mats(deltas: Array, weights: Array, rng: np.random.Generator) -> None:
    metrics = [Kronecker(psd(rng, 12) + np.eye(12), psd(rng, 9) + np.eye(9)) for _ in range(T)]
    measured = [Measured(metric, 1.0) for metric in metrics]
    near(frechet(deltas, metrics, weights).curved, tv.mats(deltas, weights, iterations=1000, curvature=measured))


@pytest.mark.parametrize("density", [0.2, 0.6, 1.0])
def test_ties(density: float, deltas: Array, weights: Array) -> None:
    smallest = kth_largest(deltas.reshape(T, -1), count_of(density, deltas[0].size))
    trimmed = np.where(np.abs(deltas) >= smallest[:, None, None], deltas, 0.0)
    elected = np.sign(trimmed.sum(0))
    metrics = [Diagonal(((np.sign(x) == elected) & (x != 0)).astype(np.float64)) for x in trimmed]
    found = frechet(trimmed, metrics, weights, unseen="zero")
    near(found.curved, tv.ties(deltas, weights, density=density))


@pytest.mark.parametrize("keep", [1, 2])
def test_tsv_m(keep: int, deltas: Array) -> None:
    basis, targets = labelled_atoms(deltas, keep)
    found = frechet(targets, [Flat()] * T, np.ones(T), basis=basis, summed=True)
    near(basis.expand(found.curved), tv.tsv_m(deltas, np.ones(T), rank=keep))


def test_iso_c(deltas: Array, weights: Array) -> None:
    """Its metric stands on the quadratic side alone, and is not one a task."""
    total = np.tensordot(weights, deltas, 1)
    u, s, v = svd(total)
    basis = Atoms(u, v)
    strength = Restricted(np.diag(s / s.mean()))  # (M Mᵀ)^½ over its mean eigenvalue, between the sum's own atoms
    targets = [basis.coordinates(x) for x in deltas]
    found = frechet(targets, [Flat()] * T, weights, basis=basis, quadratic=strength, summed=True)
    near(basis.expand(found.curved), tv.iso_c(deltas, weights))
    root = (u * s) @ u.T
    near((u.T @ root @ u) * (v.T @ v) / s.mean(), strength.matrix)


@pytest.mark.parametrize("kind", ["diagonal", "kronecker", "rotated"])
@pytest.mark.parametrize("damping", [0.0, 0.1])
@pytest.mark.parametrize("aggregate", ["sum", "mean"])
def test_epimer(kind: str, damping: float, aggregate: Any, deltas: Array, rng: np.random.Generator) -> None:
    metrics: list[Metric] = [MAKERS[kind](rng, *SHAPE)[0] for _ in range(T)]
    basis, targets = labelled_atoms(deltas, 2)
    found = frechet(targets, metrics, np.ones(T), basis=basis, summed=aggregate == "sum", damping=damping)
    given: dict[str, Any] = {"damping": damping, "aggregate": aggregate, "normalise": "none"}
    given["curvature"] = [Measured(metric, 1.0) for metric in metrics]
    near(basis.expand(found.curved), tv.epimer(deltas, np.ones(T), rank=2, **given))
