"""Outputs that are built layer by layer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from taskvec.recipe.stack import parse_range
from taskvec.store.config import restacked
from taskvec.testing import finetuned, tiny_tensors, write_adapter, write_model

Q = "model.layers.{}.self_attn.q_proj.weight"
EMBED, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"
TOWERS = ("text", "vision")
CONFIG = {"num_hidden_layers": 5, "layer_types": list("abcde")}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of five layers, two fine-tunes, a deeper and a wider model, one with two towers, and a task vector."""
    folder = tmp_path_factory.mktemp("stack")
    base = tiny_tensors(layers=5)
    write_model(folder / "base", base, config=CONFIG)
    for i in (1, 2):
        write_model(folder / f"m{i}", finetuned(base, i), config=CONFIG)
    write_model(folder / "deep", tiny_tensors(7, layers=7), config={"num_hidden_layers": 7})
    write_model(folder / "wide", tiny_tensors(8, layers=5, hidden=16), config=CONFIG)
    odd = {n: x for n, x in finetuned(base, 3).items() if n != Q.format(2)}
    write_model(folder / "odd", odd, config=CONFIG)
    towers = {f"text.{n}": x for n, x in tiny_tensors(9, layers=2).items()}
    towers |= {f"vision.{n}": x for n, x in tiny_tensors(10, layers=3).items()}
    config = {"text_config": {"num_hidden_layers": 2}, "vision_config": {"num_hidden_layers": 3}}
    write_model(folder / "towers", towers, config=config)
    tied = {n: x for n, x in finetuned(base, 4).items() if n != HEAD}
    write_model(folder / "tied", tied, config={"num_hidden_layers": 5, "tie_word_embeddings": True})
    big = {n: np.concatenate([x, x[:4]]) if n in (EMBED, HEAD) else x for n, x in finetuned(base, 5).items()}
    write_model(folder / "big", big)
    whole = finetuned(base, 6)
    write_model(folder / "ints", {**whole, Q.format(2): np.ones(whole[Q.format(2)].shape, np.int32)})
    write_model(folder / "more", {**whole, "v_head.weight": np.ones((1, 8), np.float32)})
    shallow = {n: x for n, x in base.items() if "layers.4." not in n}
    write_model(folder / "shallow", shallow, config={"num_hidden_layers": 4, "layer_types": list("ABCD")})
    write_model(folder / "silent", {n: x for n, x in base.items() if "layers.4." not in n}, config={"n_layer": 4})
    write_model(folder / "fewer", base, config={"num_hidden_layers": 4, "layer_types": list("abcc")})
    tv.diff(folder / "base", folder / "m1").save(folder / "m1.tv")
    tv.diff(folder / "m2", folder / "m1").save(folder / "of_m2.tv")
    width = tiny_tensors()[Q.format(0)].shape[0]
    factors = {"lora_A": np.full((2, width), 0.5, np.float32), "lora_B": np.full((width, 2), 0.25, np.float32)}
    written = {f"base_model.model.{Q.format(0)[:-7]}.{name}.weight": x for name, x in factors.items()}
    write_adapter(folder / "lora", written, r=2, lora_alpha=2, target_modules=["q_proj"])
    return folder


@pytest.fixture
def planned(models: Path) -> Callable[..., tv.Plan]:
    """Return what plans a stack: parts are lists of 'model' or 'model:layers', or mappings."""

    def entry(text: Any) -> Any:
        name, _, layers = text.partition(":")
        return {"model": str(models / name), **({"layers": layers} if layers else {})}

    def plan(method: str, *parts: Any, base: str = "", **keys: Any) -> tv.Plan:
        stack = [p if isinstance(p, dict) else {"models": p} for p in parts]
        stack = [{**p, "models": [entry(m) if isinstance(m, str) else m for m in p["models"]]} for p in stack]
        for part in stack:
            if "base" in part:
                part["base"] = str(models / part["base"])
        data = {"method": method, "stack": stack, **({"base": str(models / base)} if base else {}), **keys}
        return tv.make_plan(tv.Recipe.model_validate(data))

    return plan


def torch_equal(model: tv.Checkpoint, one: str, other: str) -> bool:
    return bool(np.allclose(model[one].double().numpy(), model[other].double().numpy(), rtol=0, atol=1e-6))


def sources(plan: tv.Plan, name: str) -> list[tuple[str, str]]:
    unit = next(u for u in plan.units if u.name == name)
    return [(Path(model.name).name, tensor.name) for model, tensor in plan.read(unit)]


class TestPlaces:
    def test_layers_follow_each_other_and_the_ends_come_from_the_first_and_the_last_part(
        self, planned: Callable[..., tv.Plan]
    ) -> None:
        plan = planned("linear", ["m1:0-2"], ["m2:1-4"])
        assert len(plan.units) == 7 * 3 + 3
        layers = [("m1", 0), ("m1", 1), ("m1", 2), ("m2", 1), ("m2", 2), ("m2", 3), ("m2", 4)]
        for out, (model, layer) in enumerate(layers):
            assert sources(plan, Q.format(out)) == [(model, Q.format(layer))]
        assert sources(plan, EMBED) == [("m1", EMBED)]
        assert sources(plan, NORM) == [("m2", NORM)]
        assert sources(plan, HEAD) == [("m2", HEAD)]

    def test_models_of_a_part_are_merged_at_their_own_layers(self, planned: Callable[..., tv.Plan]) -> None:
        plan = planned("linear", ["m1:0-1", "m2:3-4"], allow=["unrelated"])
        assert sources(plan, Q.format(0)) == [("m1", Q.format(0)), ("m2", Q.format(3))]
        assert sources(plan, Q.format(1)) == [("m1", Q.format(1)), ("m2", Q.format(4))]

    def test_the_base_stands_at_the_first_models_layers_or_its_own(self, planned: Callable[..., tv.Plan]) -> None:
        plan = planned(
            "task_arithmetic", ["m1:1"], {"models": ["m2:4"], "base_layers": 3}, base="base", allow=["unrelated"]
        )
        assert sources(plan, Q.format(0)) == [("base", Q.format(1)), ("m1", Q.format(1))]
        assert sources(plan, Q.format(1)) == [("base", Q.format(3)), ("m2", Q.format(4))]

    def test_a_part_may_have_a_base_of_its_own(self, planned: Callable[..., tv.Plan]) -> None:
        plan = planned("task_arithmetic", ["m1:0"], {"models": ["m2:1"], "base": "m1"}, base="base")
        assert sources(plan, Q.format(1)) == [("m1", Q.format(1)), ("m2", Q.format(1))]
        assert sources(plan, HEAD) == [("m1", HEAD), ("m2", HEAD)]
        assert sources(plan, EMBED) == [("base", EMBED), ("m1", EMBED)]

    def test_a_part_without_layers_lends_its_ends(self, planned: Callable[..., tv.Plan]) -> None:
        plan = planned("linear", ["m2:none"], ["m1"])
        assert sources(plan, EMBED) == [("m2", EMBED)]
        assert sources(plan, Q.format(4)) == [("m1", Q.format(4))]

    def test_towers(self, planned: Callable[..., tv.Plan]) -> None:
        plan = planned(
            "linear", {"models": ["towers:0"], "tower": "text"}, {"models": ["towers:0-2"], "tower": "vision"},
            {"models": ["towers:2"], "tower": "vision"},
        )  # fmt: skip
        names = [u.name for u in plan.units]
        layers = [[sum(f"{tower}.model.layers.{i}.mlp" in n for n in names) for i in range(5)] for tower in TOWERS]
        assert layers == [[1, 0, 0, 0, 0], [1, 1, 1, 1, 0]]
        assert {f"{tower}.{name}" for tower in TOWERS for name in (EMBED, NORM, HEAD)} <= set(names)

    def test_a_task_vector_in_a_stack(self, planned: Callable[..., tv.Plan]) -> None:
        plan = planned("task_arithmetic", ["m1.tv:0-1"], ["m2:2-4"], base="base")
        assert sources(plan, Q.format(1)) == [("base", Q.format(1)), ("m1.tv", Q.format(1))]


class TestHeads:
    """A head stands where the last part says; the config follows."""

    @pytest.mark.parametrize(
        ("parts", "head", "ties"),
        [
            ([["m1:0-1"], ["tied:2-4"]], [("tied", EMBED)], False),
            ([["tied:0-1"], ["m1:2-4"]], [("m1", HEAD)], False),
            ([["tied", "m1"]], [("tied", EMBED), ("m1", HEAD)], False),
            ([["m1", "tied"]], [("m1", HEAD), ("tied", EMBED)], False),
        ],
    )
    def test_of_its_own(
        self, planned: Callable[..., tv.Plan], tmp_path: Path, parts: list[Any], head: list[Any], ties: bool
    ) -> None:
        plan = planned("linear", *parts)
        assert sources(plan, HEAD) == head
        tv.run(plan, tmp_path / "out")
        assert tv.Checkpoint(tmp_path / "out").config["tie_word_embeddings"] == ties

    def test_none_where_all_are_tied(self, planned: Callable[..., tv.Plan], tmp_path: Path) -> None:
        plan = planned("linear", ["tied:0-1"], ["tied:2-4"])
        assert HEAD not in [u.name for u in plan.units]
        tv.run(plan, tmp_path / "out")
        assert tv.Checkpoint(tmp_path / "out").config["tie_word_embeddings"] is True

    def test_on_a_base_that_ties(self, planned: Callable[..., tv.Plan]) -> None:
        plan = planned("task_arithmetic", ["m1:0-1"], ["m2:2-4"], base="tied")
        assert sources(plan, HEAD) == [("tied", EMBED), ("m2", HEAD)]
        assert plan.unties

    def test_one_that_is_ignored_stays_tied(self, planned: Callable[..., tv.Plan]) -> None:
        plan = planned("linear", ["tied", "m1"], ignore=[HEAD])
        assert HEAD not in [u.name for u in plan.units]
        assert not plan.unties


def test_a_filter_that_holds_in_one_part_may_stand_in_all(planned: Callable[..., tv.Plan]) -> None:
    overrides = [{"match": "*lm_head*", "weights": [3]}, {"match": "*embed*", "weights": [4]}]
    parts = [{"models": [m], "overrides": overrides} for m in ("m1:0-1", "m1:2-4")]
    plan = planned("linear", *parts)
    weights = {u.name: u.weights for u in plan.units}
    assert (weights[HEAD], weights[EMBED], weights[NORM]) == ((3,), (4,), (1,))


def test_a_filter_for_a_head_that_is_tied_is_told(planned: Callable[..., tv.Plan]) -> None:
    plan = planned("linear", {"models": ["tied:0-1"], "overrides": [{"match": "*lm_head*", "weights": [3]}]})
    (note,) = [n for n in plan.notes if "has no effect" in n]
    assert note.startswith("the override 'match: *lm_head*' has no effect: ")


def test_ignored_tensors_are_named_as_in_the_output(planned: Callable[..., tv.Plan]) -> None:
    parts = ["m1:0-3"], ["m1:2", "odd:2"]
    with pytest.raises(tv.MismatchError, match=r"Add 'model\.layers\.4\.self_attn\.q_proj\.weight' \(its name in"):
        planned("linear", *parts)
    plan = planned("linear", *parts, ignore=[Q.format(4)])
    merged = {u.name: u.merged for u in plan.units}
    assert (merged[Q.format(2)], merged[Q.format(4)]) == (True, False)
    with pytest.raises(tv.MismatchError, match=r"odd has no 'model\.layers\.2\.self_attn"):
        planned("linear", *parts, ignore=[Q.format(2)])


class TestBases:
    def test_an_adapter_on_two_bases_is_two_changes(self, planned: Callable[..., tv.Plan]) -> None:
        plan = planned("task_arithmetic", ["lora:0"], {"models": ["lora:0"], "base": "m1"}, base="base")
        assert len(plan.listed) == 2
        assert sources(plan, Q.format(1))[0] == ("m1", Q.format(0))

    def test_a_sum_is_no_change_of_another_base(
        self, planned: Callable[..., tv.Plan], models: Path, tmp_path: Path
    ) -> None:
        entry = {"model": f"{models / 'base'}+{models / 'lora'}", "layers": 0}
        parts = {"models": [entry]}, {"models": [entry], "base": "m1"}
        plan = planned("task_arithmetic", *parts, base="base")
        assert [m.kind for m in plan.listed] == ["delta", "weights"]
        tv.run(plan, tmp_path / "out")
        out = tv.Checkpoint(tmp_path / "out")
        assert torch_equal(out, Q.format(0), Q.format(1))

    def test_a_task_vector_belongs_to_the_base_of_its_part(self, planned: Callable[..., tv.Plan]) -> None:
        planned("task_arithmetic", ["m1:0"], {"models": ["of_m2.tv:1"], "base": "m2"}, base="base")
        with pytest.raises(tv.MismatchError, match="was made from the base"):
            planned("task_arithmetic", ["m1.tv:0"], {"models": ["m1.tv:1"], "base": "m2"}, base="base")


class TestNumbers:
    def test_lists_run_over_the_layers_of_a_part(self, planned: Callable[..., tv.Plan]) -> None:
        part = {"models": ["m1:0-2", "m2:0-2"], "settings": {"t": [0, 1]}}
        plan = planned("slerp", part, {"models": ["m1:3", "m2:3"], "settings": {"t": [0.2, 0.4]}})
        t = {u.name: u.settings["t"] for u in plan.units}
        assert [t[Q.format(i)] for i in range(4)] == [0, 0.5, 1, 0.4]
        assert (t[EMBED], t[HEAD]) == (0, 0.2)

    def test_a_part_says_more_than_the_recipe_and_an_override_more_than_both(
        self, planned: Callable[..., tv.Plan]
    ) -> None:
        override = {"match": "*layers.1.*", "settings": {"density": 0.9}, "each": [{"density": 0.8}], "scale": 3}
        first = {"models": ["m1:0-1"], "settings": {"density": 0.3}, "scale": 2, "overrides": [override]}
        plan = planned("ties", first, ["m1:2"], base="base", settings={"density": 0.1, "scope": "tensor"}, scale=0.5)
        found = {u.name: (u.settings["density"], u.scale) for u in plan.units}
        assert found[Q.format(0)] == (0.3, 2)
        assert found[Q.format(1)] == ((0.8,), 3)
        assert found[Q.format(2)] == (0.1, 0.5)

    def test_null_and_nothing_leave_a_model_as_it_is(self, planned: Callable[..., tv.Plan]) -> None:
        override = {"match": "*mlp*", "weights": [None, 5], "each": [{"density": 0.2}, {}]}
        plan = planned(
            "ties", {"models": ["m1", "m2"], "overrides": [override]}, base="base", settings={"scope": "tensor"}
        )
        unit = next(u for u in plan.units if "mlp" in u.name)
        found = {Path(plan.models[n].name).name: i for i, (n, _) in enumerate(unit.sources)}
        one, two = found["m1"], found["m2"]
        assert (unit.weights[one], unit.weights[two]) == (1, 5)
        assert (unit.settings["density"][one], unit.settings["density"][two]) == (0.2, 0.2)


class TestResults:
    def test_the_config_counts_the_layers_and_follows_lists_over_them(
        self, planned: Callable[..., tv.Plan], tmp_path: Path
    ) -> None:
        tv.run(planned("linear", ["m1:0-3"], ["m2:2-4"]), tmp_path / "out")
        made = tv.Checkpoint(tmp_path / "out")
        assert made.config["num_hidden_layers"] == 7
        assert made.config["layer_types"] == list("abcdcde")

    def test_the_config_counts_what_is_written_though_it_counted_fewer_than_there_were(
        self, planned: Callable[..., tv.Plan], tmp_path: Path
    ) -> None:
        tv.run(planned("linear", ["fewer:0-3"], ["m2:2-4"]), tmp_path / "out")
        made = tv.Checkpoint(tmp_path / "out")
        assert made.config["num_hidden_layers"] == 7
        assert made.config["layer_types"] == list("abcccde")

    def test_lists_of_the_config_are_those_of_the_models_the_layers_come_from(
        self, planned: Callable[..., tv.Plan], tmp_path: Path
    ) -> None:
        for out, first, second, expected in (
            ("a", "shallow:0-3", "base:3-4", list("ABCDde")),
            ("b", "base:0-1", "shallow:0-1", list("abAB")),
            ("c", "shallow:0-1", "silent:2-3", list("ABCD")),
            ("d", "shallow:0-1", "deep:4-5", None),
        ):
            tv.run(planned("linear", [first], [second], allow=["unrelated"]), tmp_path / out)
            assert tv.Checkpoint(tmp_path / out).config.get("layer_types") == expected

    def test_copies_are_the_models_own_bits(
        self, planned: Callable[..., tv.Plan], models: Path, tmp_path: Path
    ) -> None:
        tv.run(planned("linear", ["m1:0-3"], ["m2:2-4"]), tmp_path / "out")
        made, second = tv.Checkpoint(tmp_path / "out"), tv.Checkpoint(models / "m2")
        assert (made.raw(Q.format(5)) == second.raw(Q.format(3))).all()
        assert (made.raw(HEAD) == second.raw(HEAD)).all()

    def test_all_layers_in_parts_are_the_plain_merge(
        self, planned: Callable[..., tv.Plan], models: Path, tmp_path: Path
    ) -> None:
        tv.run(planned("ties", ["m1:0-2", "m2:0-2"], ["m1:3-4", "m2:3-4"], base="base"), tmp_path / "a")
        data = {"method": "ties", "base": str(models / "base"), "models": [str(models / m) for m in ("m1", "m2")]}
        tv.run(tv.make_plan(tv.Recipe.model_validate(data)), tmp_path / "b")
        one, two = tv.Checkpoint(tmp_path / "a"), tv.Checkpoint(tmp_path / "b")
        assert set(one) == set(two)
        assert all((one.raw(n) == two.raw(n)).all() for n in one)


@pytest.mark.parametrize(
    ("method", "parts", "message"),
    [
        ("linear", [["m1:0-5"]], r"'layers: 0-5' reaches outside .*m1, which has 5 layers \('model\.layers\.0' to"),
        ("linear", [["m1:0-1", "m2:0-2"]], r"a part of the stack takes 3 layers of .*m2 but 2 of .*m1\. Give ranges"),
        ("linear", [["m1:0-1"], ["wide:2-4"]], r"the parts of the stack do not join: '.*' of .*wide is \(16"),
        ("linear", [["m1:0-1", "wide:0-1"]], r"is \(16.*\) in .*wide but \(8.* in .*m1, which it would be merged with"),
        ("linear", [["m1:2", "odd:2"]], r"odd has no 'model\.layers\.2\.self.*', which layer 2 of .*m1"),
        ("linear", [["odd:2", "m1:2"]], r"odd has no 'model\.layers\.2\.self.*', which layer 2 of .*m1"),
        ("linear", [["m1:2-1"]], r"'layers' must be a layer or a range such as '0-3', got '2-1'"),
        ("linear", [["m1:few"]], r"'layers' must be a layer or a range such as '0-3', got 'few'"),
        ("linear", [["towers:0"]], r"towers has 2 stacks of layers \('text\.model\.layers', 'vision\..*'\)\. Type"),
        ("linear", [{"models": ["m1:0"], "tower": "vision"}], r"'tower: vision' names 0 stacks of layers of .*m1"),
        ("linear", [{"models": ["m1:0"], "base_layers": 1}], r"'base_layers' is given, but there is no base"),
        ("linear", [{"models": ["m1:0"], "base": "base"}], r"part of the stack has a 'base', and the recipe has none"),
        ("linear", [["m1:0-1"], ["big:2-4"]], r"join: 'lm_head\.weight' of .*big has 20 rows, but '.*' of .* has 16\."),
        ("linear", [["m1", "ints"]], r"'model\.layers\.2.*' is I32 in .*ints but F32 in .*m1\."),
        ("linear", [["ints", "m1"]], r"'model\.layers\.2.*' is F32 in .*m1 but I32 in .*ints\."),
        ("linear", [["m1", "more"]], r"more has 'v_head\.weight', which .*m1 lacks\. Add it to 'ignore' to leave"),
        ("slerp", [["m1:0", "m2:0"], ["m1:1"]], r"'slerp' takes 2 models in each part of a stack, got 1\."),
        ("slerp", [{"models": ["m1:0", "m2:0"], "scale": 2}], r"'slerp' merges whole models, so there is no task v"),
        ("linear", [["m1:0", "m2:4"], ["deep:0-2", "m1:0-2"]], r"deep|m1 does not look like a relative"),
        ("linear", [{"models": ["m1:0"], "overrides": [{"match": "*.3.*"}]}], r"'match: \*\.3\.\*'.* match"),
    ],
)  # fmt: skip
def test_what_cannot_be_stacked_is_refused(
    planned: Callable[..., tv.Plan], method: str, parts: list[Any], message: str
) -> None:
    with pytest.raises((tv.RecipeError, tv.MismatchError), match=message):
        planned(method, *parts)


def test_a_rank_over_the_whole_model_needs_the_same_models_everywhere(planned: Callable[..., tv.Plan]) -> None:
    with pytest.raises(tv.RecipeError, match=r"the parts of the stack hold other models, so 'scope: model'"):
        planned("ties", ["m1:0-2"], ["m2:3-4"], base="base", settings={"scope": "model"})


@pytest.mark.parametrize(("text", "span"), [("0-3", (0, 3)), (2, (2, 2)), ("4", (4, 4)), (" 1 - 2 ", (1, 2))])
def test_ranges(text: str | int, span: tuple[int, int]) -> None:
    assert parse_range(text) == span


def test_configs_with_parts() -> None:
    config = {"vision_config": {"num_hidden_layers": 3}, "text_config": {"num_hidden_layers": 2}, "x": [1, 2, 3]}
    assert restacked(config, "vision.model.layers", 3, [0, 1, 2, 2])["vision_config"] == {"num_hidden_layers": 4}
    assert restacked(config, "language_model.layers", 2, [0])["text_config"] == {"num_hidden_layers": 1}
    assert restacked({"n_layer": 12, "y": [1] * 12}, "h", 11, [0]) == {"n_layer": 12, "y": [1] * 12}
    assert restacked({"n_layer": 12, "y": [1] * 12}, "h", 11, [0], alone=True) == {"n_layer": 1, "y": [1]}
    assert restacked(config, "text_model.layers", 4, [0, 1, 2], alone=True)["text_config"] == {"num_hidden_layers": 3}


@pytest.mark.parametrize(
    ("order", "count", "kinds"),
    [([0, 1, 2, 3], 3, "abc"), ([0, 1, 1, 2, 3], 4, "abbc"), ([0, 1], 2, "ab")],
)
def test_layers_that_guess_ahead_follow_those_that_are_counted(order: list[int], count: int, kinds: str) -> None:
    """As of DeepSeek and GLM: the last layer of the files is not one of `num_hidden_layers`."""
    config = {"num_hidden_layers": 3, "num_nextn_predict_layers": 1, "layer_types": list("abc")}
    made = restacked(config, "model.layers", 4, order, alone=True)
    assert (made["num_hidden_layers"], made["layer_types"]) == (count, list(kinds))
