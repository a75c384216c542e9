"""A merge in memory gives the very bits that a run writes; other numbers need no other opening."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from taskvec.merge.statistics import MagnitudeSearch
from taskvec.ops.kernels import in_use
from taskvec.recipe.arithmetic import Arithmetic
from taskvec.recipe.in_memory import Merged, merge_in_memory
from taskvec.recipe.rescaled import Keeping
from taskvec.recipe.reweighted import Reweighted
from taskvec.store.computed.low_rank import LowRank
from taskvec.testing import write_adapter

from .conftest import EMBED, UP

Make = Callable[..., tv.Recipe]

OVERRIDES = [{"match": "*.mlp.*", "layers": "0", "weights": [0.2, None]}, {"match": "*embed*", "scale": 0.25}]
RECIPES: dict[str, dict[str, Any]] = {
    "task_arithmetic": {"method": "task_arithmetic", "overrides": OVERRIDES},
    "task_arithmetic, wide": {"method": "task_arithmetic", "kind": "wide"},
    "ties": {"method": "ties", "models": [0, 1, 2], "scale": 0.7},
    "ties, mixed": {"method": "ties", "kind": "mixed", "settings": {"scope": "tensor"}, "overrides": OVERRIDES},
    "dare_ties": {"method": "dare_ties", "seed": 3, "settings": {"density": 0.5}},
    "model_stock": {"method": "model_stock", "models": [0, 1, 2]},
    "karcher": {"method": "karcher"},
    "linear, by chance": {"method": "linear", "rounding": "stochastic", "kind": "f32", "dtype": "bfloat16"},
}


SCALED: dict[str, dict[str, Any]] = {
    "task_arithmetic": {"method": "task_arithmetic"},
    "task_arithmetic, wide": {"method": "task_arithmetic", "kind": "wide"},
    "ties, mixed": {"method": "ties", "kind": "mixed", "overrides": [{"match": "*embed*", "scale": 0.25}]},
    "della": {"method": "della", "seed": 3},
    "dare_ties": {"method": "dare_ties", "seed": 3},
    "consensus_ta": {"method": "consensus_ta"},
    "pcb": {"method": "pcb"},
    "lines": {"method": "lines"},
    "by chance": {"method": "dare_linear", "rounding": "stochastic", "kind": "f32", "dtype": "bfloat16"},
}
"""Recipes of task vectors, of which a search changes nothing but the scale."""


def same(merged: Merged, folder: Path) -> None:
    """Every tensor of a merge in memory has the bits of the one in a folder."""
    with tv.Checkpoint(folder) as written:
        assert set(merged) == set(written)
        for name in written:
            assert merged.dtype(name) == written.info(name).dtype
            np.testing.assert_array_equal(merged.raw(name), written.raw(name), name, strict=True)


@pytest.mark.parametrize("name", RECIPES)
def test_the_bits_are_those_of_a_run(recipe: Make, merged: Callable[..., Path], name: str) -> None:
    made = recipe(**RECIPES[name])
    same(merge_in_memory(tv.make_plan(made)), merged(made))


class TestReweighted:
    def test_every_trial_is_the_merge_of_its_recipe(self, recipe: Make, merged: Callable[..., Path]) -> None:
        start = recipe("ties", models=[0, 1, 2])
        with Reweighted(start) as models:
            for change in (
                {"scale": 0.3},
                {"settings": {"density": 0.6}},
                {"overrides": [{"match": "*.mlp.*", "weights": [0.1, 2, None]}]},
                {"method": "task_arithmetic", "scale": 0.5},
                {"method": "dare_linear", "seed": 5},
                {},
            ):
                trial = tv.Recipe.model_validate(start.data | change)
                same(models.weigh(trial), merged(trial))

    def test_weights_and_settings_of_models_may_change(self, recipe: Make, merged: Callable[..., Path]) -> None:
        with Reweighted(recipe("ties")) as models:
            trial = recipe("ties", models=[{"model": 0, "weight": 0.4, "settings": {"density": 0.9}}, {"model": 1}])
            same(models.weigh(trial), merged(trial))

    def test_statistics_are_searched_for_once(self, recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        looked = []
        look = MagnitudeSearch.look
        monkeypatch.setattr(MagnitudeSearch, "look", lambda *args: (looked.append(1), look(*args))[1])
        with Reweighted(recipe("ties")) as models:
            models.weigh(recipe("ties"))
            first = len(looked)
            models.weigh(recipe("ties", scale=0.5, models=[{"model": 0, "weight": 0.5}, {"model": 1}]))
            assert len(looked) == first > 0
            models.weigh(recipe("ties", settings={"density": 0.5}))
            assert len(looked) > first

    @pytest.mark.parametrize("held", [0, 10**9])
    def test_adapters_are_computed_once(
        self, recipe: Make, merged: Callable[..., Path], tmp_path: Path, held: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rng = np.random.default_rng(2)
        stem = f"base_model.model.{UP.removesuffix('.weight')}"
        shapes = {f"{stem}.lora_A.weight": (2, 210), f"{stem}.lora_B.weight": (170, 2)}
        adapter = write_adapter(
            tmp_path / "lora",
            {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()},
            target_modules=["up_proj"],
        )
        computed = []
        read = LowRank.read
        monkeypatch.setattr(LowRank, "read", lambda *args: (computed.append(1), read(*args))[1])
        data = recipe("task_arithmetic").data
        data["models"].append({"model": str(adapter)})
        start = tv.Recipe.model_validate(data)
        with Reweighted(start, held=held) as models:
            models.weigh(start)
            first = len(computed)
            trial = tv.Recipe.model_validate(data | {"scale": 0.5})
            again = models.weigh(trial)
            assert (len(computed) == first) == bool(held)
            same(again, merged(trial))

    def test_the_arrays_are_used_again(self, recipe: Make) -> None:
        made = recipe("task_arithmetic", kind="f32")
        with Reweighted(made) as models:
            one = models.weigh(made)
            before, array = one[UP].copy(), one[UP]
            assert models.weigh(recipe("task_arithmetic", kind="f32", scale=0.0)) is one
            assert not np.array_equal(array, before)

    @pytest.mark.parametrize("name", SCALED)
    def test_scales_alone_need_no_second_merge(
        self, recipe: Make, merged: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        start = recipe(**{"models": [0, 1, 2], **SCALED[name]})
        gathered = []
        part = Arithmetic.part
        monkeypatch.setattr(Arithmetic, "part", lambda *args: (gathered.append(1), part(*args))[1])
        changes: list[tuple[bool, dict[str, Any]]] = [
            (True, {"scale": 0.3}),
            (True, {"scale": 1.7}),
            (False, {"scale": 0.0}),
            (False, {"scale": -0.6}),
            (False, {"overrides": [{"match": "*.mlp.*", "scale": 0.9}]}),
            (True, {"scale": 0.5, "seed": 9}),
            (True, {"scale": 0.5, "models": [{**m, "weight": 0.4} for m in start.data["models"]]}),
        ]
        with Reweighted(start) as models:
            for read, change in changes:
                trial = tv.Recipe.model_validate(start.data | change)
                gathered.clear()
                result = models.weigh(trial)
                assert bool(gathered) == read
                same(result, merged(trial))

    def test_a_method_that_answers_in_another_precision(
        self, recipe: Make, merged: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def wide(deltas: Any, weights: Any) -> Any:
            """Add in float64, whatever the task vectors are in."""
            return np.einsum("t,t...->...", weights, deltas.astype(np.float64))

        monkeypatch.setitem(tv.METHODS, "wide", tv.Method("wide", wide, tv.Needs(space="delta"), "none", ("linear",)))
        start = recipe("wide", kind="f32", models=[0, 1, 2])
        with Reweighted(start) as models:
            for scale in (0.3, 0.5, 0.7, {"auto": "isotropic"}):
                trial = tv.Recipe.model_validate(start.data | {"scale": scale})
                same(models.weigh(trial), merged(trial))
        plain = tv.Recipe.model_validate(start.data | {"method": "task_arithmetic", "scale": {"auto": "isotropic"}})
        assert tv.make_plan(trial).recipe.scale == pytest.approx(tv.make_plan(plain).recipe.scale, rel=1e-5)

    def test_what_is_kept_stays_within_the_memory(self, recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        budgets = []
        merge = Keeping.merge
        monkeypatch.setattr(
            Keeping, "merge", lambda self, *args: (budgets.append(self.plan.budget), merge(self, *args))[1]
        )
        start = recipe("task_arithmetic", models=[0, 1, 2])
        with Reweighted(start) as models:
            assert models.plan(start).budget.rows == (in_use() == "plain")
            models.weigh(start)
            models.weigh(tv.Recipe.model_validate(start.data | {"scale": 0.5}))
        assert budgets and all(budget.rows for budget in budgets)

    def test_a_merge_that_broke_off_leaves_nothing_behind(self, recipe: Make, merged: Callable[..., Path]) -> None:
        start = recipe("ties", kind="f32", models=[0, 1, 2], dtype="float16")
        with Reweighted(start) as models:
            models.weigh(start)
            with pytest.raises(tv.NumbersError, match="exceed what float16 can hold"):
                models.weigh(tv.Recipe.model_validate(start.data | {"scale": 1e6}))
            for scale in (0.5, 0.7, 0.9):
                trial = tv.Recipe.model_validate(start.data | {"scale": scale})
                same(models.weigh(trial), merged(trial))

    def test_without_room_nothing_is_kept(
        self, recipe: Make, merged: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Keeping, "merge", lambda *_: pytest.fail("there is no room to keep it in"))
        start = recipe("della", models=[0, 1, 2])
        with Reweighted(start, held=1000) as models:
            for scale in (0.5, 0.7, 0.9):
                trial = tv.Recipe.model_validate(start.data | {"scale": scale})
                same(models.weigh(trial), merged(trial))

    def test_what_it_says_of_itself(self, recipe: Make) -> None:
        made = recipe("task_arithmetic")
        with Reweighted(made) as models:
            plan = tv.make_plan(made)
            assert models.fingerprints == [i.fingerprint for i in plan.inputs]
            assert models.names == [u.name for u in plan.units]

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"dtype": "float32"}, r"only numbers may change .*, but 'dtype' differs\. Make a new Reweighted"),
            ({"models": [0, 2]}, r"only numbers may change .*, but 'stack' differs"),
            ({"settings": {"density": 3.0}}, r"'density' must be in \(0, 1\], got 3\.0"),
            ({"method": "nuslerp", "models": [0, 1], "base": None}, r"'base' differs"),
        ],
    )
    def test_other_changes_are_refused(self, recipe: Make, change: dict[str, Any], sentence: str) -> None:
        with Reweighted(recipe("ties", models=[0, 1])) as models, pytest.raises(tv.RecipeError, match=sentence):
            models.weigh(recipe(**{"method": "ties", "models": [0, 1]} | change))

    def test_a_method_of_the_other_space_is_refused(self, recipe: Make) -> None:
        made = recipe("nuslerp", models=[0, 1])
        whole = recipe("nuslerp", models=[0, 1], base=None)
        with Reweighted(whole) as models:
            with pytest.raises(tv.RecipeError, match="only numbers may change"):
                models.weigh(made)
            with pytest.raises(tv.RecipeError, match="'ties' merges task vectors and needs the base"):
                models.weigh(recipe("ties", models=[0, 1], base=None))
        with Reweighted(made) as models, pytest.raises(tv.RecipeError, match="'linear' merges whole models"):
            models.weigh(tv.Recipe.model_validate(made.data | {"method": "linear"}))


class TestMerged:
    def test_arrays_have_the_tensors_shapes(self, recipe: Make) -> None:
        merged = merge_in_memory(tv.make_plan(recipe("linear", kind="bf16")))
        embed = merged[EMBED]
        assert (embed.dtype, embed.shape) == (np.float32, (300, 340))
        assert (merged.dtype(EMBED), merged.raw(EMBED).dtype) == ("BF16", np.uint16)
        assert merged["position_ids"].dtype == np.int64
        assert merged.nbytes == sum(merged.raw(name).nbytes for name in merged)

    def test_arrays_are_not_written_to(self, recipe: Make) -> None:
        merged = merge_in_memory(tv.make_plan(recipe("linear", kind="f32")))
        with pytest.raises(ValueError, match="read-only"):
            merged[EMBED][0] = 1

    def test_for_torch(self, recipe: Make) -> None:
        import torch

        merged = merge_in_memory(tv.make_plan(recipe("linear", kind="bf16")))
        tensor = merged.torch(EMBED)
        assert tensor.dtype == torch.bfloat16
        np.testing.assert_array_equal(tensor.float().numpy(), merged[EMBED])
        assert tensor.data_ptr() == merged.raw(EMBED).ctypes.data
        assert merged.torch("nothing").shape == (0, 8)
        assert merged.torch("logit_scale").shape == ()
