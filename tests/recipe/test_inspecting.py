"""Inspect against loops over whole models in float64; a merge that reports finds the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from taskvec.diagnose import figures
from taskvec.diagnose.facts import facts
from taskvec.ops.floats import narrow
from taskvec.progress import Silent
from taskvec.recipe.arithmetic import Scratch
from taskvec.recipe.inspecting import Inspecting, Measured, inspect_recipe, titles
from taskvec.recipe.run import stream
from taskvec.recipe.sinks import Nowhere
from taskvec.store.writer import ShardWriter
from taskvec.testing import finetuned, tiny_tensors, write_adapter, write_model

MODELS = ("m2", "m0", "m1")


@pytest.fixture(scope="session")
def arrays(family: Path) -> dict[str, np.ndarray]:
    """Base and models by tensor, (1 + task, *shape), in float64."""
    opened = [tv.Checkpoint(family / name) for name in ("base", *MODELS)]
    return {name: np.stack([m[name].double().numpy() for m in opened]) for name in opened[0]}


def look(family: Path, *names: str, **how: Any) -> tv.Report:
    return tv.inspect(family / "base", [family / name for name in names or MODELS], **how)


def compared(report: tv.Report) -> dict[str, Any]:
    """What a report says, without what it took."""
    return {key: value for key, value in facts(report).items() if key not in ("seconds", "bytes_read", "notes")}


class TestAgainstLoops:
    @pytest.fixture
    def report(self, family: Path, kernels: str) -> tv.Report:
        return look(family)

    def test_inner_products_in_the_order_of_the_models(self, report: tv.Report, arrays: dict[str, np.ndarray]) -> None:
        flat = np.concatenate([x.reshape(4, -1) for x in arrays.values()], axis=1)
        tasks = flat[1:] - flat[0]
        total = report.total
        np.testing.assert_allclose(total.gram, tasks @ tasks.T, rtol=1e-10)
        assert total.base == pytest.approx(flat[0] @ flat[0], rel=1e-12)
        assert total.largest.tolist() == np.abs(tasks).max(axis=1).tolist()
        assert (report.models, report.base, report.dtype) == (MODELS, "base", "bfloat16")
        assert (total.tensors, total.entries) == (len(arrays), flat.shape[1])

    def test_counts_of_signs_and_of_the_largest_entries(self, report: tv.Report, arrays: dict[str, np.ndarray]) -> None:
        opposite, nonzero, both, against = (np.zeros((3, 3), int) for _ in range(4))
        for x in arrays.values():
            tasks = (x[1:] - x[0]).reshape(3, -1)
            rank = tasks.shape[1] - max(1, round(0.2 * tasks.shape[1]))
            large = np.abs(tasks) >= np.sort(np.abs(tasks), axis=1)[:, rank : rank + 1]
            for i in range(3):
                for j in range(3):
                    apart = tasks[i] * tasks[j] < 0
                    kept = large[i] & large[j] & (tasks[i] != 0) & (tasks[j] != 0)
                    nonzero[i, j] += np.count_nonzero(tasks[i] * tasks[j])
                    opposite[i, j] += apart.sum()
                    both[i, j] += kept.sum()
                    against[i, j] += (kept & apart).sum()
        counts = report.total.counts
        assert counts.sampled == report.total.entries
        np.testing.assert_array_equal(counts.nonzero, nonzero)
        np.testing.assert_array_equal(counts.opposite, opposite)
        np.testing.assert_array_equal(counts.kept, both)
        np.testing.assert_array_equal(counts.kept_opposite, against)

    def test_what_is_lost_at_the_stored_type(self, report: tv.Report, arrays: dict[str, np.ndarray]) -> None:
        lost, energy, gone, changed = 0.0, 0.0, 0, 0
        for x in arrays.values():
            mean = (x[1:] - x[0]).mean(axis=0).reshape(-1)
            base = x[0].reshape(-1)
            total = (base + mean).astype("f4")
            stored, before = narrow(total, "BF16"), narrow(base.astype("f4"), "BF16")
            rounded = (stored.astype(np.uint32) << 16).view("f4").astype(float)
            lost, energy = lost + float(((rounded - total) ** 2).sum()), energy + float(mean @ mean)
            changed += int((np.abs(mean) > 1e-12).sum())
            gone += int(((stored == before) & (np.abs(mean) > 1e-12)).sum())
        share = figures.lost(report.total.rounding)
        assert share[:3].tolist() == [0, 0, 0]
        assert share[3] == pytest.approx(lost / energy, rel=1e-4)
        assert report.total.rounding.gone[3] == pytest.approx(gone, abs=3)
        assert report.total.rounding.changed[3] == pytest.approx(changed, abs=3)

    def test_groups_by_layer_and_kind(self, report: tv.Report) -> None:
        kinds = {(g.layer, g.kind): g.tensors for g in report.groups}
        assert kinds[0, "q"] == 1
        assert kinds[None, "embedding"] == 1
        assert sum(kinds.values()) == report.total.tensors
        assert [g.layer for g in report.by_layer()].count(4) == 1
        assert {g.kind for g in report.by_kind()} >= {"q", "mlp", "norm", "embedding"}


class TestTheSame:
    def test_whatever_threads_and_memory(self, family: Path) -> None:
        one = look(family, threads=1)
        assert compared(look(family, threads=3, memory=260_000_000)) == compared(one)

    def test_whatever_slices(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        base = {"h.0.mlp.fc1.weight": rng.standard_normal((300, 300)).astype("f4")}
        write_model(tmp_path / "base", base, dtype="F32")
        for name in ("a", "b"):
            tuned = {n: x + 1e-3 * rng.standard_normal(x.shape).astype("f4") for n, x in base.items()}
            write_model(tmp_path / name, tuned, dtype="F32")
        recipe = tv.Recipe.model_validate(
            {
                "method": "task_arithmetic",
                "base": str(tmp_path / "base"),
                "models": [str(tmp_path / "a"), str(tmp_path / "b")],
                "dtype": "bfloat16",
            }
        )

        def sliced(slice_: int) -> dict[str, Any]:
            plan = tv.make_plan(recipe, slice_=slice_, threads=2)
            measured = Measured(plan)
            stream(plan, Nowhere(), Silent(), arithmetic=Inspecting(plan, measured))
            return compared(measured.report())

        assert sliced(1 << 14) == sliced(1 << 15) == sliced(0)
        plan = tv.make_plan(recipe)
        (unit,) = plan.units
        for length in (300, 45_000, 89_999):  # as methods of rows and matrices are given them
            measured, scratch = Measured(plan), Scratch(2, plan.budget)
            arithmetic = Inspecting(plan, measured)
            for start in range(0, unit.count, length):
                measured.look(arithmetic, unit, start, min(start + length, unit.count), scratch)
            assert not measured.missing
            assert compared(measured.report()) == sliced(0)

    def test_in_whatever_order(self, family: Path) -> None:
        there, back = look(family, "m0", "m1", "m2"), look(family, "m2", "m1", "m0")
        np.testing.assert_array_equal(there.total.gram, back.total.gram[::-1, ::-1])
        np.testing.assert_array_equal(there.total.rounding.gone[:3], back.total.rounding.gone[:3][::-1])
        assert there.total.rounding.lost[3] == back.total.rounding.lost[3]

    def test_of_a_saved_task_vector(self, family: Path, tmp_path: Path) -> None:
        saved = tv.diff(family / "base", family / "m0")
        saved.save(tmp_path / "m0.tv")
        report = tv.inspect(family / "base", [tmp_path / "m0.tv", family / "m1"])
        np.testing.assert_array_equal(report.total.gram, look(family, "m0", "m1").total.gram)


class TestSpectra:
    def test_they_come_with_the_same_sums(self, family: Path, arrays: dict[str, np.ndarray]) -> None:
        report = look(family, spectra=4)
        assert {k: v for k, v in compared(report).items() if k not in ("spectra", "matrices")} == {
            k: v for k, v in compared(look(family)).items() if k not in ("spectra", "matrices")
        }
        found = {m.name: m for g in report.groups for m in g.matrices}
        assert set(found) == {n for n, x in arrays.items() if x.ndim == 3 and "embed" not in n and "head" not in n}
        for name, matrix in found.items():
            tasks = arrays[name][1:] - arrays[name][0]
            exact = np.linalg.svd(tasks, compute_uv=False)
            np.testing.assert_allclose(matrix.values, exact[:, :4], rtol=1e-4)
            np.testing.assert_allclose(
                figures.stable_rank(matrix), (tasks**2).sum((1, 2)) / exact[:, 0] ** 2, rtol=1e-4
            )

    def test_experts_in_one_tensor_are_measured_and_not_taken_apart(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        base = {"model.layers.0.mlp.experts.down_proj": rng.standard_normal((4, 60, 90)).astype("f4")}
        for seed, folder in enumerate(("base", "a", "b")):
            write_model(tmp_path / folder, finetuned(base, seed) if seed else base)
        models = [tmp_path / "a", tmp_path / "b"]
        report = tv.inspect(tmp_path / "base", models, spectra=3)
        assert [(g.kind, g.matrices) for g in report.groups] == [("experts", ())]
        given = {"base": str(tmp_path / "base"), "models": list(map(str, models)), "report": True}
        plan = tv.make_plan(tv.Recipe.model_validate({"method": "tsv_m", **given}))
        merged = tv.run(plan, tmp_path / "merged").facts["report"]["total"]
        assert merged == facts(report)["total"]

    @pytest.mark.parametrize(("spectra", "memory"), [(4, 200), (0, 1), (4, 1)])
    def test_too_little_memory_is_refused_before_work(self, family: Path, spectra: int, memory: int) -> None:
        said = rf"^inspect needs \d+ MB .* 'memory' is {memory} MB\. Type e\.g\. --memory"
        with pytest.raises(tv.RecipeError, match=said):
            look(family, spectra=spectra, memory=memory * 1_000_000)


class TestWrong:
    def test_fewer_than_two_models(self, family: Path) -> None:
        with pytest.raises(tv.RecipeError, match=r"two or more beside the base, got 1\. Name another model\."):
            look(family, "m0")

    def test_no_tensor_to_compare(self, family: Path) -> None:
        with pytest.raises(tv.RecipeError, match=r"no tensor is left .* Let 'ignore' match fewer\."):
            look(family, ignore=["*"])

    @pytest.mark.parametrize("kept", [0, 1.5])
    def test_a_share_that_is_none(self, family: Path, kept: float) -> None:
        with pytest.raises(tv.RecipeError, match=r"'kept' is a share of the entries in \(0, 1\]"):
            look(family, kept=kept)

    def test_a_negative_number_of_directions(self, family: Path) -> None:
        with pytest.raises(tv.RecipeError, match="'spectra' is how many directions"):
            look(family, spectra=-1)

    def test_a_model_of_another_base(self, family: Path, tmp_path: Path) -> None:
        write_model(tmp_path / "other", tiny_tensors(7, layers=5), dtype="BF16")
        with pytest.raises(tv.MismatchError, match="does not look like a relative of"):
            tv.inspect(family / "base", [family / "m0", tmp_path / "other"])
        assert tv.inspect(family / "base", [family / "m0", tmp_path / "other"], allow=["unrelated"]).models

    def test_a_model_of_another_shape(self, family: Path, tmp_path: Path) -> None:
        write_model(tmp_path / "wide", tiny_tensors(layers=5, hidden=16), dtype="BF16")
        with pytest.raises(tv.MismatchError, match=r"is \(.*\) in .*wide but \(.*\) in"):
            tv.inspect(family / "base", [family / "m0", tmp_path / "wide"])

    def test_a_model_equal_to_the_base_is_said(self, family: Path) -> None:
        report = look(family, "m0", "base", "m1")
        assert "base is equal to the base: its task vector is zero." in report.notes
        assert figures.zero_vectors(report.total).tolist() == [False, True, False]
        assert facts(report)["total"]["sign_conflict"]["share"][0][1] is None
        assert figures.in_span(report.total)[1] == 0

    def test_nan_is_named(self, tmp_path: Path) -> None:
        base = tiny_tensors()
        bad = finetuned(base, 1)
        name = "model.layers.1.self_attn.q_proj.weight"
        bad[name] = bad[name].copy()
        bad[name].reshape(-1)[3] = np.nan
        for folder, tensors in (("base", base), ("good", finetuned(base, 0)), ("bad", bad)):
            write_model(tmp_path / folder, tensors)
        with pytest.raises(tv.NumbersError, match=rf"'{name}' in .*bad holds 1 NaN or Inf .* Mend that model") as info:
            tv.inspect(tmp_path / "base", [tmp_path / "good", tmp_path / "bad"])
        assert info.value.__notes__ == [f"while looking at '{name}'"]


def test_dead_and_exploding_tensors(tmp_path: Path) -> None:
    base = tiny_tensors()
    first, second = (finetuned(base, seed) for seed in (0, 1))
    name, dead = "model.layers.0.self_attn.q_proj.weight", "model.norm.weight"
    second[name] = base[name] * 4
    first[dead] = second[dead] = base[dead]
    for folder, tensors in (("base", base), ("a", first), ("b", second)):
        write_model(tmp_path / folder, tensors)
    report = tv.inspect(tmp_path / "base", [tmp_path / "a", tmp_path / "b"])
    assert report.dead == (dead,)
    assert [(m, n, round(ratio, 4)) for m, n, ratio in report.exploding] == [("b", name, 3)]


def test_an_adapter_is_a_task_vector(tmp_path: Path, family: Path) -> None:
    shapes = {"A": (2, 8), "B": (8, 2)}
    factors = {
        f"base_model.model.model.layers.0.self_attn.q_proj.lora_{half}.weight": np.full(shape, 0.5, np.float32)
        for half, shape in shapes.items()
    }
    report = tv.inspect(family / "base", [write_adapter(tmp_path / "lora", factors), family / "m0"], spectra=2)
    (q,) = [g for g in report.groups if (g.layer, g.kind) == (0, "q")]
    assert [g.kind for g in report.groups if g.norms[0] > 0] == ["q"]
    np.testing.assert_allclose(q.matrices[0].values[0, 1], 0, atol=1e-6)


def test_names_of_models() -> None:
    assert titles(["x/base", "x/math"]) == ("base", "math")
    assert titles(["a/x", "b/x"]) == ("a/x", "b/x")


class TestReportOfAMerge:
    Merge = Callable[..., tv.Receipt]

    @pytest.fixture
    def recipe(self, family: Path) -> Callable[..., tv.Recipe]:
        def make(method: str, **keys: Any) -> tv.Recipe:
            models = [str(family / name) for name in MODELS]
            return tv.Recipe.model_validate({"method": method, "base": str(family / "base"), "models": models, **keys})

        return make

    @pytest.mark.parametrize("method", ["task_arithmetic", "ties", "tsv_m", "nuslerp"])
    def test_is_what_inspect_finds_and_changes_no_bit(
        self, family: Path, recipe: Callable[..., tv.Recipe], tmp_path: Path, method: str
    ) -> None:
        names = MODELS[:2] if method == "nuslerp" else MODELS
        models = {"models": [str(family / name) for name in names]}
        without = tv.run(tv.make_plan(recipe(method, **models)), tmp_path / "without")
        receipt = tv.run(tv.make_plan(recipe(method, **models, report=True)), tmp_path / "merged")
        expected = facts(inspect_recipe(recipe("task_arithmetic", **models)))
        found = json.loads((tmp_path / "merged" / "receipt.json").read_text())["report"]
        assert receipt.facts["report"] == found
        for key in ("seconds", "bytes_read", "notes"):
            del expected[key], found[key]
        assert found == expected
        assert "report" not in without.facts
        weights = [(tmp_path / where / "model.safetensors").read_bytes() for where in ("without", "merged")]
        assert weights[0] == weights[1]
        assert (tmp_path / "merged" / "report.html").read_text().startswith("<!")
        assert "report.html" in receipt.facts["files"]

    def test_is_read_in_the_same_pass(self, recipe: Callable[..., tv.Recipe], tmp_path: Path) -> None:
        plan = tv.make_plan(recipe("task_arithmetic", report=True))
        assert tv.run(plan, tmp_path / "merged").facts["bytes"]["read"] == plan.bytes_read

    def test_of_a_resumed_merge_is_of_all_tensors(
        self, recipe: Callable[..., tv.Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made, out = recipe("ties", report=True), tmp_path / "merged"
        expected = tv.run(tv.make_plan(made), tmp_path / "whole").facts["report"]
        writes, write = [], ShardWriter.write

        def stopping(writer: ShardWriter, name: str, start: int, raw: Any) -> None:
            writes.append(name)
            if len(writes) == 9:
                raise KeyboardInterrupt
            write(writer, name, start, raw)

        with monkeypatch.context() as patch:
            patch.setattr(ShardWriter, "write", stopping)
            with pytest.raises(KeyboardInterrupt):
                tv.run(tv.make_plan(made, threads=1), out)
        receipt = tv.run(tv.make_plan(made), out)
        assert receipt.facts["resumed"]
        found = receipt.facts["report"]
        for key in ("seconds", "bytes_read"):
            del expected[key], found[key]
        assert found == expected

    @pytest.mark.parametrize(
        ("keys", "said"),
        [
            ({"models": ["m0"]}, r"'report' tells how two or more models relate, got 1\. Name another, or remove"),
            ({"nonfinite": "pass"}, "'report' measures finite numbers, and 'nonfinite: pass' lets NaN"),
            ({"ignore": ["*"]}, "no tensor is left to tell how the models relate"),
        ],
    )
    def test_what_cannot_be_reported_on_is_refused_in_the_plan(
        self, family: Path, recipe: Callable[..., tv.Recipe], keys: dict[str, Any], said: str
    ) -> None:
        if "models" in keys:
            keys = {"models": [str(family / name) for name in keys["models"]]}
        tv.make_plan(recipe("task_arithmetic", **keys))
        with pytest.raises(tv.RecipeError, match=said):
            tv.make_plan(recipe("task_arithmetic", **keys, report=True))

    def test_a_report_that_fails_does_not_cost_the_merge(
        self, recipe: Callable[..., tv.Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tv.run(tv.make_plan(recipe("ties")), tmp_path / "without")

        def fails(report: tv.Report) -> str:
            raise ValueError(f"{len(report.models)} are too many")

        monkeypatch.setattr("taskvec.diagnose.page.render", fails)
        with pytest.raises(tv.OutputError, match=r"merged is whole, but without its report, .*ValueError: 3 are too"):
            tv.run(tv.make_plan(recipe("ties", report=True)), tmp_path / "merged")
        weights = [(tmp_path / where / "model.safetensors").read_bytes() for where in ("without", "merged")]
        assert weights[0] == weights[1]
        receipt = json.loads((tmp_path / "merged" / "receipt.json").read_text())
        assert receipt["report"] == {"failed": "ValueError: 3 are too many"}
        assert not (tmp_path / "merged" / "report.html").exists()

    @pytest.mark.parametrize(
        ("method", "how"), [("linear", "Remove 'report', or name"), ("multislerp", "Type 'base: …'")]
    )
    def test_needs_task_vectors(self, recipe: Callable[..., tv.Recipe], method: str, how: str) -> None:
        made = recipe(method, report=True).model_copy(update={"base": None})
        with pytest.raises(tv.RecipeError, match=rf"'report' measures task vectors, and '{method}' merges .* {how}"):
            tv.make_plan(made)

    @pytest.mark.parametrize(
        ("other", "more"),
        [
            ("stack", "stack: [{models: [{model: ./a, layers: 0-1}]}]"),
            ("adapter", "models: [./a]\nadapter: {rank: all}"),
        ],
    )
    def test_needs_whole_models(self, typed: Callable[[str], Any], other: str, more: str) -> None:
        with pytest.raises(
            tv.RecipeError, match=rf"'report' measures models tensor by tensor, which '{other}' does not"
        ):
            typed(f"method: task_arithmetic\nbase: ./base\nreport: true\n{more}\n")
