"""EpiMer against its steps on written-out matrices, its limits, and its options."""

import tracemalloc
from collections.abc import Callable
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
EVERY = pytest.mark.parametrize("kind", ["diagonal", "sparse", "kronecker", "gram", "rotated", "summed"])
SHAPES = pytest.mark.parametrize("shape", [(9, 9), (12, 7), (7, 12)], ids=str)


def near(got: Any, expected: Any, off: float = 1e-6) -> None:
    """Compare by norms."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert np.linalg.norm(got - expected) <= off * np.linalg.norm(expected) + 1e-12


def task_vectors(rng: np.random.Generator, *shape: int) -> Array:
    """Task vectors with singular values that fall."""
    return np.stack([1e-2 * rng.standard_normal(shape) @ np.diag(1.0 / np.arange(1, shape[1] + 1)) for _ in range(T)])


def measured(kind: str, rng: np.random.Generator, *shape: int) -> tuple[list[Measured], list[Array]]:
    """A metric a task, and the same as a matrix."""
    pairs = [MAKERS[kind](rng, *shape) for _ in range(T)]
    sizes = [float(np.trace(matrix)) for _, matrix in pairs]
    gradients = [1e-3 * rng.standard_normal(shape) for _ in range(T)]
    return [Measured(metric, 10 * size + 1, g) for (metric, _), size, g in zip(pairs, sizes, gradients, strict=True)], [
        matrix for _, matrix in pairs
    ]


@EVERY
@SHAPES
@pytest.mark.parametrize("rank", [1, 2, 0])
def test_the_papers_steps(kind: str, shape: tuple[int, int], rank: int, rng: np.random.Generator) -> None:
    deltas, (curvature, hessians) = task_vectors(rng, *shape), measured(kind, rng, *shape)
    merged = tv.epimer(deltas, np.ones(T), rank=rank, normalise="none", damping=0.0, curvature=curvature)
    near(merged, slow.epimer(deltas, hessians, rank or min(shape) // T))


@EVERY
@pytest.mark.parametrize("coords", ["label", "project"])
@pytest.mark.parametrize("aggregate", ["sum", "mean"])
@pytest.mark.parametrize("damping", [0.0, 0.01, 3.0])
def test_coordinates_aggregation_and_damping(
    kind: str, coords: Any, aggregate: Any, damping: float, rng: np.random.Generator
) -> None:
    deltas, (curvature, hessians) = task_vectors(rng, 9, 8), measured(kind, rng, 9, 8)
    given: dict[str, Any] = {"coords": coords, "aggregate": aggregate, "damping": damping, "normalise": "none"}
    merged = tv.epimer(deltas, np.ones(T), rank=2, **given, curvature=curvature)
    expected = slow.epimer(deltas, hessians, 2, project=coords == "project", summed=aggregate == "sum", damping=damping)
    near(merged, expected)


def test_on_many_atoms_by_conjugate_gradients(rng: np.random.Generator) -> None:
    deltas, (curvature, hessians) = task_vectors(rng, 40, 36), measured("diagonal", rng, 40, 36)
    expected = slow.epimer(deltas, hessians, 12, damping=1e-3)
    given: dict[str, Any] = {"normalise": "none", "curvature": curvature}
    near(tv.epimer(deltas, np.ones(T), **given), expected, 1e-5)
    small = [Measured(m.Diagonal(torch.from_numpy(one.metric.values).float()), one.total) for one in curvature]
    given["curvature"] = small
    near(tv.epimer(torch.from_numpy(deltas).float(), np.ones(T), **given), expected, 1e-4)


@EVERY
@pytest.mark.parametrize("damping", [0.0, 1e-3, 1.0])
@pytest.mark.parametrize("normalise", ["none", "tensor", "model"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_metrics_give_tsv_m(
    kind: str, damping: float, normalise: Any, dtype: Any, rng: np.random.Generator
) -> None:
    deltas = task_vectors(rng, 24, 20).astype(dtype)
    one = measured(kind, rng, 24, 20)[0][0]
    for rank in (2, 0):
        merged = tv.epimer(
            deltas, np.ones(T), rank=rank, damping=damping, normalise=normalise, curvature=[in_type(one, dtype)] * T
        )
        near(merged, tv.tsv_m(deltas, np.ones(T), rank=rank))


def in_type(one: Measured, dtype: Any) -> Measured:
    """The same in another type."""

    def turned(metric: Any) -> Any:
        if isinstance(metric, m.Sum):
            return m.Sum(tuple(map(turned, metric.parts)))
        return type(metric)(**{k: v if v is None else v.astype(dtype) for k, v in vars(metric).items()})

    return Measured(turned(one.metric), one.total)


@EVERY
def test_one_task_is_tsv_m_whatever_its_metric(kind: str, rng: np.random.Generator) -> None:
    deltas, (curvature, _) = task_vectors(rng, 12, 10)[:1], measured(kind, rng, 12, 10)
    for coords in ("label", "project"):
        merged = tv.epimer(deltas, np.ones(1), rank=4, coords=coords, curvature=curvature[:1])  # type: ignore[arg-type]
        near(merged, tv.tsv_m(deltas, np.ones(1), rank=4))


def test_damping_without_end_is_tsv_m(rng: np.random.Generator) -> None:
    deltas, (curvature, _) = task_vectors(rng, 12, 10), measured("diagonal", rng, 12, 10)
    far = tv.epimer(deltas, np.ones(T), damping=1e6, curvature=curvature)
    near(far, tv.tsv_m(deltas, np.ones(T)), 1e-5)


def test_where_no_loss_bends_it_is_tsv_m(rng: np.random.Generator) -> None:
    deltas = task_vectors(rng, 12, 10)
    flat = [Measured(m.Diagonal(np.zeros((12, 10))), 0.0)] * T
    for normalise in ("none", "tensor", "model"):
        near(tv.epimer(deltas, np.ones(T), normalise=normalise, curvature=flat), tv.tsv_m(deltas, np.ones(T)))


class TestNormalise:
    @given(factor=st.floats(1e-6, 1e6))
    def test_by_the_tensors_trace_a_tasks_unit_does_not_matter(self, factor: float) -> None:
        rng = np.random.default_rng(3)
        deltas, (curvature, _) = task_vectors(rng, 9, 8), measured("diagonal", rng, 9, 8)
        scaled = [Measured(curvature[0].metric.times(factor), factor * curvature[0].total), *curvature[1:]]
        for normalise in ("tensor", "model"):
            one = tv.epimer(deltas, np.ones(T), normalise=normalise, curvature=curvature)
            near(tv.epimer(deltas, np.ones(T), normalise=normalise, curvature=scaled), one)

    def test_without_it_a_task_in_larger_units_pulls_harder(self, rng: np.random.Generator) -> None:
        deltas, (curvature, hessians) = task_vectors(rng, 9, 8), measured("diagonal", rng, 9, 8)
        scaled = [Measured(curvature[0].metric.times(10.0), 1.0), *curvature[1:]]
        merged = tv.epimer(deltas, np.ones(T), normalise="none", damping=0.0, curvature=scaled)
        near(merged, slow.epimer(deltas, [10 * hessians[0], *hessians[1:]], 2))

    def test_by_the_models_trace(self, rng: np.random.Generator) -> None:
        deltas, (curvature, hessians) = task_vectors(rng, 9, 8), measured("kronecker", rng, 9, 8)
        merged = tv.epimer(deltas, np.ones(T), normalise="model", damping=0.0, curvature=curvature)
        shares = [h / one.total for h, one in zip(hessians, curvature, strict=True)]
        near(merged, slow.epimer(deltas, shares, 2))


class TestNewton:
    @EVERY
    def test_targets_are_where_a_damped_step_leads(self, kind: str, rng: np.random.Generator) -> None:
        deltas, (curvature, hessians) = task_vectors(rng, 9, 8), measured(kind, rng, 9, 8)
        there = np.stack(
            [
                x - np.linalg.solve(h + 0.1 * np.trace(h) / 72 * np.eye(72), one.gradient.ravel()).reshape(9, 8)
                for x, h, one in zip(deltas, hessians, curvature, strict=True)
            ]
        )
        given: dict[str, Any] = {"damping": 0.1, "curvature": curvature}
        near(tv.epimer(deltas, np.ones(T), targets="newton", **given), tv.epimer(there, np.ones(T), **given), 1e-5)

    def test_without_gradients_it_is_refused(self, rng: np.random.Generator) -> None:
        curvature = [Measured(one.metric, one.total) for one in measured("diagonal", rng, 9, 8)[0]]
        with pytest.raises(RecipeError, match="'targets: newton' needs gradients"):
            tv.epimer(task_vectors(rng, 9, 8), np.ones(T), targets="newton", curvature=curvature)


class TestSafeguard:
    def test_it_keeps_tsv_m_where_the_losses_predict_that_it_is_better(self, rng: np.random.Generator) -> None:
        fell_back = set()
        for _ in range(30):
            deltas, (curvature, hessians) = task_vectors(rng, 6, 6), measured("diagonal", rng, 6, 6)
            given: dict[str, Any] = {"rank": 1, "normalise": "none", "damping": 0.0, "curvature": curvature}
            free = tv.epimer(deltas, np.ones(T), **given)
            flat = tv.tsv_m(deltas, np.ones(T), rank=1)
            basis, s, label = slow.atoms(list(deltas), 1)

            def loss(x: Array, basis: Array = basis, s: Array = s, label: Array = label, h: Any = hessians) -> float:
                d = basis.T @ x.ravel()
                offs = [d - np.where(label == t, s, 0.0) for t in range(T)]
                return sum(off @ (basis.T @ h[t] @ basis) @ off for t, off in enumerate(offs))

            worse = loss(free) > loss(flat)
            near(tv.epimer(deltas, np.ones(T), safeguard=True, **given), flat if worse else free)
            fell_back.add(worse)
        assert fell_back == {True, False}

    def test_a_mean_needs_none(self, rng: np.random.Generator) -> None:
        for _ in range(20):
            given: dict[str, Any] = {"aggregate": "mean", "damping": 0.0}
            given["curvature"] = measured("diagonal", rng, 6, 6)[0]
            deltas = task_vectors(rng, 6, 6)
            near(tv.epimer(deltas, np.ones(T), safeguard=True, **given), tv.epimer(deltas, np.ones(T), **given))


class TestWithoutData:
    SQUARES: Callable[[Array], Array] = staticmethod(lambda x: np.diag((x * x).ravel()))
    INPUTS: Callable[[Array], Array] = staticmethod(lambda x: np.kron(np.eye(x.shape[0]), x.T @ x))

    @pytest.mark.parametrize(
        ("metric", "matrix"), [("squares", SQUARES), ("deltas", INPUTS)], ids=["squares", "deltas"]
    )
    @pytest.mark.parametrize("normalise", ["none", "tensor", "model"])
    def test_task_vectors_suggest_a_metric(
        self, metric: Any, matrix: Any, normalise: Any, rng: np.random.Generator
    ) -> None:
        deltas = task_vectors(rng, 9, 8) * np.array([1.0, 3.0, 0.5])[:, None, None]
        sizes = [1.0 if normalise == "none" else np.sum(x * x) for x in deltas]
        hessians = [matrix(x) / size for x, size in zip(deltas, sizes, strict=True)]
        merged = tv.epimer(deltas, np.ones(T), metric=metric, normalise=normalise, damping=0.01)
        near(merged, slow.epimer(deltas, hessians, 2, damping=0.01))

    @pytest.mark.parametrize("metric", ["deltas", "squares"])
    def test_inputs_of_a_layer_stored_in_out_are_its_rows(self, metric: Any, rng: np.random.Generator) -> None:
        deltas = task_vectors(rng, 9, 8)
        turned = tv.epimer(np.ascontiguousarray(deltas.transpose(0, 2, 1)), np.ones(T), metric=metric, role="turned")
        near(turned.T, tv.epimer(deltas, np.ones(T), metric=metric, role="matrix"))

    def test_the_recipe_needs_no_statistics(self) -> None:
        needs = METHODS["epimer"].needs
        check = METHODS["epimer"].check
        assert needs.measured(check({})) == ("metric",)
        assert needs.measured(check({"targets": "newton"})) == ("metric", "gradient")
        for metric in ("deltas", "squares"):
            assert needs.measured(check({"metric": metric})) == ()
            assert needs.measured(check({"metric": metric, "targets": "newton"})) == ("metric", "gradient")


def test_a_weight_is_a_factor_of_its_task_vector(rng: np.random.Generator) -> None:
    deltas, (curvature, _) = task_vectors(rng, 9, 8), measured("kronecker", rng, 9, 8)
    weights = np.array([0.5, -2.0, 1.5])
    merged = tv.epimer(deltas, weights, curvature=curvature)
    near(merged, tv.epimer(weights[:, None, None] * deltas, np.ones(T), curvature=curvature))


def test_a_task_that_weighs_nothing_adds_nothing_but_holds_the_others_back(rng: np.random.Generator) -> None:
    deltas, (curvature, hessians) = task_vectors(rng, 9, 8), measured("diagonal", rng, 9, 8)
    merged = tv.epimer(deltas, np.array([1.0, 0.0, 1.0]), normalise="none", damping=0.0, curvature=curvature)
    zeroed = deltas * np.array([1.0, 0.0, 1.0])[:, None, None]
    basis, s, label = slow.atoms([deltas[0], deltas[2]], 2)
    projected = [basis.T @ h @ basis for h in hessians]
    right = projected[0] @ np.where(label == 0, s, 0) + projected[2] @ np.where(label == 1, s, 0)
    near(merged.ravel(), basis @ np.linalg.solve(sum(projected) / T, right))
    near(tv.epimer(zeroed, np.ones(T), normalise="none", damping=0.0, curvature=curvature), merged)


def test_other_tensors_and_those_without_statistics_get_the_mean_or_the_sum(rng: np.random.Generator) -> None:
    deltas, weights = rng.standard_normal((T, 6, 5)), np.array([1.0, 2.0, -1.0])
    total = np.tensordot(weights, deltas, 1)
    curvature = measured("diagonal", rng, 6, 5)[0]
    for settings in ({"role": "vector", "curvature": curvature}, {"role": "table"}, {"role": "matrix"}):
        near(tv.epimer(deltas, weights, **settings), total / T)
        near(tv.epimer(deltas, weights, others="sum", **settings), total)


def test_a_convolution_is_taken_apart_as_rows_against_the_rest(rng: np.random.Generator) -> None:
    deltas, values = task_vectors(rng, 12, 18), spread(rng, T, 12, 18)
    flat = tv.epimer(deltas, np.ones(T), curvature=[Measured(m.Diagonal(x), 1.0) for x in values])
    folded = [Measured(m.Diagonal(x.reshape(12, 2, 9)), 1.0) for x in values]
    merged = tv.epimer(deltas.reshape(T, 12, 2, 9), np.ones(T), spectral="all", curvature=folded)
    assert np.array_equal(merged.reshape(12, 18), flat)


def test_a_layer_that_is_stored_in_out_is_merged_as_its_transpose(rng: np.random.Generator) -> None:
    deltas, factors = task_vectors(rng, 9, 8), [(psd(rng, 9), psd(rng, 8)) for _ in range(T)]
    upright = tv.epimer(deltas, np.ones(T), curvature=[Measured(m.Kronecker(b, a), 1.0) for b, a in factors])
    turned = np.ascontiguousarray(deltas.transpose(0, 2, 1))
    merged = tv.epimer(
        turned, np.ones(T), role="turned", curvature=[Measured(m.Kronecker(a, b), 1.0) for b, a in factors]
    )
    near(merged.T, upright)


class OneByOne:
    """Tasks, or what was measured of them, that are made when asked for, as the stream gives them."""

    def __init__(self, things: Any) -> None:
        self.things, self.shape, self.dtype = things, getattr(things, "shape", None), getattr(things, "dtype", None)

    def __getitem__(self, task: int) -> Any:
        if isinstance(self.things, np.ndarray):
            return self.things[task].copy()
        return self.things[task]


def held(name: str, given: dict[str, Any], curvature: Any, deltas: Array) -> int:
    """Bytes that a method holds at its peak beside what it is given."""
    method, tasks = METHODS[name].function, OneByOne(deltas)
    method(tasks, np.ones(len(deltas)), **given, curvature=curvature)  # what is imported on first use is not counted
    tracemalloc.start()
    try:
        method(tasks, np.ones(len(deltas)), **given, curvature=curvature)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


HOLDING: list[tuple[str, dict[str, Any]]] = [
    ("epimer", {}),
    ("epimer", {"rank": 4}),
    ("epimer", {"targets": "newton"}),
    ("epimer", {"metric": "deltas"}),
    ("epimer", {"coords": "project", "safeguard": True}),
    ("mats", {"iterations": 3}),
    ("mats", {"start": "fisher", "iterations": 2}),
    ("regmean", {}),
]


@pytest.mark.parametrize("shape", [(240, 240), (600, 120), (120, 600)], ids=str)
@pytest.mark.parametrize(
    ("name", "given", "kind"),
    [(name, settings, kind) for name, settings in HOLDING for kind in METHODS[name].needs.curvature],
    ids=str,
)
def test_a_method_holds_no_more_than_it_says(
    name: str, given: dict[str, Any], kind: str, shape: tuple[int, int], rng: np.random.Generator
) -> None:
    metrics: dict[str, m.Metric] = {
        "diagonal": m.Diagonal(spread(rng, *shape)),
        "kronecker": m.Kronecker(psd(rng, shape[0]), psd(rng, shape[1])),
        "gram": m.Kronecker(None, psd(rng, shape[1])),
        "eigen": m.Rotated(*(np.linalg.qr(psd(rng, n))[0] for n in shape), spread(rng, *shape)),
    }
    one = in_type(Measured(metrics[kind], 1.0), np.float32)
    one = Measured(one.metric, 1.0, rng.standard_normal(shape).astype(np.float32))
    deltas = rng.standard_normal((6, *shape)).astype(np.float32)
    method = METHODS[name]
    assert held(name, given, [one] * 6, deltas) <= 4 * method.needs.holds(6, *shape, method.check(given))


@pytest.mark.parametrize("given", [{}, {"targets": "newton"}, {"coords": "project"}, {"role": "matrix"}], ids=str)
def test_tasks_may_come_one_by_one(given: dict[str, Any], rng: np.random.Generator) -> None:
    deltas, (curvature, _) = task_vectors(rng, 9, 8), measured("diagonal", rng, 9, 8)
    expected = tv.epimer(deltas, np.ones(T), **given, curvature=curvature)
    merged = tv.epimer(OneByOne(deltas), np.ones(T), **given, curvature=OneByOne(curvature))
    assert np.array_equal(merged, expected)
    near(tv.epimer(OneByOne(deltas), np.ones(T), role="matrix"), deltas.mean(0))
