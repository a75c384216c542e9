"""What is said before a merge: against dense matrices in float64, and the laws that the figures obey."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from taskvec.ops import projected
from taskvec.ops.atoms import Atoms
from taskvec.ops.merge_sums import MergeSums, Which
from taskvec.ops.mergeability import excess_losses, merge_sums
from taskvec.ops.metric import Diagonal, Flat, Kronecker, Metric, Products, Rotated
from taskvec.ops.polar import polar
from taskvec.ops.projected import Projected, lanczos

ROWS, COLUMNS, TASKS, KEPT = 7, 6, 3, 2
WEIGHTS = (1.0, 2.0, 0.5)
MERGES: tuple[Which, ...] = ("plain", "flat", "curved")
KINDS = ("diagonal", "kronecker", "rotated", "products")
PLACES = ("labelled", "projected", "whole")


def psd(rng: np.random.Generator, n: int) -> np.ndarray:
    """A form with curvature in all directions."""
    x = rng.standard_normal((n, 2 * n))
    return x @ x.T / (2 * n) + 0.05 * np.eye(n)


def metric_of(kind: str, rng: np.random.Generator) -> Metric:
    """A metric of a kind on (ROWS, COLUMNS)."""
    values = rng.gamma(1.0, size=(ROWS, COLUMNS)) + 0.01
    outer, inner = (np.linalg.qr(rng.standard_normal((n, n)))[0] for n in (ROWS, COLUMNS))
    if kind == "kronecker":
        return Kronecker(psd(rng, ROWS), psd(rng, COLUMNS))
    if kind == "rotated":
        return Rotated(outer, inner, values)
    if kind == "products":
        form = psd(rng, ROWS * COLUMNS)
        return Products(lambda x: (form @ x.reshape(-1)).reshape(x.shape))
    return Diagonal(values)


def dense(metric: Metric, shape: tuple[int, ...] = (ROWS, COLUMNS)) -> np.ndarray:
    """A metric as a matrix on tensors laid out flat."""
    eye = np.eye(int(np.prod(shape)))
    return np.stack([metric.apply(e.reshape(shape)).reshape(-1) for e in eye], axis=1)


class Case(NamedTuple):
    """One tensor: what is given, and the same as dense matrices and long vectors."""

    deltas: list[np.ndarray]
    metrics: list[Metric]
    basis: Atoms | None
    targets: list[np.ndarray] | None
    raw: Atoms
    labels: list[int]
    s: np.ndarray
    h: list[np.ndarray]
    d: list[np.ndarray]

    def sums(self, weights: Sequence[float] | None = WEIGHTS) -> MergeSums:
        """What is under test."""
        return merge_sums(
            self.deltas, self.metrics, weights, basis=self.basis, targets=self.targets, raw=self.raw, labels=self.labels
        )


def case(kind: str, place: str, rng: np.random.Generator) -> Case:
    """Task vectors that share a direction, a metric each, and a basis."""
    common = rng.standard_normal((ROWS, COLUMNS))
    deltas = [0.4 * common + rng.standard_normal((ROWS, COLUMNS)) for _ in range(TASKS)]
    metrics = [metric_of(kind, rng) for _ in range(TASKS)]
    parts = [np.linalg.svd(x, full_matrices=False) for x in deltas]
    raw = Atoms(np.hstack([u[:, :KEPT] for u, _, _ in parts]), np.hstack([v[:KEPT].T for _, _, v in parts]))
    labels = [t for t in range(TASKS) for _ in range(KEPT)]
    whitened = Atoms(polar(raw.u), polar(raw.v))
    labelled = [np.where(np.array(labels) == t, np.tile(s[:KEPT], TASKS), 0.0) for t, (_, s, _) in enumerate(parts)]
    h = [dense(m) for m in metrics]
    if place == "whole":
        flat = [x.reshape(-1) for x in deltas]
        return Case(deltas, metrics, None, None, raw, labels, np.eye(ROWS * COLUMNS), h, flat)
    s = np.stack([np.outer(whitened.u[:, i], whitened.v[:, i]).reshape(-1) for i in range(whitened.count)], axis=1)
    own = labelled if place == "labelled" else [s.T @ x.reshape(-1) for x in deltas]
    given_ = labelled if place == "labelled" else None
    return Case(deltas, metrics, whitened, given_, raw, labels, s, h, own)


class Reference(NamedTuple):
    """The same figures by matrices, as the paper writes them."""

    lam: np.ndarray
    ht: list[np.ndarray]
    hbar: np.ndarray
    flat: np.ndarray
    curved: np.ndarray
    eta: float

    def f(self, x: np.ndarray, d: list[np.ndarray]) -> float:
        """F(x) = Σ λ_t (x - d_t)ᵀ H̃_t (x - d_t)."""
        return float(sum(w * (x - t) @ h @ (x - t) for w, h, t in zip(self.lam, self.ht, d, strict=True)))


def reference(of: Case, weights: Sequence[float] = WEIGHTS) -> Reference:
    """Solve by dense matrices."""
    lam = np.array(weights) / np.sum(weights)
    ht = [of.s.T @ h @ of.s for h in of.h]
    hbar = sum(w * h for w, h in zip(lam, ht, strict=True))
    flat = sum(w * d for w, d in zip(lam, of.d, strict=True))
    curved = np.linalg.solve(hbar, sum(w * h @ d for w, h, d in zip(lam, ht, of.d, strict=True)))
    c = sum(w * (h - hbar) @ (d - flat) for w, h, d in zip(lam, ht, of.d, strict=True))
    return Reference(lam, ht, hbar, flat, curved, float(c @ np.linalg.solve(hbar, c)))


def merges_of(of: Case, true: Reference) -> dict[Which, np.ndarray]:
    """The three merges as long vectors."""
    plain = sum(w * x.reshape(-1) for w, x in zip(true.lam, of.deltas, strict=True))
    return {"plain": plain, "flat": of.s @ true.flat, "curved": of.s @ true.curved}


EVERY = pytest.mark.parametrize(("kind", "place"), [(k, p) for k in KINDS for p in PLACES])


@EVERY
def test_eta_by_its_own_formula_is_what_curvature_takes_off(kind: str, place: str, rng: np.random.Generator) -> None:
    """Theorem 3 to 1e-8: F(flat) - F(curved) = cᵀH̄⁻¹c."""
    of = case(kind, place, rng)
    sums, true = of.sums(), reference(of)
    assert sums.eta > 0
    np.testing.assert_allclose(sums.eta, true.eta, rtol=1e-8)
    np.testing.assert_allclose(sums.variance("flat") - sums.variance("curved"), sums.eta, rtol=1e-8)
    np.testing.assert_allclose(sums.variance("flat"), true.f(true.flat, of.d), rtol=1e-10)
    np.testing.assert_allclose(sums.variance("curved"), true.f(true.curved, of.d), rtol=1e-10)
    assert sums.unsolved < 1e-6
    assert 0 < sums.relative_eta < 1


@EVERY
def test_the_scaled_aggregation_has_a_term_without_a_sign(kind: str, place: str, rng: np.random.Generator) -> None:
    of = case(kind, place, rng)
    sums, true = of.sums(), reference(of)
    for scale in (0.5, 1.0, 1.7, TASKS):
        direct = true.f(scale * true.flat, of.d) - true.f(scale * true.curved, of.d)
        np.testing.assert_allclose(sum(sums.scaled_gain(scale)), direct, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(sums.variance("flat", scale), true.f(scale * true.flat, of.d), rtol=1e-9)
    assert sums.scaled_gain(1.0) == (sums.eta, 0.0)


@EVERY
def test_excess_losses_at_any_scale_are_those_of_the_quadratics(
    kind: str, place: str, rng: np.random.Generator
) -> None:
    of = case(kind, place, rng)
    sums, true = of.sums(), reference(of)
    for which, m in merges_of(of, true).items():
        for scale in (0.0, 1.0, 2.3):
            apart = [scale * m - x.reshape(-1) for x in of.deltas]
            expected = [x @ h @ x / 2 for x, h in zip(apart, of.h, strict=True)]
            np.testing.assert_allclose(sums.excess(which, scale), expected, rtol=1e-7)
            merged = (scale * m).reshape(ROWS, COLUMNS)
            np.testing.assert_allclose(excess_losses(of.deltas, of.metrics, merged), expected, rtol=1e-7)
    np.testing.assert_allclose(sums.excess("curved", 0.0), sums.gains, rtol=1e-12)


@EVERY
def test_the_best_scale_is_best(kind: str, place: str, rng: np.random.Generator) -> None:
    sums = case(kind, place, rng).sums()
    for which in MERGES:
        best = sums.best_scale(which)
        around = [sums.weights @ sums.excess(which, best + step) for step in (-1e-3, 0.0, 1e-3)]
        assert around[1] < min(around[0], around[2])


@EVERY
def test_the_bounds_hold_at_every_scale(kind: str, place: str, rng: np.random.Generator) -> None:
    """Theorem 2 without its remainder, which a quadratic has not."""
    of = case(kind, place, rng)
    sums, true = of.sums(), reference(of)
    residual = [x.reshape(-1) - of.s @ d for x, d in zip(of.deltas, of.d, strict=True)]
    energy = sum(w * r @ h @ r for w, h, r in zip(true.lam, of.h, residual, strict=True))
    np.testing.assert_allclose(sums.residual_energy, energy, rtol=1e-8, atol=1e-12)
    assert (sums.residual_energy > 0.1) == (place != "whole")
    for which in ("flat", "curved"):
        for scale in (0.3, 1.0, TASKS):
            loose, tight = sums.bounds(which, scale)
            assert sums.weights @ sums.excess(which, scale) <= tight * (1 + 1e-12)
            assert tight <= loose * (1 + 1e-12)


@EVERY
def test_traces_and_the_spectrum_of_the_mean(kind: str, place: str, rng: np.random.Generator) -> None:
    of = case(kind, place, rng)
    sums, true = of.sums(), reference(of)
    values = np.linalg.eigvalsh(true.hbar)
    exact = sums.estimated == 0
    assert exact == (place != "whole" or kind == "diagonal")
    np.testing.assert_allclose((sums.least, sums.largest), values[[0, -1]], rtol=1e-8 if exact else 0.3)
    assert values[0] - 1e-9 <= sums.least < sums.largest <= values[-1] + 1e-9
    assert sums.negative == 0
    np.testing.assert_allclose(sums.condition, sums.largest / sums.least)
    distance = [np.linalg.norm(h - true.hbar) / np.linalg.norm(true.hbar) for h in true.ht]
    np.testing.assert_allclose(sums.non_uniformity, distance, rtol=1e-8 if exact else 0.35)
    if kind == "products":
        assert np.isnan(sums.traces).all()
    else:
        np.testing.assert_allclose(sums.traces, [np.trace(h) for h in of.h], rtol=1e-9)
        np.testing.assert_allclose(sums.inside, [np.trace(h) for h in true.ht], rtol=1e-9)


def test_interference_is_of_the_tasks_own_directions(rng: np.random.Generator) -> None:
    of = case("diagonal", "labelled", rng)
    sums = of.sums()
    u, v = (np.split(x, TASKS, axis=1) for x in (of.raw.u, of.raw.v))
    for s in range(TASKS):
        for t in range(TASKS):
            both = [np.linalg.norm(side[s].T @ side[t]) ** 2 for side in (u, v)]
            np.testing.assert_allclose(sums.interference[s, t], np.mean(both) / KEPT)
    np.testing.assert_allclose(np.diagonal(sums.interference), 1.0)
    assert not merge_sums(of.deltas, of.metrics).interference.any()


def test_sums_of_tensors_are_those_of_the_model_in_one_piece(rng: np.random.Generator) -> None:
    """Two tensors, and the same entries as one long tensor."""
    one, other = ([rng.standard_normal(n) for _ in range(TASKS)] for n in (5, 8))
    h_one, h_other = ([rng.gamma(1.0, size=n) + 0.1 for _ in range(TASKS)] for n in (5, 8))
    both = merge_sums(one, [Diagonal(h) for h in h_one], WEIGHTS) + merge_sums(
        other, [Diagonal(h) for h in h_other], WEIGHTS
    )
    joined = [np.concatenate(pair) for pair in zip(one, other, strict=True)]
    whole = merge_sums(joined, [Diagonal(np.concatenate(p)) for p in zip(h_one, h_other, strict=True)], WEIGHTS)
    assert (both.tensors, both.entries, both.directions) == (2, 13, 13)
    for which in MERGES:
        np.testing.assert_allclose(both.excess(which, 1.6), whole.excess(which, 1.6), rtol=1e-12)
        np.testing.assert_allclose(both.bounds(which, 1.6), whole.bounds(which, 1.6), rtol=1e-12)
    np.testing.assert_allclose(both.scaled_gain(2.0), whole.scaled_gain(2.0), rtol=1e-9)
    np.testing.assert_allclose(both.non_uniformity, whole.non_uniformity, rtol=1e-12)
    np.testing.assert_allclose((both.condition, both.relative_eta), (whole.condition, whole.relative_eta), rtol=1e-9)


def test_sums_under_other_weights_do_not_add_up(rng: np.random.Generator) -> None:
    deltas, metrics = [rng.standard_normal(4) for _ in range(2)], [Flat(), Flat()]
    with pytest.raises(ValueError, match="sums under different weights do not add up"):
        merge_sums(deltas, metrics) + merge_sums(deltas, metrics, [1.0, 2.0])


@pytest.mark.parametrize("place", PLACES)
def test_equal_curvature_has_nothing_to_gain(place: str, rng: np.random.Generator) -> None:
    of = case("diagonal", place, rng)
    sums = of._replace(metrics=[of.metrics[0]] * TASKS).sums()
    assert sums.eta == pytest.approx(0.0, abs=1e-12 * sums.variance("flat"))
    assert sums.non_uniformity.max() < 1e-7
    np.testing.assert_allclose(sums.excess("curved"), sums.excess("flat"), rtol=1e-9)


def test_equal_task_vectors_cost_nothing(rng: np.random.Generator) -> None:
    delta = rng.standard_normal((ROWS, COLUMNS))
    sums = merge_sums([delta] * TASKS, [metric_of("diagonal", rng) for _ in range(TASKS)])
    assert sums.eta == pytest.approx(0.0, abs=1e-20)
    np.testing.assert_allclose(sums.excess("curved"), 0.0, atol=1e-20)
    assert sums.best_scale("plain") == pytest.approx(1.0)


def test_disjoint_tasks_are_best_summed() -> None:
    """Where no task bends in another's direction, the sum costs nothing: the mean times T."""
    deltas = list(np.eye(TASKS))
    sums = merge_sums(deltas, [Diagonal(x) for x in deltas])
    assert sums.best_scale("flat") == pytest.approx(TASKS)
    np.testing.assert_allclose(sums.excess("flat", TASKS), 0.0, atol=1e-15)
    assert sums.excess("flat").min() > 0.2


def test_no_curvature_at_all_leaves_the_flat_mean() -> None:
    sums = merge_sums([np.ones(3), np.zeros(3)], [Diagonal(np.zeros(3))] * 2)
    assert (sums.eta, sums.relative_eta, sums.condition, sums.best_scale()) == (0.0, 0.0, float("inf"), 1.0)
    assert not sums.non_uniformity.any()


def test_summing_may_lose_by_curvature() -> None:
    """The gain at s = 1 is sure; at s = T the other term decides, here against curvature."""
    deltas = [np.array([1.0, 0.0]), np.array([0.0, 1.0])]
    sums = merge_sums(deltas, [Diagonal(np.array([9.0, 1.0])), Diagonal(np.array([1.0, 1.0]))])
    assert sum(sums.scaled_gain(1.0)) > 0
    assert sum(sums.scaled_gain(2.0)) < 0


def test_negative_curvature_is_found(rng: np.random.Generator) -> None:
    """Exact Hessians may bend down."""
    for side in (5, 50):
        values = np.ones((side, side))
        values[1, 2] = -3.0
        metrics = [Products(lambda x, values=values: values * x)] * 2
        deltas = [rng.standard_normal((side, side)) for _ in range(2)]
        assert merge_sums(deltas, metrics).negative == 1
        assert merge_sums(deltas, [Flat(), Flat()]).negative == 0


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["diagonal", "kronecker"])
def test_torch_in_float32_says_the_same(kind: str, place: str, rng: np.random.Generator) -> None:
    of = case(kind, place, rng)

    def single(x: Any) -> torch.Tensor:
        return torch.from_numpy(np.asarray(x, np.float32))

    metrics: list[Metric] = [
        Diagonal(single(m.values)) if isinstance(m, Diagonal) else Kronecker(single(m.outer), single(m.inner))
        for m in of.metrics
        if isinstance(m, Diagonal | Kronecker)
    ]
    basis = of.basis and Atoms(single(of.basis.u), single(of.basis.v))
    targets = of.targets and [single(d) for d in of.targets]
    found = merge_sums([single(x) for x in of.deltas], metrics, WEIGHTS, basis=basis, targets=targets)
    true = of.sums()
    np.testing.assert_allclose(found.eta, true.eta, rtol=1e-4)
    for which in MERGES:
        np.testing.assert_allclose(found.excess(which, 2.0), true.excess(which, 2.0), rtol=1e-5)
    np.testing.assert_allclose(found.inside, true.inside, rtol=1e-5)


class Softmax(NamedTuple):
    """Softmax regression on soft labels that its own weights give: its loss has its minimum there."""

    weights: np.ndarray
    x: np.ndarray

    def loss(self, other: np.ndarray) -> float:
        """Mean cross-entropy of other weights, above that of its own."""
        p, logs = self._p(self.weights), [np.log(self._p(w)) for w in (other, self.weights)]
        return float((p * (logs[1] - logs[0])).sum(axis=1).mean())

    def bend(self, v: np.ndarray) -> np.ndarray:
        """The product of its exact Hessian with a change of weights."""
        p, moved = self._p(self.weights), self.x @ v.T
        return (p * moved - p * (p * moved).sum(axis=1, keepdims=True)).T @ self.x / len(self.x)

    def _p(self, w: np.ndarray) -> np.ndarray:
        out = np.exp(self.x @ w.T)
        return out / out.sum(axis=1, keepdims=True)


def test_expected_losses_are_losses_where_models_are_near(rng: np.random.Generator) -> None:
    """Of softmax regressions near a base: in the units of the loss, ½ and all; and worse the farther they are."""
    base = rng.standard_normal((4, 9))
    directions = [rng.standard_normal((4, 9)) for _ in range(TASKS)]
    x = [rng.standard_normal((200, 9)) * np.exp(rng.standard_normal(9)) for _ in range(TASKS)]
    off = {}
    for size in (0.02, 0.2):
        deltas = [size * d for d in directions]
        tasks = [Softmax(base + d, own) for d, own in zip(deltas, x, strict=True)]
        sums = merge_sums(deltas, [Products(task.bend) for task in tasks])
        true = [task.loss(base + sum(deltas) / TASKS) for task in tasks]
        off[size] = np.abs(sums.excess("plain") / true - 1).max()
        gains = [task.loss(base) for task in tasks]
        np.testing.assert_allclose(sums.gains, gains, rtol=30 * size)
    assert off[0.02] < 0.05
    assert off[0.02] < off[0.2]


class Counted:
    """Tensors that are read when they are asked for, one at a time."""

    def __init__(self, items: list[Any]) -> None:
        self.items, self.asked = items, [0] * len(items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Any:
        self.asked[number] += 1
        return self.items[number]


def test_what_is_read_is_asked_for_a_few_times_and_not_kept(rng: np.random.Generator) -> None:
    of = case("diagonal", "labelled", rng)
    deltas, metrics = Counted(of.deltas), Counted(of.metrics)
    found = merge_sums(deltas, metrics, WEIGHTS, basis=of.basis, targets=of.targets)
    assert found.eta == of.sums().eta
    assert max(deltas.asked) <= 2
    assert max(metrics.asked) <= 2


@pytest.mark.parametrize("weights", [(1.0, -1.0, 3.0), (0.0, 0.0, 0.0), (1.0, 1.0)], ids=["negative", "zeros", "few"])
def test_weights_that_are_no_shares_are_refused(weights: tuple[float, ...], rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="the weights must be 3 numbers, none below 0 and not all 0"):
        case("diagonal", "whole", rng).sums(weights)


def test_targets_without_a_basis_are_refused() -> None:
    with pytest.raises(ValueError, match="without a basis there are none"):
        merge_sums([np.ones(2)], [Flat()], targets=[np.ones(2)])


def test_random_vectors_stand_for_a_metric_that_is_not_written_out(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """With many probes the estimate comes to the exact distance."""
    of = case("rotated", "labelled", rng)
    exact = of.sums().non_uniformity
    monkeypatch.setattr(projected, "DENSE", 0)
    monkeypatch.setattr(projected, "PROBES", 300)
    sums = of.sums()
    assert sums.estimated == 1
    np.testing.assert_allclose(sums.non_uniformity, exact, rtol=0.15)


@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_lanczos_finds_both_ends(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    form = psd(rng, n) - np.eye(n)
    true = np.linalg.eigvalsh(form)
    ends = lanczos(lambda x: form @ x, rng.standard_normal(n), 3 * n)
    np.testing.assert_allclose((ends.least, ends.largest), true[[0, -1]], atol=1e-6)


def test_estimates_of_a_spectrum_lie_inside_it(rng: np.random.Generator) -> None:
    values = rng.gamma(1.0, size=(30, 40))
    ends = Projected(Products(lambda x: values * x), values).ends()
    assert values.min() <= ends.least < 2 * values.mean()
    assert 0.99 * values.max() < ends.largest <= values.max() * (1 + 1e-12)
    assert not ends.exact
