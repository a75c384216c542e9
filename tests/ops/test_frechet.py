"""Fréchet means against dense matrices on all entries, and the laws that merges rely upon."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference.curved import mean as slow_mean
from taskvec.ops import metric as m
from taskvec.ops import solving
from taskvec.ops.atoms import Atoms
from taskvec.ops.conjugate_gradients import conjugate_gradients
from taskvec.ops.frechet import frechet, gathered, mean_of, predicted_gain, solve

from .metrics import MAKERS, diagonal, psd, spread

SHAPE = (6, 5)
EVERY = pytest.mark.parametrize("kind", MAKERS)
KNOWN = pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind != "products"])
T = 3


def problem(kind: str, rng: np.random.Generator, shape: tuple[int, int] = SHAPE) -> tuple[Any, Any, Any]:
    """Targets, and their metrics as such and as matrices."""
    pairs = [MAKERS[kind](rng, *shape) for _ in range(T)]
    return [rng.standard_normal(shape) for _ in range(T)], [p[0] for p in pairs], [p[1] for p in pairs]


def orthonormal(rng: np.random.Generator, shape: tuple[int, int], p: int) -> tuple[Atoms, np.ndarray]:
    """A basis of atoms, and the same as a matrix."""
    u, v = (np.linalg.qr(rng.standard_normal((n, p)))[0] for n in shape)
    return Atoms(u, v), np.stack([np.outer(u[:, i], v[:, i]).ravel() for i in range(p)], axis=1)


def near(got: Any, expected: np.ndarray, off: float = 1e-6) -> None:
    """Compare by norms."""
    assert np.linalg.norm(np.asarray(got) - expected) <= off * (1e-9 + np.linalg.norm(expected))


class TestAgainstDenseMatrices:
    @EVERY
    def test_the_mean_in_the_whole_space(self, kind: str, rng: np.random.Generator) -> None:
        targets, metrics, matrices = problem(kind, rng)
        weights = [0.2, 1.0, 0.7]
        found = frechet(targets, metrics, weights, tolerance=1e-12)
        near(found.curved, slow_mean(targets, matrices, weights))
        near(found.flat, sum(w * d for w, d in zip(weights, targets, strict=True)) / 1.9)
        assert found.residual < 1e-9

    @EVERY
    @pytest.mark.parametrize("p", [2, 5])
    def test_the_mean_on_atoms(self, kind: str, p: int, rng: np.random.Generator) -> None:
        _, metrics, matrices = problem(kind, rng)
        basis, s = orthonormal(rng, SHAPE, p)
        targets = [rng.standard_normal(p) for _ in range(T)]
        found = frechet(targets, metrics, [0.2, 1.0, 0.7], basis=basis)
        near(found.curved, slow_mean(targets, [s.T @ h @ s for h in matrices], [0.2, 1.0, 0.7]))

    @EVERY
    def test_conjugate_gradients_on_atoms_find_the_same(
        self, kind: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, metrics, _ = problem(kind, rng, (30, 24))
        basis, _ = orthonormal(rng, (30, 24), 20)
        targets = [rng.standard_normal(20) for _ in range(T)]
        dense = frechet(targets, metrics, np.ones(T), basis=basis)
        monkeypatch.setattr(solving, "DENSE", 0)
        monkeypatch.setattr(solving, "WRITTEN_OUT", 0)
        found = frechet(targets, metrics, np.ones(T), basis=basis, tolerance=1e-12)
        near(found.curved, dense.curved, 1e-5 if kind == "low_rank" else 1e-7)

    @KNOWN
    def test_sums_and_damping(self, kind: str, rng: np.random.Generator) -> None:
        _, metrics, matrices = problem(kind, rng)
        basis, s = orthonormal(rng, SHAPE, 4)
        targets, weights = [rng.standard_normal(4) for _ in range(T)], np.array([0.5, 1.0, 2.0])
        dense = [s.T @ h @ s for h in matrices]
        added = 0.1 * np.trace(sum(dense) / T) / 4 * np.eye(4)
        right = sum(w * (h + added) @ d for w, h, d in zip(weights, dense, targets, strict=True))
        found = frechet(targets, metrics, weights, basis=basis, summed=True, damping=0.1)
        near(found.curved, np.linalg.solve(sum(dense) / T + added, right))
        near(found.flat, sum(w * d for w, d in zip(weights, targets, strict=True)))

    def test_another_quadratic_side(self, rng: np.random.Generator) -> None:
        targets, metrics, matrices = problem("kronecker", rng)
        other, dense = diagonal(rng, *SHAPE)
        right = sum(h @ d.ravel() for h, d in zip(matrices, targets, strict=True))
        found = frechet(targets, metrics, np.ones(T), quadratic=other, summed=True)
        near(found.curved.ravel(), np.linalg.solve(dense, right))

    @EVERY
    def test_energy_is_what_the_targets_have_under_their_metrics(self, kind: str, rng: np.random.Generator) -> None:
        targets, metrics, matrices = problem(kind, rng)
        expected = sum(d.ravel() @ h @ d.ravel() for h, d in zip(matrices, targets, strict=True))
        assert gathered(targets, metrics, np.ones(T), summed=True).energy == pytest.approx(expected, rel=1e-10)

    def test_newton_systems_of_a_damped_kronecker_product_are_exact(self, rng: np.random.Generator) -> None:
        metric, matrix = MAKERS["low_rank"](rng, *SHAPE)
        x = rng.standard_normal(SHAPE)
        found, residual = solve(m.plus(metric, m.Flat(1e-3)), x, np.zeros(SHAPE))
        near(found.ravel(), np.linalg.solve(matrix + 1e-3 * np.eye(30), x.ravel()), 1e-8)
        assert residual == 0


class TestEqualMetrics:
    """Where curvature tells nothing of the tasks apart, the merge is the flat one."""

    @EVERY
    @pytest.mark.parametrize("damping", [0.0, 1e-3, 10.0])
    @pytest.mark.parametrize("summed", [False, True])
    def test_give_the_flat_mean(self, kind: str, damping: float, summed: bool, rng: np.random.Generator) -> None:
        if kind == "products" and damping:
            damping = 0.0
        metric, _ = MAKERS[kind](rng, *SHAPE)
        targets, weights = [rng.standard_normal(SHAPE) for _ in range(T)], [0.2, 1.0, 0.7]
        found = frechet(targets, [metric] * T, weights, damping=damping, summed=summed)
        total = sum(w * d for w, d in zip(weights, targets, strict=True))
        near(found.curved, total if summed else total / 1.9, 1e-7)

    @EVERY
    @pytest.mark.parametrize("damping", [0.0, 1e-3, 10.0])
    @pytest.mark.parametrize("dense", [0, 2048])
    def test_give_the_flat_mean_on_atoms_that_are_no_basis(
        self, kind: str, damping: float, dense: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Polar factors of vectors that depend on each other lack directions."""
        monkeypatch.setattr(solving, "DENSE", dense)
        monkeypatch.setattr(solving, "WRITTEN_OUT", dense)
        metric, _ = MAKERS[kind](rng, *SHAPE)
        basis, _ = orthonormal(rng, SHAPE, 5)
        less = np.eye(5) - np.full((5, 5), 0.2)
        basis = Atoms(basis.u @ less, basis.v @ less)
        targets = [rng.standard_normal(5) for _ in range(T)]
        found = frechet(targets, [metric] * T, np.ones(T), basis=basis, damping=damping, summed=True)
        near(found.curved, sum(targets), 1e-7)

    @KNOWN
    def test_of_float32_give_the_flat_mean_bit_for_bit(self, kind: str, rng: np.random.Generator) -> None:
        """What is solved to begin with is not touched: no rounding is divided by a small eigenvalue."""
        metric, _ = MAKERS[kind](rng, 40, 36)
        small = _in_float32(metric)
        basis, _ = orthonormal(rng, (40, 36), 36)
        basis = Atoms(basis.u.astype(np.float32), basis.v.astype(np.float32))
        targets = [rng.standard_normal(36) for _ in range(T)]
        found = frechet(targets, [small] * T, np.ones(T), basis=basis, damping=1e-3, summed=True)
        near(found.curved, found.flat, 1e-9)


class TestLaws:
    @KNOWN
    @pytest.mark.parametrize("atoms", [False, True])
    @pytest.mark.parametrize("power", [-60, 3, 40])
    def test_a_common_factor_of_all_metrics_changes_nothing(
        self, kind: str, atoms: bool, power: int, rng: np.random.Generator
    ) -> None:
        targets, metrics, _ = problem(kind, rng)
        basis = orthonormal(rng, SHAPE, 4)[0] if atoms else None
        targets = [rng.standard_normal(4) for _ in range(T)] if atoms else targets
        one = frechet(targets, metrics, np.ones(T), basis=basis, damping=0.01, tolerance=1e-10)
        other = frechet(
            targets, [x.times(2.0**power) for x in metrics], np.ones(T), basis=basis, damping=0.01, tolerance=1e-10
        )
        near(other.curved, one.curved, 1e-7)

    @given(seed=st.integers(0, 1 << 32), factor=st.floats(0.01, 100))
    def test_a_metric_that_counts_twice_is_a_weight_that_counts_twice(self, seed: int, factor: float) -> None:
        rng = np.random.default_rng(seed)
        targets, metrics, _ = problem("diagonal", rng)
        scaled = [metrics[0].times(factor), *metrics[1:]]
        near(frechet(targets, scaled, np.ones(T)).curved, frechet(targets, metrics, [factor, 1.0, 1.0]).curved, 1e-9)

    @given(seed=st.integers(0, 1 << 32))
    def test_no_point_lies_below_the_mean(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        targets, metrics, matrices = problem("summed", rng)
        found = frechet(targets, metrics, np.ones(T), tolerance=1e-12).curved

        def loss(d: np.ndarray) -> float:
            return sum((d - t).ravel() @ h @ (d - t).ravel() for t, h in zip(targets, matrices, strict=True))

        assert all(loss(found + 1e-3 * rng.standard_normal(SHAPE)) > loss(found) for _ in range(5))

    @given(seed=st.integers(0, 1 << 32))
    def test_the_gain_of_a_mean_is_eta(self, seed: int) -> None:
        """EpiMer, Theorem 3: F(flat) - F(curved) = cᵀ H̄⁻¹ c with c = Σ w_t (H_t - H̄)(d_t - d̄)."""
        rng = np.random.default_rng(seed)
        targets, metrics, matrices = problem("diagonal", rng)
        parts = gathered(targets, metrics, np.ones(T))
        gain = predicted_gain(parts, mean_of(parts))
        quadratic, middle = sum(matrices) / T, sum(targets) / T
        c = sum((h - quadratic) @ (d - middle).ravel() for h, d in zip(matrices, targets, strict=True)) / T
        assert gain == pytest.approx(c @ np.linalg.solve(quadratic, c), rel=1e-8)
        assert gain >= 0

    def test_the_gain_of_a_sum_has_no_sign(self, rng: np.random.Generator) -> None:
        """It is s² η + 2 s (s - 1) ⟨f - d, H̄ d⟩ of the means f and d, with s = T."""
        signs = set()
        for _ in range(40):
            metrics, matrices = zip(*(diagonal(rng, 1, 6) for _ in range(T)), strict=True)
            targets = [np.where(np.arange(6) // 2 == t, rng.standard_normal(6), 0.0)[None] for t in range(T)]
            parts = gathered(targets, metrics, np.ones(T), summed=True)
            gain = predicted_gain(parts, mean_of(parts), tasks=T)
            plain = gathered(targets, metrics, np.ones(T))
            mean = mean_of(plain)
            eta, (f, d) = predicted_gain(plain, mean), (mean.flat.ravel(), mean.curved.ravel())
            scaled = T**2 * eta + 2 * T * (T - 1) * (f - d) @ (sum(matrices) / T) @ d
            assert gain == pytest.approx(T * scaled, rel=1e-6)
            signs.add(gain > 0)
        assert signs == {True, False}


class TestNothingKnown:
    def test_where_no_metric_says_anything_the_flat_mean_stands_or_zero(self) -> None:
        targets = [np.array([[1.0, 2.0]]), np.array([[3.0, 6.0]])]
        metrics = [m.Diagonal(np.array([[3.0, 0.0]])), m.Diagonal(np.array([[1.0, 0.0]]))]
        np.testing.assert_allclose(frechet(targets, metrics, [1, 1]).curved, [[1.5, 4.0]])
        np.testing.assert_allclose(frechet(targets, metrics, [1, 1], unseen="zero").curved, [[1.5, 0.0]])
        damped = frechet(targets, metrics, [1, 1], damping=1e-9).curved
        np.testing.assert_allclose(damped, [[1.5, 4.0]], rtol=1e-6)

    @KNOWN
    @pytest.mark.parametrize("atoms", [False, True])
    @pytest.mark.parametrize("dense", [0, 2048])
    def test_metrics_of_zeros(
        self, kind: str, atoms: bool, dense: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(solving, "DENSE", dense)
        monkeypatch.setattr(solving, "WRITTEN_OUT", dense)
        targets, metrics, _ = problem(kind, rng)
        basis = orthonormal(rng, SHAPE, 4)[0] if atoms else None
        targets = [rng.standard_normal(4) for _ in range(T)] if atoms else targets
        nothing = [x.times(0.0) for x in metrics]
        for damping in (0.0, 0.1):
            found = frechet(targets, nothing, np.ones(T), basis=basis, damping=damping)
            near(found.curved, sum(targets) / T, 1e-12)

    def test_a_task_without_curvature_pulls_nowhere(self, rng: np.random.Generator) -> None:
        targets, metrics, _ = problem("diagonal", rng)
        found = frechet(targets, [metrics[0], metrics[1].times(0.0), metrics[2].times(0.0)], np.ones(T))
        near(found.curved, targets[0], 1e-12)

    def test_what_cannot_be_a_mean_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no task"):
            frechet([], [], [])
        with pytest.raises(ValueError, match="sum to 0"):
            frechet([np.zeros((1, 1))] * 2, [m.Flat()] * 2, [1.0, -1.0])
        with pytest.raises(ValueError, match="shorter"):
            frechet([np.zeros((1, 1))] * 2, [m.Flat()], [1.0, 1.0])


class TestPrecision:
    @KNOWN
    def test_torch_in_float32(self, kind: str, rng: np.random.Generator) -> None:
        targets, metrics, _ = problem(kind, rng, (40, 36))
        basis, _ = orthonormal(rng, (40, 36), 36)
        targets = [rng.standard_normal(36) for _ in range(T)]
        exact = frechet(targets, metrics, np.ones(T), basis=basis, damping=1e-3, tolerance=1e-12)
        small = Atoms(*(torch.from_numpy(x).float() for x in (basis.u, basis.v)))
        found = frechet(
            [torch.from_numpy(d) for d in targets],
            [_in_float32(x, torch.from_numpy) for x in metrics],
            np.ones(T),
            basis=small,
            damping=1e-3,
        )
        assert found.curved.dtype == torch.float64
        near(found.curved, exact.curved, 1e-4)

    def test_curvature_too_small_for_float32s_squares(self, rng: np.random.Generator) -> None:
        basis, _ = orthonormal(rng, (50, 40), 40)
        small = Atoms(basis.u.astype(np.float32), basis.v.astype(np.float32))
        values = [spread(rng, 50, 40) for _ in range(T)]
        targets = [1e-3 * rng.standard_normal(40) for _ in range(T)]
        exact = frechet(targets, [m.Diagonal(x) for x in values], np.ones(T), basis=basis, tolerance=1e-12)
        tiny = [m.Diagonal((1e-24 * x).astype(np.float32)) for x in values]
        near(frechet(targets, tiny, np.ones(T), basis=small).curved, exact.curved, 1e-4)


def _in_float32(metric: Any, then: Any = np.asarray) -> Any:
    if isinstance(metric, m.Flat):
        return metric
    if isinstance(metric, m.Sum):
        return m.Sum(tuple(_in_float32(part, then) for part in metric.parts))
    parts = {name: None if part is None else then(part.astype(np.float32)) for name, part in vars(metric).items()}
    return type(metric)(**parts)


class TestConjugateGradients:
    @given(seed=st.integers(0, 1 << 32), n=st.integers(1, 12))
    def test_they_solve_what_can_be_solved(self, seed: int, n: int) -> None:
        rng = np.random.default_rng(seed)
        matrix = psd(rng, n) + 0.1 * np.eye(n)
        x = rng.standard_normal(n)
        found = conjugate_gradients(lambda d: matrix @ d, matrix @ x, tolerance=1e-12)
        near(found.x, x, 1e-6)
        assert found.residual < 1e-9

    def test_a_near_inverse_spares_products(self, rng: np.random.Generator) -> None:
        bends, shared = spread(rng, 200) ** 3, rng.standard_normal(200)
        matrix = np.diag(bends) + np.outer(shared, shared)
        right = rng.standard_normal(200)
        plain = conjugate_gradients(lambda d: matrix @ d, right, most=2000)
        helped = conjugate_gradients(lambda d: matrix @ d, right, inverse=lambda d: d / bends)
        assert helped.products < 10 < plain.products
        assert helped.residual <= 2e-6

    def test_where_nothing_bends_it_stays(self, rng: np.random.Generator) -> None:
        matrix, start = psd(rng, 8, 3), rng.standard_normal(8)
        right = matrix @ rng.standard_normal(8)
        found = conjugate_gradients(lambda d: matrix @ d, right, start=start, tolerance=1e-12)
        near(found.x, start + np.linalg.pinv(matrix) @ (right - matrix @ start), 1e-8)

    def test_it_takes_no_more_products_than_it_may_and_says_what_is_left(self, rng: np.random.Generator) -> None:
        matrix, right = psd(rng, 50) + 1e-3 * np.eye(50), rng.standard_normal(50)
        taken: list[int] = []

        def product(d: np.ndarray) -> np.ndarray:
            taken.append(1)
            return matrix @ d

        for most in (1, 2, 5):
            taken.clear()
            found = conjugate_gradients(product, right, start=np.ones(50), most=most)
            assert len(taken) == found.products <= max(1, most)
            left = np.linalg.norm(right - matrix @ found.x) / np.linalg.norm(right)
            assert found.residual == pytest.approx(left)

    @pytest.mark.parametrize("start", [None, np.array([3.0, -1.0])])
    def test_a_right_side_of_zeros(self, start: Sequence[float] | None) -> None:
        found = conjugate_gradients(lambda d: np.array([2.0, 4.0]) * d, np.zeros(2), start=start, tolerance=1e-12)
        np.testing.assert_allclose(found.x, 0, atol=1e-9)
        assert conjugate_gradients(lambda d: 0 * d, np.zeros(2), start=start).products <= 1
