"""The plan: every number of every tensor, the output's layout, bytes, memory; and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from taskvec.merge.statistics import Gram
from taskvec.recipe.budget import STANDING, TORCH
from taskvec.testing import finetuned, tiny_tensors, write_model

Planned = Callable[..., tv.Plan]


def numbers(plan: tv.Plan, name: str) -> tuple[tuple[float, ...], dict[str, Any], float]:
    """Return a tensor's weights, settings and scale, in the order in which the recipe lists the models."""
    unit = next(u for u in plan.units if u.name == name)
    order = [next(t for t, model in enumerate(plan.models) if model is listed) for listed in plan.listed]
    settings = {k: tuple(v[t] for t in order) if isinstance(v, tuple) else v for k, v in unit.settings.items()}
    return tuple(unit.weights[t] for t in order), settings, unit.scale


UP = "model.layers.{}.mlp.up_proj.weight"
Q = "model.layers.{}.self_attn.q_proj.weight"
LOCAL = {"scope": "tensor"}


class TestNumbers:
    def test_settings_are_filled_with_the_methods_defaults(self, planned: Planned) -> None:
        defaults = {s.name: s.default for s in tv.METHODS["ties"].settings.values()}
        for unit in planned("ties").units:
            assert (unit.weights, unit.settings, unit.scale) == ((1.0, 1.0), defaults, 1.0)

    def test_overrides_by_glob(self, planned: Planned) -> None:
        plan = planned(
            settings={**LOCAL, "density": 0.5},
            overrides=[{"match": "*.mlp.*", "settings": {"density": 0.1}, "weights": [2, 3], "scale": 0.5}],
        )
        weights, settings, scale = numbers(plan, UP.format(2))
        assert (weights, settings["density"], scale) == ((2.0, 3.0), 0.1, 0.5)
        weights, settings, scale = numbers(plan, Q.format(2))
        assert (weights, settings["density"], scale) == ((1.0, 1.0), 0.5, 1.0)

    def test_overrides_by_layers(self, planned: Planned) -> None:
        plan = planned(overrides=[{"layers": "1-2", "scale": 0}, {"match": "*q_proj*", "layers": 4, "scale": 7}])
        scales = {u.name: u.scale for u in plan.units}
        assert [scales[Q.format(i)] for i in range(5)] == [1, 0, 0, 1, 7]
        assert [scales[UP.format(i)] for i in range(5)] == [1, 0, 0, 1, 1]
        assert scales["lm_head.weight"] == 1

    def test_the_last_override_wins_and_keeps_what_it_does_not_say(self, planned: Planned) -> None:
        plan = planned(
            settings=LOCAL,
            overrides=[
                {"match": "*.mlp.*", "settings": {"density": 0.1}, "scale": 2},
                {"match": "*", "settings": {"density": 0.3}},
            ],
        )
        _, settings, scale = numbers(plan, UP.format(0))
        assert (settings["density"], scale) == (0.3, 2)

    def test_lists_are_interpolated_over_depth(self, planned: Planned, family: Path) -> None:
        plan = planned(
            models=[
                {"model": str(family / "m0"), "weight": [0, 1]},
                {"model": str(family / "m1"), "weight": 3, "settings": {"density": [0.2, 0.6]}},
            ],
            settings={**LOCAL, "density": [1, 0.5, 1]},
            scale=[1, 2],
        )
        for i in range(5):
            weights, settings, scale = numbers(plan, UP.format(i))
            assert weights == (i / 4, 3)
            assert settings["density"] == pytest.approx((1 - abs(1 - abs(i - 2) / 2) / 2, 0.2 + 0.1 * i))
            assert scale == 1 + i / 4
        assert numbers(plan, "lm_head.weight") == numbers(plan, "model.norm.weight")
        assert numbers(plan, "lm_head.weight")[::2] == ((0, 3), 1)

    def test_lists_in_overrides_too(self, planned: Planned) -> None:
        plan = planned(overrides=[{"match": "*.mlp.*", "weights": [[0, 4], 1], "scale": [4, 0]}])
        assert numbers(plan, UP.format(1))[0] == (1.0, 1.0)
        assert [numbers(plan, UP.format(i))[2] for i in range(5)] == [4, 3, 2, 1, 0]

    def test_a_models_own_settings(self, planned: Planned, family: Path) -> None:
        models = [{"model": str(family / "m0"), "settings": {"density": 0.3}}, {"model": str(family / "m1")}]
        assert numbers(planned(models=models), UP.format(0))[1]["density"] == (0.3, 0.2)
        shared = planned(models=models, settings={"density": 0.7})
        assert numbers(shared, UP.format(0))[1]["density"] == (0.3, 0.7)

    def test_weights_of_an_override_are_one_a_model(self, planned: Planned) -> None:
        with pytest.raises(tv.RecipeError, match="an override gives 3 weights for 2 models"):
            planned(overrides=[{"weights": [1, 2, 3]}])
        with pytest.raises(tv.RecipeError, match="an override gives 0 weights for 2 models"):
            planned(overrides=[{"weights": []}])

    @pytest.mark.parametrize(
        ("method", "override"), [("model_stock", {"weights": [1, 2]}), ("slerp", {"weights": [1, 2]})]
    )
    def test_a_method_without_weights_takes_none_in_overrides_either(
        self, planned: Planned, method: str, override: dict[str, Any]
    ) -> None:
        with pytest.raises(tv.RecipeError, match=rf"'{method}' takes no weights: it finds its own numbers"):
            planned(method, overrides=[override])


class TestOrder:
    """Task vectors are added up in one order, however they are listed; what is listed stays with its model."""

    @pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
    def test_weights_and_settings_go_with_their_model(self, planned: Planned, family: Path, order: list[int]) -> None:
        models = [
            {"model": str(family / f"m{i}"), "weight": i + 1, "settings": {"density": 0.1 + i / 10}} for i in range(3)
        ]
        overrides = [{"match": "*.mlp.*", "weights": [10 * (i + 1) for i in order]}]
        plan = planned("ties", models=[models[i] for i in order], overrides=overrides)
        unit = next(u for u in plan.units if u.name == UP.format(1))
        names, weights, densities = [Path(m.name).name for m in plan.models], unit.weights, unit.settings["density"]
        assert dict(zip(names, weights, strict=True)) == {"m0": 10, "m1": 20, "m2": 30}
        assert dict(zip(names, densities, strict=True)) == pytest.approx({"m0": 0.1, "m1": 0.2, "m2": 0.3})
        assert [Path(i.name).name for i in plan.inputs] == ["base", *(f"m{i}" for i in order)]
        first = planned("ties", models=models, overrides=[{"match": "*.mlp.*", "weights": [10, 20, 30]}])
        assert first.digest() == plan.digest()

    def test_the_same_model_twice_with_other_weights(self, planned: Planned, family: Path) -> None:
        models = [{"model": str(family / "m0"), "weight": w} for w in (3, 1)]
        assert planned("ties", models=models).digest() == planned("ties", models=models[::-1]).digest()

    @pytest.mark.parametrize("method", ["linear", "slerp"])
    def test_whole_models_keep_theirs_for_the_first_is_the_reference(self, planned: Planned, method: str) -> None:
        plan = planned(method)
        assert plan.models == plan.listed
        assert plan.reference is plan.listed[0]


class TestTensors:
    def test_ignored_ones_are_copied(self, planned: Planned) -> None:
        plan = planned(ignore=["lm_head.*", "*.input_layernorm.*"])
        copied = [u.name for u in plan.units if not u.merged]
        assert copied == [f"model.layers.{i}.input_layernorm.weight" for i in range(5)] + ["lm_head.weight"]

    def test_a_glob_that_matches_nothing_is_refused(self, planned: Planned) -> None:
        with pytest.raises(
            tv.RecipeError, match=r"'ignore: lm_haed\.\*' matches no tensor\. Did you mean 'lm_head\.\*'\?$"
        ):
            planned(ignore=["lm_haed.*"])
        with pytest.raises(
            tv.RecipeError, match=r"'ignore: zzz' matches no tensor\. The first of them is 'model\.embed"
        ):
            planned(ignore=["zzz"])
        mpl = r"^the override 'match: \*\.mpl\.\*' matches no tensor\. Did you mean '\*\.mlp\.\*'\?$"
        with pytest.raises(tv.RecipeError, match=mpl):
            planned(overrides=[{"match": "*.mpl.*"}])
        with pytest.raises(
            tv.RecipeError, match=r"^the override 'match: lm_head\.\*', 'layers: 1' matches no tensor\.$"
        ):
            planned(overrides=[{"match": "lm_head.*", "layers": 1}])
        with pytest.raises(tv.RecipeError, match="'layers' must be a layer or a range such as '0-3', got 'first'"):
            planned(overrides=[{"layers": "first"}])

    @pytest.mark.parametrize("layers", ["5-9", "3-9", 5])
    def test_layers_of_an_override_that_are_not_there_are_refused(self, planned: Planned, layers: str | int) -> None:
        message = rf"^'layers: {layers}' reaches outside .*base, which has 5 layers \('model\.layers\.0' to '.*4'\)\.$"
        for match in ("*", "*.mlp.*"):
            with pytest.raises(tv.RecipeError, match=message):
                planned(overrides=[{"match": match, "layers": layers, "scale": 2}])
        assert planned(overrides=[{"layers": "3-4", "scale": 2}]).units

    def test_types(self, planned: Planned) -> None:
        assert {u.dtype for u in planned().units} == {"BF16"}
        assert {u.dtype for u in planned(dtype="float16").units} == {"F16"}
        assert {u.work for u in planned(dtype="float64").units} == {"F32"}

    def test_mixed_types_and_buffers(self, tmp_path: Path) -> None:
        base = tiny_tensors(layers=1) | {"ids": np.arange(4, dtype=np.int64)}
        wide = {"model.norm.weight": "F64"}
        write_model(tmp_path / "b", base, dtype="BF16", dtypes=wide)
        write_model(tmp_path / "m", finetuned(base, 1), dtype="F32")
        recipe = {"method": "task_arithmetic", "base": str(tmp_path / "b"), "models": [{"model": str(tmp_path / "m")}]}
        units = {u.name: u for u in tv.make_plan(tv.Recipe.model_validate(recipe)).units}
        assert (units["ids"].merged, units["ids"].dtype) == (False, "I64")
        assert (units["model.norm.weight"].dtype, units["model.norm.weight"].work) == ("F64", "F64")
        assert (units["lm_head.weight"].dtype, units["lm_head.weight"].work) == ("BF16", "F32")
        halves = tv.make_plan(tv.Recipe.model_validate(recipe | {"dtype": "float16"}))
        assert {u.dtype for u in halves.units} == {"F16", "I64"}

    def test_a_scope_over_the_whole_model_needs_one_setting_and_one_precision(
        self, planned: Planned, tmp_path: Path
    ) -> None:
        with pytest.raises(
            tv.RecipeError, match=r"settings of 'ties' differ between tensors, .* Type 'scope: tensor'\."
        ):
            planned(settings={"density": [0.1, 0.2]})
        base = tiny_tensors(layers=1)
        write_model(tmp_path / "b", base, dtypes={"model.norm.weight": "F64"})
        write_model(tmp_path / "m", finetuned(base, 1))
        recipe = {"method": "ties", "base": str(tmp_path / "b"), "models": [{"model": str(tmp_path / "m")}]}
        with pytest.raises(
            tv.MismatchError, match=r"cannot rank float64 and float32 tensors together\. Type 'scope: te"
        ):
            tv.make_plan(tv.Recipe.model_validate(recipe))
        assert tv.make_plan(tv.Recipe.model_validate(recipe | {"settings": LOCAL})).units


class TestTies:
    """The output head of one model is its embedding: the rule is the same wherever a tensor is asked for."""

    HEAD = "lm_head.weight"

    @pytest.fixture
    def recipe(self, tmp_path: Path) -> Callable[[bool, bool], tv.Recipe]:
        base = tiny_tensors(layers=1)
        tuned = finetuned(base, 1)

        def make(base_tied: bool, model_tied: bool) -> tv.Recipe:
            for name, tensors, tied in (("b", base, base_tied), ("m", tuned, model_tied)):
                kept = {n: x for n, x in tensors.items() if not tied or n != self.HEAD}
                write_model(tmp_path / name, kept, config={"tie_word_embeddings": tied})
            data = {
                "method": "task_arithmetic",
                "base": str(tmp_path / "b"),
                "models": [{"model": str(tmp_path / "m")}],
            }
            return tv.Recipe.model_validate(data)

        return make

    def test_both_tied(self, recipe: Callable[..., tv.Recipe]) -> None:
        assert self.HEAD not in [u.name for u in tv.make_plan(recipe(True, True)).units]

    def test_only_the_model_is_tied(self, recipe: Callable[..., tv.Recipe], tmp_path: Path) -> None:
        plan = tv.make_plan(recipe(False, True))
        unit = next(u for u in plan.units if u.name == self.HEAD)
        assert [tensor.name for _, tensor in plan.read(unit)] == [self.HEAD, "model.embed_tokens.weight"]

    def test_only_the_base_is_tied(self, recipe: Callable[..., tv.Recipe]) -> None:
        """The model's own head would be dropped in silence."""
        with pytest.raises(
            tv.MismatchError, match=r"m has a 'lm_head\.weight' of its own, which .*b ties to 'model\.em"
        ):
            tv.make_plan(recipe(True, False))

    def test_only_the_base_is_tied_and_the_head_is_ignored(self, recipe: Callable[..., tv.Recipe]) -> None:
        plan = tv.make_plan(recipe(True, False).model_copy(update={"ignore": [self.HEAD]}))
        assert self.HEAD not in [u.name for u in plan.units]
        assert any(self.HEAD in note for note in plan.notes)

    def test_a_head_that_is_a_copy_of_the_embedding_is_no_head_of_its_own(self, tmp_path: Path) -> None:
        """Trainers that save the tied head twice."""
        base = {n: x for n, x in tiny_tensors(layers=1).items() if n != self.HEAD}
        tuned = finetuned(base, 1)
        tuned[self.HEAD] = tuned["model.embed_tokens.weight"]
        write_model(tmp_path / "b", base, config={"tie_word_embeddings": True})
        write_model(tmp_path / "m", tuned, config={"tie_word_embeddings": True})
        data = {"method": "task_arithmetic", "base": str(tmp_path / "b"), "models": [{"model": str(tmp_path / "m")}]}
        plan = tv.make_plan(tv.Recipe.model_validate(data))
        assert self.HEAD not in [u.name for u in plan.units]


class TestLayout:
    def test_bytes_and_files(self, planned: Planned, family: Path) -> None:
        plan = planned("linear", output={"shard_size": 1500})
        size = tv.Checkpoint(family / "base").nbytes
        assert plan.bytes_read == 2 * size
        assert plan.passes == 1
        assert sum(t.nbytes for f in plan.layout.files for t in f.tensors) == size
        assert plan.layout.nbytes == size + sum(len(f.header) for f in plan.layout.files)
        assert all(sum(t.nbytes for t in f.tensors) <= 1500 or len(f.tensors) == 1 for f in plan.layout.files)

    def test_methods_with_statistics_read_twice_what_they_merge(self, planned: Planned, family: Path) -> None:
        size = tv.Checkpoint(family / "base").nbytes
        head = 2 * tiny_tensors()["lm_head.weight"].size
        for method in ("ties", "breadcrumbs", "model_stock", "dare_ties"):
            assert planned(method).bytes_read == 2 * 3 * size, method
        assert planned("ties", ignore=["lm_head.*"]).bytes_read == 2 * 3 * (size - head) + head
        for method in ("task_arithmetic", "dare_linear"):
            assert planned(method).bytes_read == 3 * size, method

    def test_the_description_is_plain_data_and_says_it_all(self, planned: Planned, family: Path) -> None:
        plan = planned("ties", how={"memory": 300_000_000, "threads": 2})
        facts = tv.describe(plan)
        assert json.loads(json.dumps(facts)) == facts
        assert facts["method"] == "ties"
        assert [i["role"] for i in facts["inputs"]] == ["base", "model", "model"]
        assert facts["inputs"][0]["fingerprint"] == tv.fingerprint(tv.Checkpoint(family / "base"))
        assert facts["tensors"] == {"merged": 18, "copied": 0}
        assert facts["dtypes"] == ["bfloat16"]
        assert facts["bytes"] == {"read": plan.bytes_read, "written": plan.layout.nbytes}
        assert facts["passes"] == 2
        assert facts["files"] == [{"name": "model.safetensors", "bytes": plan.layout.nbytes, "tensors": 18}]
        assert facts["memory"]["limit"] == 300_000_000
        assert 0 < facts["memory"]["peak"] <= 300_000_000
        assert facts["threads"] in (1, 2)
        assert [round(k["cosine"], 1) for k in facts["kinship"]] == [1.0, 1.0]

    def test_one_digest_per_result(self, planned: Planned, family: Path) -> None:
        def digest(**keys: Any) -> str:
            return planned("dare_linear", **keys).digest()

        same = [
            digest(),
            digest(how={"threads": 1}),
            digest(how={"slice_": 16384}),
            digest(how={"memory": 300_000_000}),
        ]
        assert len(set(same)) == 1
        others = [
            digest(seed=1),
            digest(scale=0.5),
            digest(settings={"density": 0.2}),
            digest(rounding="stochastic"),
            digest(dtype="float32"),
            digest(output={"shard_size": 1000}),
            digest(nonfinite="pass"),
            digest(ignore=["lm_head.*"]),
            digest(models=[{"model": str(family / "m0")}, {"model": str(family / "m2")}]),
            digest(models=[{"model": str(family / "m0"), "weight": 2}, {"model": str(family / "m1")}]),
            digest(overrides=[{"layers": 1, "scale": 2}]),
        ]
        assert len({*same, *others}) == 1 + len(others)

    def test_files_beside_the_weights_count(self, tmp_path: Path) -> None:
        for i in range(3):
            write_model(tmp_path / f"m{i}", tiny_tensors(layers=1), tokens={"a": i})
        models = [str(tmp_path / "m0"), str(tmp_path / "m1")]

        def digest(**keys: Any) -> str:
            data = {"method": "linear", "models": models, "allow": ["tokenizers"], **keys}
            return tv.make_plan(tv.Recipe.model_validate(data)).digest()

        found = [digest(), digest(tokenizer=str(tmp_path / "m2"))]
        for name in ("config.json", "tokenizer.json"):
            with (tmp_path / "m0" / name).open("a") as file:
                file.write("\n")
            found.append(digest())
        assert len(set(found)) == 4

    def test_reading_the_plan_touches_nothing(self, planned: Planned, family: Path) -> None:
        before = sorted((p, p.stat().st_mtime_ns) for p in family.rglob("*"))
        planned("ties")
        assert sorted((p, p.stat().st_mtime_ns) for p in family.rglob("*")) == before


class TestTokenizer:
    @pytest.fixture
    def recipe(self, tmp_path: Path) -> Callable[..., tv.Recipe]:
        base = tiny_tensors(layers=1)
        write_model(tmp_path / "b", base, tokens={"a": 0, "b": 1})
        write_model(tmp_path / "m", finetuned(base, 1), tokens={"a": 0, "b": 1, "c": 2})
        write_model(tmp_path / "none", finetuned(base, 2))

        def make(**keys: Any) -> tv.Recipe:
            data = {
                "method": "task_arithmetic",
                "base": str(tmp_path / "b"),
                "models": [{"model": str(tmp_path / "m")}],
            }
            return tv.Recipe.model_validate(data | keys)

        return make

    def test_added_tokens_are_no_difference(self, recipe: Callable[..., tv.Recipe]) -> None:
        assert tv.make_plan(recipe()).notes == []

    def test_what_cannot_be_compared_is_noted(self, recipe: Callable[..., tv.Recipe], tmp_path: Path) -> None:
        plan = tv.make_plan(recipe(models=[{"model": str(tmp_path / "none")}]))
        assert plan.notes == [f"{tmp_path / 'none'} has no readable tokenizer; it was not compared."]

    def test_its_source_must_be_there(self, recipe: Callable[..., tv.Recipe], tmp_path: Path) -> None:
        tv.make_plan(recipe(tokenizer=str(tmp_path / "m")))
        with pytest.raises(
            tv.RecipeError, match=r"'tokenizer: .*nowhere' is no folder that holds a tokenizer\. Type 'base"
        ):
            tv.make_plan(recipe(tokenizer=str(tmp_path / "nowhere")))
        with pytest.raises(
            tv.RecipeError, match=r"'tokenizer: .*none' is no folder that holds a tokenizer\. Type 'base"
        ):
            tv.make_plan(recipe(tokenizer=str(tmp_path / "none")))


class TestBudget:
    @pytest.mark.parametrize("method", list(tv.METHODS))
    @pytest.mark.parametrize("memory", [200_000_000, 512_000_000, 4_000_000_000])
    def test_the_peak_stays_under_the_limit(self, planned: Planned, method: str, memory: int) -> None:
        memory += TORCH if tv.METHODS[method].needs.scope == "tensor" else 0
        budget = planned(method, how={"memory": memory, "threads": 8}).budget
        assert budget.peak <= budget.limit == memory
        assert 1 <= budget.threads <= 8
        assert budget.slice % 16384 == 0

    def test_too_little_is_refused_with_a_number_that_is_enough(self, planned: Planned) -> None:
        with pytest.raises(
            tv.RecipeError, match=r"the merge needs \d+ MB .* and 'memory' is 100 MB\. Type e\.g\. --memory \d+MB\."
        ) as caught:
            planned("ties", how={"memory": 100_000_000})
        enough = int(str(caught.value).rpartition("--memory ")[2].removesuffix("MB.")) * 1_000_000
        assert planned("ties", how={"memory": enough}).budget.peak <= enough

    def test_fewer_threads_where_memory_is_short(self, tmp_path: Path) -> None:
        base = {"w": np.zeros(1 << 20, np.float32)}
        write_model(tmp_path / "b", base)
        models = [{"model": str(write_model(tmp_path / f"m{i}", base))} for i in range(6)]
        recipe = tv.Recipe.model_validate({"method": "ties", "base": str(tmp_path / "b"), "models": models})
        wide = tv.make_plan(recipe, memory=2_000_000_000, threads=8, slice_=1 << 20)
        short = tv.make_plan(recipe, memory=STANDING + 250_000_000, threads=8, slice_=1 << 20)
        assert wide.budget.threads == 8
        assert 1 <= short.budget.threads < 8

    @pytest.mark.parametrize(
        ("asked", "got"), [(1, 16384), (16384, 16384), (16385, 32768), (100_000, 114688), (4_000_000_000, 131072)]
    )
    def test_slices_are_whole_blocks_and_no_longer_than_the_widest_tensor(
        self, tmp_path: Path, asked: int, got: int
    ) -> None:
        base = {"w": np.zeros(130_000, np.float32)}
        paths = [str(write_model(tmp_path / name, base)) for name in "bm"]
        recipe = tv.Recipe.model_validate({"method": "ties", "base": paths[0], "models": [{"model": paths[1]}]})
        assert tv.make_plan(recipe, slice_=asked).budget.slice == got

    def test_rows_are_planned_for_where_no_kernel_does_the_whole_way(self, planned: Planned) -> None:
        fused, by_chance = planned("ties").budget, planned("ties", rounding="stochastic").budget
        assert not fused.rows
        assert by_chance.rows

    def test_rows_are_planned_for_where_norms_are_looked_for(self, planned: Planned) -> None:
        own, mergekit = planned("della"), planned("della", settings={"rescale": "mergekit"})
        assert (own.passes, own.budget.rows) == (1, False)
        assert (mergekit.passes, mergekit.budget.rows) == (2, True)
        assert mergekit.bytes_read > 1.9 * own.bytes_read

    @pytest.mark.parametrize("method", ["ties", "breadcrumbs", "breadcrumbs_ties"])
    def test_what_was_trimmed_is_looked_for_in_a_pass_of_its_own(self, planned: Planned, method: str) -> None:
        none, mergekit = planned(method), planned(method, settings={"rescale": "mergekit"})
        assert (none.passes, none.budget.rows) == (2, False)
        assert (mergekit.passes, mergekit.budget.rows) == (3, True)

    @pytest.mark.parametrize("method", ["model_stock", "nuslerp"])
    def test_vectors_over_rows_take_rows_and_memory(self, planned: Planned, method: str) -> None:
        tensor, row = planned(method), planned(method, settings={"over": "row"})
        assert (tensor.passes, tensor.budget.rows) == (2, False)
        assert (row.passes, row.budget.rows) == (2, True)
        products = Gram(over=lambda settings: "row")
        assert products.holds(2, 128 * 64, 64, {}) > 8 * 4 * 128
        assert products.holds(2, 64, 64, {}) == 0

    def test_passes_that_build_on_each_other_are_counted(self, planned: Planned) -> None:
        assert planned("sce").passes == 2
        assert planned("sce", settings={"select_topk": 0.5}).passes == 4
        assert planned("pcb").passes == 3

    def test_ranking_within_rows_takes_memory(self, planned: Planned) -> None:
        assert planned("della").budget.peak > planned("task_arithmetic").budget.peak


class TestMethodsAndModels:
    @pytest.mark.parametrize(
        ("method", "count", "message"),
        [
            ("slerp", 1, r"'slerp' takes 2 models, got 1\."),
            ("slerp", 3, r"'slerp' takes 2 models, got 3\."),
            ("model_stock", 1, r"'model_stock' takes 2 or more models, got 1\."),
        ],
    )
    def test_how_many(self, planned: Planned, method: str, count: int, message: str) -> None:
        with pytest.raises(tv.RecipeError, match=message):
            planned(method, count)

    @pytest.mark.parametrize("method", [n for n, m in tv.METHODS.items() if m.needs.space == "delta"])
    def test_task_vectors_need_a_base(self, planned: Planned, method: str) -> None:
        with pytest.raises(
            tv.RecipeError,
            match=rf"'{method}' merges task vectors and needs the base they start from\. Type 'base: …'\.",
        ):
            planned(method, base=None)

    @pytest.mark.parametrize("method", [n for n, m in tv.METHODS.items() if m.needs.space == "weight"])
    def test_weights_take_none_and_no_scale(self, planned: Planned, family: Path, method: str) -> None:
        with pytest.raises(tv.RecipeError, match=rf"'{method}' merges whole models and takes no base\. Remove 'base'"):
            planned(method, base=str(family / "base"))
        with pytest.raises(
            tv.RecipeError, match=rf"'{method}' .* so there is no task vector to scale\. Remove 'scale'"
        ):
            planned(method, scale=2)
        with pytest.raises(
            tv.RecipeError, match=rf"'{method}' .* so there is no task vector to scale\. Remove 'scale'"
        ):
            planned(method, overrides=[{"scale": 2}])

    @pytest.mark.parametrize("method", ["model_stock", "slerp"])
    def test_some_find_their_own_weights(self, planned: Planned, family: Path, method: str) -> None:
        models = [{"model": str(family / "m0"), "weight": 2}, {"model": str(family / "m1")}]
        with pytest.raises(
            tv.RecipeError, match=rf"'{method}' takes no weights: it finds its own numbers\. Remove 'wei"
        ):
            planned(method, models=models)

    def test_a_saved_task_vector_is_a_model_of_delta_methods(
        self, planned: Planned, family: Path, tmp_path: Path
    ) -> None:
        path = tv.diff(family / "base", family / "m0").save(tmp_path / "m0.tv")
        plan = planned("ties", models=[{"model": str(path)}, {"model": str(family / "m1")}])
        assert [i.kind for i in plan.inputs] == ["weights", "delta", "weights"]
        assert [round(k.cosine, 3) for k in plan.kinship] == [round(k.cosine, 3) for k in planned("ties").kinship]
        with pytest.raises(
            tv.RecipeError, match=r"'linear' merges weights, but .*m0\.tv is a task vector\. Use task_ar"
        ):
            planned("linear", models=[{"model": str(path)}, {"model": str(family / "m1")}])
        with pytest.raises(tv.RecipeError, match=r"m0\.tv is a task vector; 'base' must be a model"):
            planned("ties", base=str(path))
