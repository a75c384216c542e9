"""Fisher averaging, gradient matching, RegMean and MaTS against their definitions on written-out matrices."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import taskvec as tv
from ops.metrics import MAKERS, psd, spread
from reference import curved as slow
from taskvec.errors import RecipeError
from taskvec.merge import METHODS
from taskvec.merge.curvature import Measured
from taskvec.ops import metric as m

Array = np.ndarray
T = 3
WEIGHTS = np.array([0.5, 1.0, 2.0])


def near(got: Any, expected: Any, off: float = 1e-9) -> None:
    """Compare by norms."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert np.linalg.norm(got - expected) <= off * np.linalg.norm(expected) + 1e-14


def grams(rng: np.random.Generator, size: int, rank: int | None = None) -> list[Array]:
    """A Gram matrix a task."""
    return [psd(rng, size, rank) for _ in range(T)]


def inputs(given: list[Array], turned: bool = False) -> list[Measured]:
    """Gram matrices as they are measured."""
    return [Measured(m.Kronecker(g, None) if turned else m.Kronecker(None, g), 1.0) for g in given]


class TestFisher:
    @given(seed=st.integers(0, 1 << 32))
    def test_its_definition(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        models, fishers = rng.standard_normal((T, 4, 3)), spread(rng, T, 4, 3) * (rng.random((T, 4, 3)) < 0.6)
        near(tv.fisher(models, WEIGHTS, curvature=fishers), slow.fisher(models, fishers, WEIGHTS))

    def test_equal_information_or_none_gives_the_mean(self, rng: np.random.Generator) -> None:
        models = rng.standard_normal((T, 5))
        mean = np.tensordot(WEIGHTS / WEIGHTS.sum(), models, 1)
        for same in (np.tile(spread(rng, 5), (T, 1)), np.zeros((T, 5)), None):
            near(tv.fisher(models, WEIGHTS, curvature=same), mean)

    def test_information_too_small_for_products_in_float32(self, rng: np.random.Generator) -> None:
        models, fishers = rng.standard_normal((T, 50)).astype(np.float32), spread(rng, T, 50)
        expected = slow.fisher(models, fishers, WEIGHTS)
        tiny = (1e-36 * fishers).astype(np.float32)
        near(tv.fisher(1e-6 * models, WEIGHTS, curvature=tiny), 1e-6 * expected, 1e-6)

    def test_weights_without_a_mean_are_refused(self) -> None:
        with pytest.raises(RecipeError, match="sum to 0"):
            tv.fisher(np.ones((2, 3)), np.array([1.0, -1.0]), curvature=np.ones((2, 3)))


class TestGradientMatching:
    @given(seed=st.integers(0, 1 << 32), prior=st.sampled_from([0.0, 0.1, 100.0]))
    def test_its_definition(self, seed: int, prior: float) -> None:
        rng = np.random.default_rng(seed)
        deltas, fishers, base = rng.standard_normal((T, 4, 3)), spread(rng, T, 4, 3), spread(rng, 4, 3)
        merged = tv.gradient_matching(deltas, WEIGHTS, prior=prior, curvature=fishers, base_curvature=base)
        near(merged, slow.gradient_matching(deltas, fishers, base, WEIGHTS, prior))

    def test_a_large_prior_and_no_statistics_give_task_arithmetic(self, rng: np.random.Generator) -> None:
        deltas, fishers = rng.standard_normal((T, 6)), spread(rng, T, 6)
        flat = tv.task_arithmetic(deltas, WEIGHTS)
        given: dict[str, Any] = {"curvature": fishers, "base_curvature": spread(rng, 6)}
        near(tv.gradient_matching(deltas, WEIGHTS, prior=1e6, **given), flat, 1e-3)
        near(tv.gradient_matching(deltas, WEIGHTS), flat)
        zeros: dict[str, Any] = {"curvature": 0 * fishers, "base_curvature": np.zeros(6)}
        near(tv.gradient_matching(deltas, WEIGHTS, **zeros), flat)

    def test_without_the_base_it_is_fisher(self, rng: np.random.Generator) -> None:
        deltas, fishers = rng.standard_normal((T, 6)), spread(rng, T, 6)
        merged = tv.gradient_matching(deltas, WEIGHTS / 3.5, curvature=fishers, base_curvature=np.zeros(6))
        near(merged, tv.fisher(deltas, WEIGHTS, curvature=fishers))


class TestRegmean:
    @pytest.mark.parametrize("alpha", [0.0, 0.1, 0.9, 1.0])
    def test_its_definition(self, alpha: float, rng: np.random.Generator) -> None:
        models, given = rng.standard_normal((T, 5, 8)), grams(rng, 8)
        merged = tv.regmean(models, WEIGHTS, off_diagonal=alpha, curvature=inputs(given))
        near(merged, slow.regmean(models, given, WEIGHTS, alpha))

    def test_no_model_has_outputs_nearer_to_all(self, rng: np.random.Generator) -> None:
        models, data = rng.standard_normal((T, 5, 8)), rng.standard_normal((T, 20, 8))
        merged = tv.regmean(models, np.ones(T), off_diagonal=1.0, curvature=inputs([x.T @ x for x in data]))

        def loss(w: Array) -> float:
            return sum(float(np.sum((x @ (w - own).T) ** 2)) for x, own in zip(data, models, strict=True))

        assert all(loss(merged + 1e-3 * rng.standard_normal((5, 8))) > loss(merged) for _ in range(20))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_inputs_that_no_example_has_get_the_mean(self, dtype: Any, rng: np.random.Generator) -> None:
        models, given = rng.standard_normal((T, 5, 8)).astype(dtype), [np.pad(g, (0, 2)) for g in grams(rng, 6)]
        given = [g.astype(dtype) for g in given]
        merged = tv.regmean(models, WEIGHTS, off_diagonal=1.0, curvature=inputs(given))
        near(merged[:, 6:], np.tensordot(WEIGHTS / 3.5, models[:, :, 6:], 1), 1e-6)
        expected = slow.regmean(models[:, :, :6].astype(np.float64), [g[:6, :6] for g in given], WEIGHTS, 1.0)
        near(merged[:, :6], expected, 1e-5)

    def test_rounding_of_a_gram_matrix_is_no_direction(self, rng: np.random.Generator) -> None:
        turn = np.linalg.qr(rng.standard_normal((96, 96)))[0]
        given = [turn[:, :30] @ psd(rng, 30) @ turn[:, :30].T for _ in range(T)]
        models = rng.standard_normal((T, 40, 96)).astype(np.float32)
        merged = tv.regmean(models, WEIGHTS, off_diagonal=1.0, curvature=inputs([g.astype(np.float32) for g in given]))
        unseen = turn[:, 30:]
        mean = np.tensordot(WEIGHTS / 3.5, models.astype(np.float64), 1)
        near(merged @ unseen, mean @ unseen, 1e-4)
        expected = slow.regmean(models @ turn[:, :30], [turn[:, :30].T @ g @ turn[:, :30] for g in given], WEIGHTS, 1.0)
        near(merged @ turn[:, :30], expected, 1e-3)

    @pytest.mark.parametrize("rank", [2, None])
    def test_equal_inputs_give_the_mean_however_ill_conditioned(
        self, rank: int | None, rng: np.random.Generator
    ) -> None:
        models = rng.standard_normal((T, 5, 30)).astype(np.float32)
        scales = np.exp(-np.arange(30.0) / 2)
        gram = (scales[:, None] * psd(rng, 30, rank) * scales).astype(np.float32)
        for alpha in (0.9, 1.0):
            merged = tv.regmean(models, WEIGHTS, off_diagonal=alpha, curvature=inputs([gram] * T))
            near(merged, np.tensordot(WEIGHTS / 3.5, models.astype(np.float64), 1), 1e-6)

    def test_a_layer_stored_in_out(self, rng: np.random.Generator) -> None:
        models, given = rng.standard_normal((T, 5, 8)), grams(rng, 8)
        turned = np.ascontiguousarray(models.transpose(0, 2, 1))
        merged = tv.regmean(turned, WEIGHTS, role="turned", curvature=inputs(given, turned=True))
        near(merged.T, tv.regmean(models, WEIGHTS, curvature=inputs(given)))


class TestMats:
    @pytest.mark.parametrize("kind", ["diagonal", "kronecker", "rotated", "low_rank", "sparse"])
    @pytest.mark.parametrize("start", ["mean", "fisher"])
    def test_with_iterations_enough_it_is_the_mean_under_all_metrics(
        self, kind: str, start: Any, rng: np.random.Generator
    ) -> None:
        pairs = [MAKERS[kind](rng, 6, 5) for _ in range(T)]
        models = rng.standard_normal((T, 6, 5))
        curvature = [Measured(metric, 1.0) for metric, _ in pairs]
        merged = tv.mats(models, WEIGHTS, iterations=2000, start=start, curvature=curvature)
        exact = slow.mean(models, [h for _, h in pairs], WEIGHTS)

        def loss(x: Array) -> float:
            offs = [(w, (x - own).ravel(), h) for w, own, (_, h) in zip(WEIGHTS, models, pairs, strict=True)]
            return sum(w * off @ h @ off for w, off, h in offs)

        assert loss(merged) <= loss(exact) * (1 + 1e-6) + 1e-9
        if start == "mean":
            near(merged, exact, 1e-2 if kind == "kronecker" else 1e-3)

    def test_each_iteration_comes_nearer(self, rng: np.random.Generator) -> None:
        pairs = [MAKERS["kronecker"](rng, 6, 5) for _ in range(T)]
        models, curvature = rng.standard_normal((T, 6, 5)), [Measured(metric, 1.0) for metric, _ in pairs]

        def loss(x: Array) -> float:
            return sum((x - w).ravel() @ h @ (x - w).ravel() for w, (_, h) in zip(models, pairs, strict=True))

        steps = [tv.mats(models, np.ones(T), iterations=n, curvature=curvature) for n in (0, 1, 2, 5, 20)]
        near(steps[0], models.mean(0))
        losses = [loss(x) for x in steps]
        assert losses == sorted(losses, reverse=True)
        assert losses[0] > losses[-1]

    def test_it_may_begin_at_the_fisher_mean(self, rng: np.random.Generator) -> None:
        pairs = [MAKERS["kronecker"](rng, 6, 5) for _ in range(T)]
        models, curvature = rng.standard_normal((T, 6, 5)), [Measured(metric, 1.0) for metric, _ in pairs]
        merged = tv.mats(models, WEIGHTS, iterations=0, start="fisher", curvature=curvature)
        diagonals = np.stack([np.diag(h).reshape(6, 5) for _, h in pairs])
        near(merged, tv.fisher(models, WEIGHTS, curvature=diagonals))

    def test_torch_and_float32(self, rng: np.random.Generator) -> None:
        values, models = spread(rng, T, 6, 5), rng.standard_normal((T, 6, 5))
        small = [Measured(m.Diagonal(torch.from_numpy(x).float()), 1.0) for x in values]
        merged = tv.mats(torch.from_numpy(models).float(), WEIGHTS, curvature=small)
        assert merged.dtype == torch.float32
        near(merged, slow.fisher(models, values, WEIGHTS), 1e-5)


@pytest.mark.parametrize("name", ["regmean", "mats"])
def test_other_layers_and_those_without_statistics_get_the_mean(name: str, rng: np.random.Generator) -> None:
    models, method = rng.standard_normal((T, 5, 8)), METHODS[name].function
    mean, given = np.tensordot(WEIGHTS / 3.5, models, 1), inputs(grams(rng, 8))
    for role in ("vector", "table", "convolution"):
        near(method(models, WEIGHTS, role=role, curvature=given), mean)
    near(method(models, WEIGHTS, role="matrix", spectral="none", curvature=given), mean)
    near(method(models, WEIGHTS, role="matrix"), mean)
    assert not np.allclose(method(models, WEIGHTS, role="matrix", curvature=given), mean)
    with pytest.raises(RecipeError, match="sum to 0"):
        method(models[:2], np.array([1.0, -1.0]), role="vector")


def test_tsv_m_of_a_rank_keeps_as_many_values_and_no_more_than_fit(rng: np.random.Generator) -> None:
    deltas = rng.standard_normal((T, 30, 24)).astype(np.float32)
    near(tv.tsv_m(deltas, np.ones(T), rank=3), tv.tsv_m(deltas, np.ones(T), share=3 / 24))
    assert np.linalg.matrix_rank(tv.tsv_m(deltas, np.ones(T), rank=3)) == 9
    near(tv.tsv_m(deltas, np.ones(T), rank=8), tv.tsv_m(deltas, np.ones(T)))
    near(tv.tsv_m(deltas, np.ones(T), rank=500), tv.tsv_m(deltas, np.ones(T)))
    assert np.array_equal(tv.tsv_m(deltas, np.ones(T), rank=3, share=0.9), tv.tsv_m(deltas, np.ones(T), rank=3))
