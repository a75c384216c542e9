"""Inspect with statistics, against loops over whole models in float64, through files and slices."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from encoders import changed, gpt2
from measured import write_statistics
from taskvec.diagnose.facts import facts
from taskvec.diagnose.mergeability import Mergeability
from taskvec.merge.matrices import role_of
from taskvec.merge.methods import tsv_m
from taskvec.recipe import curved_inspecting
from taskvec.store.peft.changes import CONV1D_LAYERS
from taskvec.store.statistics import Statistics
from taskvec.testing import write_adapter

MODELS = ("m2", "m0", "m1")
KINDS = ("diagonal", "kronecker", "eigen")
MERGES = ("plain", "flat", "curved")

Bend = Callable[[int, str, np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def stats(family: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Statistics of every kind, of the models in their order."""
    folder = tmp_path_factory.mktemp("stats")
    return {
        kind: [
            write_statistics(folder / f"{kind}-{name}", family / name, kind, seed=i) for i, name in enumerate(MODELS)
        ]
        for kind in (*KINDS, "gram")
    }


@pytest.fixture(scope="module")
def deltas(family: Path) -> dict[str, np.ndarray]:
    """Task vectors by tensor, (task, *shape), in float64."""
    return _deltas(family / "base", [family / name for name in MODELS])


def _deltas(base: Path, models: Sequence[Path]) -> dict[str, np.ndarray]:
    opened = [tv.Checkpoint(path) for path in (base, *models)]
    stacks = {name: np.stack([m[name].double().numpy() for m in opened]) for name in opened[0]}
    return {name: stack[1:] - stack[0] for name, stack in stacks.items()}


def look(family: Path, statistics: Sequence[Path], **how: Any) -> Mergeability:
    report = tv.inspect(family / "base", [family / name for name in MODELS], statistics=statistics, **how)
    assert report.mergeability is not None
    return report.mergeability


def bending(folders: Sequence[Path], turned: Callable[[str], bool] = lambda name: False) -> Bend:
    """Return (task, name, x) → H_t x, from the files, in float64."""
    opened = [Statistics(folder) for folder in folders]

    def part(task: int, name: str, what: str = "") -> np.ndarray:
        return opened[task].read(name, what).astype(np.float64)

    def bend(task: int, name: str, x: np.ndarray) -> np.ndarray:
        kind = opened[task].kind_of(name)
        if kind == "diagonal":
            return part(task, name) * x
        x = x.T if turned(name) else x
        if kind == "kronecker":
            out = part(task, name, "output") @ x @ part(task, name, "input")
        else:
            left, right = part(task, name, "output_vectors"), part(task, name, "input_vectors")
            out = left @ (part(task, name, "eigenvalues") * (left.T @ x @ right)) @ right.T
        return out.T if turned(name) else out

    return bend


def excess(deltas: dict[str, np.ndarray], merged: dict[str, np.ndarray], bend: Bend) -> np.ndarray:
    """Σ over tensors of ½⟨m - δ_t, H_t (m - δ_t)⟩."""
    tasks = len(next(iter(deltas.values())))
    out = np.zeros(tasks)
    for name, stack in deltas.items():
        for t in range(tasks):
            apart = merged[name] - stack[t]
            out[t] += (apart * bend(t, name, apart)).sum() / 2
    return out


@pytest.mark.parametrize("kind", KINDS)
class TestAgainstLoops:
    def test_a_plain_sum_at_any_scale(
        self, family: Path, stats: dict[str, list[Path]], deltas: dict[str, np.ndarray], kind: str
    ) -> None:
        found, bend = look(family, stats[kind]), bending(stats[kind])
        for alpha in (0.0, 1 / 3, 1.3):
            merged = {name: alpha * stack.sum(axis=0) for name, stack in deltas.items()}
            np.testing.assert_allclose(
                found.total.expected("plain", alpha).excess, excess(deltas, merged, bend), rtol=1e-4
            )
        assert (found.models, found.estimator, found.examples) == (
            MODELS,
            {"diagonal": "fisher", "kronecker": "kfac", "eigen": "ekfac"}[kind],
            (64, 64, 64),
        )
        assert found.total.all.entries == sum(stack[0].size for stack in deltas.values())

    def test_the_flat_sum_is_tsv_m_as_it_merges(
        self, family: Path, stats: dict[str, list[Path]], deltas: dict[str, np.ndarray], kind: str
    ) -> None:
        found, bend = look(family, stats[kind]), bending(stats[kind])
        roles = {name: role_of(stack.shape[1:], name) for name, stack in deltas.items()}
        merged = {name: 1.2 * tsv_m(stack, np.ones(3), role=roles[name]) for name, stack in deltas.items()}
        np.testing.assert_allclose(found.total.expected("flat", 1.2).excess, excess(deltas, merged, bend), rtol=1e-4)
        inside = {tensor.name for tensor in found.tensors if tensor.inside}
        assert inside == {name for name, role in roles.items() if role == "matrix"}

    def test_eta_is_what_curvature_takes_off(self, family: Path, stats: dict[str, list[Path]], kind: str) -> None:
        for tensor in look(family, stats[kind], rank=2).tensors:
            sums = tensor.sums
            assert sums.eta > 0
            assert sums.variance("flat") - sums.variance("curved") == pytest.approx(sums.eta, rel=1e-3)
            assert sums.weights @ sums.excess("curved") <= sums.bounds("curved")[1] * (1 + 1e-6)
            assert tensor.rank == (2 if tensor.inside else 0)


def test_normalising_changes_which_task_decides_and_not_what_a_merge_costs(family: Path, tmp_path: Path) -> None:
    """A task whose loss is a thousand times as steep decides the curved mean, unless curvature is normalised."""
    totals = (1000.0, 1.0, 1.0)
    folders = [
        write_statistics(tmp_path / name, family / name, seed=i, total=total)
        for i, (name, total) in enumerate(zip(MODELS, totals, strict=True))
    ]
    scaled, plain = (look(family, folders, normalise=how, rank=2) for how in ("model", "none"))
    assert (scaled.units, plain.units) == (totals, (1.0, 1.0, 1.0))
    for which in ("plain", "flat"):
        one, other = (found.total.expected(which, 0.5) for found in (scaled, plain))
        np.testing.assert_allclose(one.excess, other.excess, rtol=1e-5)
        np.testing.assert_allclose(one.gains, other.gains, rtol=1e-5)
        assert scaled.total.best_scale(which) == pytest.approx(plain.total.best_scale(which), rel=1e-5)
    lowered, even = (found.total.all.excess("curved") * found.total.units for found in (scaled, plain))
    assert lowered[0] > even[0]
    assert lowered[1:].max() < even[1:].max()


def test_threads_and_slices_do_not_change_it(family: Path, stats: dict[str, list[Path]]) -> None:
    one, many = (look(family, stats["diagonal"], threads=threads) for threads in (1, 3))
    for which in MERGES:
        np.testing.assert_allclose(one.total.expected(which).excess, many.total.expected(which).excess, rtol=1e-6)
    outside = [[t.sums.excess("curved").tolist() for t in found.tensors if not t.inside] for found in (one, many)]
    assert outside[0] == outside[1]
    assert [t.name for t in one.tensors] == [t.name for t in many.tensors]


def test_without_statistics_nothing_else_changes(family: Path, stats: dict[str, list[Path]]) -> None:
    models = [family / name for name in MODELS]
    plain = facts(tv.inspect(family / "base", models, spectra=2))
    both = facts(tv.inspect(family / "base", models, spectra=2, statistics=stats["kronecker"]))
    assert both.pop("mergeability")["tensors"]
    took = ("seconds", "bytes_read")
    assert both["bytes_read"] > plain["bytes_read"]
    assert {k: v for k, v in both.items() if k not in took} == {k: v for k, v in plain.items() if k not in took}


def test_layers_that_are_stored_in_out(tmp_path: Path) -> None:
    """GPT-2 stores its layers turned; K-FAC's factors are of outputs and inputs all the same."""
    base = gpt2(tmp_path / "base")
    models = [changed(base, tmp_path / f"m{i}", seed=i) for i in range(2)]
    deltas = _deltas(base, models)
    turned = tuple(n for n in deltas if n.removesuffix(".weight").rpartition(".")[2] in CONV1D_LAYERS)
    turned = tuple(n for n in turned if n.endswith(".weight"))
    assert turned
    folders = [
        write_statistics(tmp_path / f"s{i}", model, "kronecker", seed=i, turned=turned)
        for i, model in enumerate(models)
    ]
    found = tv.inspect(base, models, statistics=folders).mergeability
    assert found is not None
    merged = {name: 0.7 * stack.sum(axis=0) for name, stack in deltas.items()}
    expected = excess(deltas, merged, bending(folders, lambda name: name in turned))
    np.testing.assert_allclose(found.total.expected("plain", 0.7).excess, expected, rtol=1e-4)


def test_tensors_of_which_nothing_is_known_are_left_out_and_named(family: Path, tmp_path: Path) -> None:
    left_out = "model.norm.weight"
    folders = [
        write_statistics(tmp_path / name, family / name, seed=i, skip=(left_out,)) for i, name in enumerate(MODELS)
    ]
    found = look(family, folders)
    assert found.unknown == (left_out,)
    assert left_out not in {tensor.name for tensor in found.tensors}


class TestRefusals:
    def refused(self, family: Path, statistics: Sequence[Path], models: Sequence[Path] = (), **how: Any) -> None:
        tv.inspect(family / "base", models or [family / name for name in MODELS], statistics=statistics, **how)

    def test_as_many_statistics_as_models(self, family: Path, stats: dict[str, list[Path]]) -> None:
        with pytest.raises(tv.RecipeError, match=r"got 3 models and 2 folders of statistics. Give one a model, in"):
            self.refused(family, stats["diagonal"][:2])

    def test_of_these_models(self, family: Path, stats: dict[str, list[Path]]) -> None:
        with pytest.raises(tv.MismatchError, match=r"m0 were measured of .*m0 .* and .*m2 is"):
            self.refused(family, [stats["diagonal"][1], stats["diagonal"][0], stats["diagonal"][2]])

    def test_of_one_kind(self, family: Path, stats: dict[str, list[Path]]) -> None:
        with pytest.raises(tv.MismatchError, match="Measure both with one estimator"):
            self.refused(family, [stats["diagonal"][0], *stats["kronecker"][1:]])

    def test_that_say_how_a_loss_bends(self, family: Path, stats: dict[str, list[Path]]) -> None:
        with pytest.raises(tv.RecipeError, match=r"'inspect --stats' uses statistics of the kind .*'gram' \(by gram\)"):
            self.refused(family, stats["gram"])

    def test_of_whole_models(self, family: Path, tmp_path: Path, stats: dict[str, list[Path]]) -> None:
        parts = {"lora_A": np.ones((2, 8), np.float32), "lora_B": np.ones((24, 2), np.float32)}
        module = "base_model.model.model.layers.0.mlp.up_proj"
        adapter = write_adapter(tmp_path / "adapter", {f"{module}.{p}.weight": x for p, x in parts.items()})
        models = [family / "m2", family / "m0", adapter]
        with pytest.raises(tv.TaskVecError, match="is a change of the base"):
            self.refused(family, stats["diagonal"], models, allow=["unrelated"])

    def test_another_way_to_normalise(self, family: Path, stats: dict[str, list[Path]]) -> None:
        with pytest.raises(tv.RecipeError, match="'normalise' must be one of model, none, got 'tensor'"):
            self.refused(family, stats["diagonal"], normalise="tensor")

    @pytest.mark.parametrize(("rank", "given"), [(-1, True), (2, False)], ids=["negative", "alone"])
    def test_a_rank_that_is_none(self, family: Path, stats: dict[str, list[Path]], rank: int, given: bool) -> None:
        with pytest.raises(tv.RecipeError, match="'rank' is"):
            self.refused(family, stats["diagonal"] if given else (), rank=rank)

    def test_too_little_memory(self, family: Path, stats: dict[str, list[Path]]) -> None:
        with pytest.raises(tv.RecipeError, match=r"inspect needs .* MB at its widest tensor"):
            self.refused(family, stats["diagonal"], memory=1_000_000)


def test_what_is_held_counts_the_factors(family: Path, stats: dict[str, list[Path]]) -> None:
    """K-FAC's factors of a wide layer are larger than its weights."""
    from taskvec.recipe.curved_inspecting import held, method_of
    from taskvec.recipe.ground import lay_ground
    from taskvec.recipe.plan import plan_on

    def numbers(kind: str) -> int:
        entries = [{"model": str(family / n), "statistics": str(s)} for n, s in zip(MODELS, stats[kind], strict=True)]
        data = {"method": "task_arithmetic", "base": str(family / "base"), "models": entries}
        recipe = tv.Recipe.model_validate(data)
        plan = plan_on(lay_ground(recipe, "delta"), recipe, method=method_of(recipe))
        return held(plan, 3, 4096, 1024, 16)

    assert numbers("diagonal") < numbers("kronecker") < numbers("eigen")
    assert numbers("kronecker") > 4096**2
    assert curved_inspecting.KINDS == KINDS
