"""Adapters merged to one: the change is what the method says, PEFT loads it, and what cannot be is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn

import taskvec as tv
from reference.core import core
from reference.knots import knots
from store.test_adapter_like_peft import Mixed
from taskvec.cli.app import app
from taskvec.cli.exits import run
from taskvec.errors import MismatchError, NumbersError, OutputError, RecipeError
from taskvec.ops.joint import core_space
from taskvec.store.adapter import open_adapter, open_applied
from taskvec.testing import finetuned, tiny_tensors, write_adapter, write_model

from .test_extract import TOKENS, gpt2, llama, peft_talks

SIZE = {"layers": 2, "hidden": 12, "vocab": 30}
Q, UP, EMBED = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.up_proj", "model.embed_tokens"
SCALE = {"one": 4 / 3, "two": 6 / 5**0.5, "three": 2.0}
SHAPES = {Q: (12, 12), UP: (36, 12), EMBED: (30, 12)}


def factors(rng: np.random.Generator, rank: int, *modules: str) -> dict[str, np.ndarray]:
    """Return factors as PEFT names them, for modules of `SHAPES`."""
    out = {}
    for module in modules:
        rows, columns = SHAPES[module]
        if module == EMBED:
            rows, columns = columns, rows
        a, b = ("lora_embedding_A", "lora_embedding_B") if module == EMBED else ("lora_A.weight", "lora_B.weight")
        out[f"base_model.model.{module}.{a}"] = rng.standard_normal((rank, columns)).astype(np.float32)
        out[f"base_model.model.{module}.{b}"] = 0.02 * rng.standard_normal((rows, rank)).astype(np.float32)
    return out


@pytest.fixture
def family(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Write a base and three adapters of other ranks, scales and modules; the second is rsLoRA, the third bf16."""
    write_model(tmp_path / "base", tiny_tensors(**SIZE))
    write_adapter(tmp_path / "one", factors(rng, 3, Q, UP), r=3, lora_alpha=4)
    write_adapter(tmp_path / "two", factors(rng, 5, Q, EMBED), r=5, lora_alpha=6, use_rslora=True)
    patterns = {"rank_pattern": {"up_proj": 1}, "alpha_pattern": {"up_proj": 2}}
    third = factors(rng, 2, Q) | factors(rng, 1, UP)
    write_adapter(tmp_path / "three", third, r=2, lora_alpha=4, dtype="BF16", **patterns)
    return tmp_path


def recipe(folder: Path, method: str = "task_arithmetic", weights: Any = (0.7, 0.3, -0.5), **keys: Any) -> tv.Recipe:
    names = keys.pop("names", ["one", "two", "three"])
    models = [{"model": str(folder / n), "weight": w} for n, w in zip(names, weights, strict=True)]
    data = {"method": method, "base": str(folder / "base"), "models": models, "adapter": {}, **keys}
    return tv.Recipe.model_validate(data)


def merged(folder: Path, one: tv.Recipe) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the changes that a merged adapter makes, by module, and its receipt."""
    facts = tv.merge_adapters(one, folder / "out", force=True).facts
    return changes(folder / "out", folder / "base"), facts


def changes(adapter: Path, base: Path) -> dict[str, np.ndarray]:
    """Return what an adapter changes, in the base's orientation."""
    found = open_adapter(adapter, tv.Checkpoint(base))
    return {n.removesuffix(".weight"): found[n].double().numpy() for n, t in found.tensors.items() if t.on_disk}


def sources(folder: Path, module: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return B with its scale and A of each adapter, of rank 0 where it has none, as PEFT multiplies them."""
    bs, as_ = [], []
    for name, scale in SCALE.items():
        stored = tv.Checkpoint(folder / name / "adapter_model.safetensors")
        kind = "lora_embedding_{}" if module == EMBED else "lora_{}.weight"
        keys = [f"base_model.model.{module}.{kind.format(x)}" for x in "BA"]
        rows, columns = SHAPES[module][::-1] if module == EMBED else SHAPES[module]
        there = keys[0] in stored
        bs.append(scale * stored[keys[0]].double().numpy() if there else np.zeros((rows, 0)))
        as_.append(stored[keys[1]].double().numpy() if there else np.zeros((0, columns)))
    return bs, as_


def close(mine: np.ndarray, expected: np.ndarray, within: float = 1e-6) -> None:
    assert np.linalg.norm(mine - expected) <= within * np.linalg.norm(expected)


class TestLinear:
    @pytest.mark.parametrize("space", ["core", "knots"])
    def test_all_ranks_are_the_weighted_sum(self, family: Path, space: str) -> None:
        mine, facts = merged(family, recipe(family, scale=1.5, adapter={"space": space}))
        single = {name: changes(family / name, family / "base") for name in SCALE}
        assert mine.keys() == {Q, UP, EMBED}
        for module, change in mine.items():
            weights = dict(zip(SCALE, (0.7, 0.3, -0.5), strict=True))
            close(change, 1.5 * sum(weights[n] * single[n][module] for n in SCALE if module in single[n]))  # type: ignore[arg-type]
        assert facts["exact"]
        assert {one["tensor"]: (one["ranks"], one["rank"]) for one in facts["layers"]} == {
            f"{Q}.weight": ([3, 5, 2], 10),
            f"{UP}.weight": ([3, 0, 1], 4),
            f"{EMBED}.weight": ([0, 5, 0], 5),
        } or sorted(map(sorted, (one["ranks"] for one in facts["layers"]))) == [[0, 0, 5], [0, 1, 3], [2, 3, 5]]

    @pytest.mark.parametrize("rank", [1, 4, 0.9])
    def test_fewer_ranks_are_the_nearest(self, family: Path, rank: float) -> None:
        exact, _ = merged(family, recipe(family))
        mine, facts = merged(family, recipe(family, adapter={"rank": rank}))
        for one in facts["layers"]:
            module = one["tensor"].removesuffix(".weight")
            s = np.linalg.svd(exact[module], compute_uv=False)
            held = np.cumsum(s**2) / (s**2).sum()
            keep = int(np.searchsorted(held, rank)) + 1 if rank < 1 else min(int(rank), int((s > 1e-6 * s[0]).sum()))
            assert one["rank"] == keep
            best = np.linalg.norm(s[keep:]) / np.linalg.norm(s)
            assert one["error"] == pytest.approx(best, abs=1e-6)
            assert np.linalg.norm(mine[module] - exact[module]) == pytest.approx(best * np.linalg.norm(s), abs=1e-6)

    def test_more_ranks_than_the_matrix_has(self, family: Path, rng: np.random.Generator) -> None:
        write_adapter(family / "full", factors(rng, 9, Q), r=9, lora_alpha=9)
        mine, facts = merged(family, recipe(family, weights=(1, 1), names=["full", "two"]))
        assert {one["rank"] for one in facts["layers"]} == {12, 5}
        close(mine[Q], changes(family / "full", family / "base")[Q] + changes(family / "two", family / "base")[Q])

    def test_one_adapter_of_weight_one_keeps_its_numbers(self, family: Path) -> None:
        merged(family, recipe(family, weights=(0.75,), names=["one"]))  # 0.75 · 4/3 is 1
        mine = load_file(family / "out" / "adapter_model.safetensors")
        for name, x in load_file(family / "one" / "adapter_model.safetensors").items():
            assert torch.equal(mine[name], x)

    def test_other_factors_of_the_same_changes(self, family: Path, rng: np.random.Generator) -> None:
        """B R and R⁻¹ A make the same change, and so the same merge."""
        before, _ = merged(family, recipe(family, adapter={"rank": 3}))
        turn = np.eye(3) + 0.5 * rng.standard_normal((3, 3))
        stored = {n: x.numpy() for n, x in load_file(family / "one" / "adapter_model.safetensors").items()}
        for name in stored:
            stored[name] = stored[name] @ turn if "lora_B" in name else np.linalg.solve(turn, stored[name])
        turned = {name: x.astype(np.float32) for name, x in stored.items()}
        write_adapter(family / "one", turned, r=3, lora_alpha=4)
        after, _ = merged(family, recipe(family, adapter={"rank": 3}))
        for module in before:
            close(after[module], before[module], 1e-5)

    def test_lists_overrides_and_ignored_tensors(self, family: Path) -> None:
        how = {"overrides": [{"match": "*q_proj*", "weights": [2, None, 0]}], "ignore": ["*embed*"]}
        mine, facts = merged(family, recipe(family, **how))
        single = {name: changes(family / name, family / "base") for name in SCALE}
        close(mine[Q], 2 * single["one"][Q] + 0.3 * single["two"][Q])
        assert EMBED not in mine
        assert {one["rank"] for one in facts["layers"]} == {8, 4}  # what weighs 0 takes no rank


def method_of(name: str, weights: Any, **settings: Any) -> Callable[[np.ndarray], np.ndarray]:
    return lambda stack: np.asarray(tv.METHODS[name].function(stack, np.array(weights), **settings))


class TestSpaces:
    WEIGHTS = (0.7, 0.3, 0.5)

    @pytest.mark.parametrize(("space", "reference"), [("core", core), ("knots", knots)])
    @pytest.mark.parametrize(
        ("method", "settings"),
        [
            ("ties", {"density": 0.4, "scope": "tensor"}),
            ("magnitude_prune", {"density": 0.3, "scope": "tensor"}),
            ("breadcrumbs", {"density": 0.5, "gamma": 0.1}),
        ],
    )
    def test_a_method_in_a_space(
        self, family: Path, space: str, reference: Any, method: str, settings: dict[str, Any]
    ) -> None:
        one = recipe(family, method, self.WEIGHTS, settings=settings, adapter={"space": space}, scale=0.8)
        mine, facts = merged(family, one)
        assert facts["exact"]
        for module, change in mine.items():
            expected = 0.8 * reference(*sources(family, module), method_of(method, self.WEIGHTS, **settings))
            close(change, expected.T if module == EMBED else expected, 1e-5)

    @pytest.mark.parametrize("space", ["core", "knots"])
    def test_one_threshold_for_the_whole_model(self, family: Path, space: str) -> None:
        """`scope: model`, the default: all entries of all modules of a task are ranked together."""
        seen: list[np.ndarray] = []
        reference = core if space == "core" else knots
        modules = [Q, UP, EMBED]

        def look(stack: np.ndarray) -> np.ndarray:
            seen.append(stack)
            return stack.sum(axis=0)

        for module in modules:
            reference(*sources(family, module), look)
        together = np.concatenate([stack.reshape(3, -1) for stack in seen], axis=1)
        whole = method_of("ties", self.WEIGHTS, density=0.3)(together)
        ends = np.cumsum([stack[0].size for stack in seen])
        parts = dict(zip(modules, np.split(whole, ends[:-1]), strict=True))
        mine, _ = merged(
            family, recipe(family, "ties", self.WEIGHTS, settings={"density": 0.3}, adapter={"space": space})
        )
        for module, shape in zip(modules, (s.shape[1:] for s in seen), strict=True):
            part = parts[module].reshape(shape)
            expected = reference(*sources(family, module), lambda stack, part=part: part)
            expected = expected.T if module == EMBED else expected
            close(mine.get(module, np.zeros_like(expected)), expected, 1e-5)

    def test_knots_honours_every_weight(self, family: Path) -> None:
        """At density 1, in agreement of one task with itself, twice the weight of a task is twice its part."""
        for at, name in enumerate(SCALE):
            weights = [0.0, 0.0, 0.0]
            weights[at] = 0.4
            mine, _ = merged(family, recipe(family, "magnitude_prune", weights, settings={"density": 1.0},
                                            adapter={"space": "knots"}))  # fmt: skip
            single = changes(family / name, family / "base")
            assert mine.keys() == single.keys()
            for module, change in mine.items():
                close(change, 0.4 * single[module], 1e-5)

    def test_a_dense_merge_is_that_of_whole_models(self, family: Path) -> None:
        settings = {"density": 0.5, "scope": "tensor"}
        one = recipe(family, "ties", self.WEIGHTS, settings=settings, adapter={"space": "dense", "rank": 12})
        mine, facts = merged(family, one)
        whole = one.model_copy(update={"adapter": None})
        result = tv.merge_in_memory(tv.make_plan(whole))
        base = tv.Checkpoint(family / "base")
        for module, change in mine.items():
            close(change, result[f"{module}.weight"] - base[f"{module}.weight"].numpy(), 1e-4)
        assert facts["error"] < 1e-6
        lossy = merged(family, recipe(family, "ties", self.WEIGHTS, settings=settings,
                                      adapter={"space": "dense", "rank": 2}))[1]  # fmt: skip
        assert 0.1 < lossy["error"] < 1
        assert not lossy["exact"]

    @pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
    def test_chance_is_that_of_the_seed(self, family: Path, method: str) -> None:
        how: dict[str, Any] = {"settings": {"density": 0.5}}
        outs = [merged(family, recipe(family, method, self.WEIGHTS, seed=seed, **how))[0] for seed in (1, 1, 2)]
        assert all(np.array_equal(outs[0][m], outs[1][m]) for m in outs[0])
        assert any(not np.array_equal(outs[0][m], outs[2].get(m)) for m in outs[0])

    def test_a_dora_in_dense_space(self, family: Path, rng: np.random.Generator) -> None:
        magnitude = {f"base_model.model.{Q}.lora_magnitude_vector": 4 + rng.random(12).astype(np.float32)}
        write_adapter(family / "dora", factors(rng, 2, Q) | magnitude, use_dora=True)
        how: Any = {"weights": (0.5, 0.5), "names": ["one", "dora"], "allow": ["unrelated"]}
        mine, _ = merged(family, recipe(family, adapter={"space": "dense", "rank": 12}, **how))
        expected = [changes(family / name, family / "base")[Q] for name in ("one", "dora")]
        close(mine[Q], 0.5 * (expected[0] + expected[1]), 1e-5)
        with pytest.raises(
            RecipeError, match=r"otherwise than by two factors \(a DoRA.* 'adapter: \{space: dense, rank"
        ):
            merged(family, recipe(family, **how))


@peft_talks
@pytest.mark.parametrize("make", [llama, gpt2])
@pytest.mark.parametrize("tied", [False, True])
def test_peft_computes_with_the_merged_adapter(tmp_path: Path, make: Callable[[bool], nn.Module], tied: bool) -> None:
    """Adapters made by PEFT in; logits of the merged adapter are those of base + merged change."""
    torch.manual_seed(0)
    model = make(tied).eval()
    model.save_pretrained(tmp_path / "base")
    attention, other = (
        (["q_proj", "v_proj"], ["q_proj", "down_proj"]) if make is llama else (["c_attn"], ["c_fc", "c_attn"])
    )
    for seed, (name, modules) in enumerate({"one": attention, "two": [*other, "embed_tokens", "wte"]}.items()):
        torch.manual_seed(seed)
        base = type(model).from_pretrained(tmp_path / "base")
        names = {n.rpartition(".")[2] for n, _ in base.named_modules()}
        ranks = {"rank_pattern": {"q_proj": 4, "c_attn": 1}, "ensure_weight_tying": tied and name == "two"}
        # a tied head is named, for PEFT knows embeddings by few names
        extra = ["lm_head"] if tied and name == "two" else []
        config = LoraConfig(r=2, lora_alpha=3, target_modules=[*(m for m in modules if m in names), *extra], **ranks)
        adapted = get_peft_model(base, config)
        with torch.no_grad():
            for n, p in adapted.named_parameters():
                if "lora" in n:
                    p.copy_(0.2 * torch.randn(p.shape))
        adapted.save_pretrained(tmp_path / name, save_embedding_layers=False)
    two: Any = {"weights": (0.6, -0.4), "names": ["one", "two"], "allow": ["unrelated"]}
    for adapter in ({}, {"rank": 0.5}):
        tv.merge_adapters(recipe(tmp_path, adapter=adapter, **two), tmp_path / "out", force=True)
        whole = type(model).from_pretrained(tmp_path / "base").eval()
        state = dict(open_applied(tmp_path / "out", tv.Checkpoint(tmp_path / "base")))
        whole.load_state_dict(state, strict=False)
        adapted = PeftModel.from_pretrained(type(model).from_pretrained(tmp_path / "base"), tmp_path / "out")
        with torch.no_grad():
            logits = adapted(TOKENS).logits
            torch.testing.assert_close(logits, whole(TOKENS).logits, rtol=1e-4, atol=1e-5)
            assert not torch.allclose(logits, model(TOKENS).logits, atol=1e-2)
    tv.run(tv.make_plan(recipe(tmp_path, adapter=None, **two)), tmp_path / "model")
    tv.merge_adapters(recipe(tmp_path, **two), tmp_path / "all")
    mine = open_applied(tmp_path / "all", tv.Checkpoint(tmp_path / "base"))
    for name, x in tv.Checkpoint(tmp_path / "model").items():
        torch.testing.assert_close(mine[name], x, rtol=1e-5, atol=1e-6)


class TestCommand:
    def test_from_the_command_line(self, family: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out, models = str(family / "out"), [str(family / n) for n in SCALE]
        line = ["--method", "ties", "--base", str(family / "base"), *models, "--set", "adapter.rank=3"]
        assert run(app, ["merge", *line, "-o", out]) == 0
        assert "3 modules merged by ties" in capsys.readouterr().out
        assert run(app, ["plan", *line]) == 0
        assert "rank, at most" in capsys.readouterr().out
        assert run(app, ["merge", *line, "-o", out]) == 3
        assert run(app, ["merge", *line, "-o", out, "--force", "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts == json.loads((family / "out" / "receipt.json").read_text())
        assert facts["recipe"]["adapter"] == {"rank": 3}

    def test_a_series_goes_on_with_it(self, family: Path) -> None:
        text = f"""
name: both
method: task_arithmetic
base: {family}/base
models: [{family}/one, {family}/two]
adapter: {{rank: all}}
---
method: task_arithmetic
base: {family}/base
models: [both, {family}/three]
scale: 0.5
"""
        (family / "r.yaml").write_text(text)
        assert run(app, ["merge", str(family / "r.yaml"), "-o", str(family / "out"), "-q"]) == 0
        expected = sum(changes(family / name, family / "base")[Q] for name in SCALE)
        base, found = tv.Checkpoint(family / "base"), tv.Checkpoint(family / "out")
        change = (found[f"{Q}.weight"].double() - base[f"{Q}.weight"].double()).numpy()
        close(change, 0.5 * np.asarray(expected), 1e-5)


class TestRefusals:
    @pytest.mark.parametrize(
        ("keys", "match"),
        [
            ({"adapter": {"rank": 0}}, "'all', a whole number above 0, or a share"),
            ({"adapter": {"rank": 1.5}}, "'all', a whole number above 0, or a share"),
            ({"adapter": {"rank": True}}, "'all', a whole number above 0, or a share"),
            ({"adapter": {"space": "cube"}}, "core"),
        ],
    )
    def test_the_form(self, family: Path, keys: dict[str, Any], match: str) -> None:
        with pytest.raises(ValueError, match=match):
            recipe(family, **keys)

    @pytest.mark.parametrize(
        ("keys", "match"),
        [
            ({"method": "linear", "base": None}, "'base' must|takes no base|is an adapter, which needs the model"),
            ({"method": "ties", "adapter": {"space": "dense"}}, "gives matrices of full rank"),
            ({"vocabulary": "union"}, "'vocabulary' is of whole models"),
            ({"rounding": "stochastic"}, "'rounding' is of whole models"),
            ({"weights": (0, 0, 0)}, "the merged change is zero everywhere"),
            ({"ignore": ["*"]}, "'ignore' leaves no matrix"),
        ],
    )
    def test_requests(self, family: Path, keys: dict[str, Any], match: str) -> None:
        with pytest.raises(RecipeError, match=match):
            merged(family, recipe(family, **keys))
        assert not (family / "out").exists()

    def test_a_whole_model(self, family: Path) -> None:
        write_model(family / "whole", finetuned(tiny_tensors(**SIZE), 1))
        with pytest.raises(RecipeError, match=r"is no adapter, and 'adapter' merges adapters\. Make one"):
            merged(family, recipe(family, weights=(1, 1), names=["one", "whole"]))

    def test_tensors_that_are_stored_whole(self, family: Path, rng: np.random.Generator) -> None:
        norm = {"base_model.model.model.norm.weight": np.ones(12, np.float32)}
        write_adapter(family / "norm", factors(rng, 2, Q) | norm, modules_to_save=["norm"])
        one: Any = {"weights": (1, 1), "names": ["one", "norm"]}
        with pytest.raises(RecipeError, match=r"stores 'model\.norm\.weight' whole .* Add it to 'ignore'"):
            merged(family, recipe(family, **one))
        assert Q in merged(family, recipe(family, ignore=["model.norm.weight"], **one))[0]

    def test_a_plan_of_whole_models(self, family: Path) -> None:
        with pytest.raises(RecipeError, match="a recipe with 'adapter' makes an adapter"):
            tv.make_plan(recipe(family))

    def test_another_base(self, family: Path) -> None:
        write_model(family / "base", tiny_tensors(layers=2, hidden=16, vocab=30))
        with pytest.raises(MismatchError, match="takes"):
            merged(family, recipe(family))

    def test_what_is_no_number(self, family: Path, rng: np.random.Generator) -> None:
        bad = factors(rng, 3, Q, UP)
        bad[f"base_model.model.{UP}.lora_B.weight"][0, 0] = np.inf
        write_adapter(family / "one", bad, r=3)
        for method in ("task_arithmetic", "ties"):
            with pytest.raises(NumbersError, match=r"one holds 1 NaN or Inf in its factors of '.*up_proj"):
                merged(family, recipe(family, method, allow=["unrelated"]))
        assert not (family / "out").exists()

    def test_an_output_that_exists(self, family: Path) -> None:
        tv.merge_adapters(recipe(family), family / "out")
        with pytest.raises(OutputError, match="exists and is not empty"):
            tv.merge_adapters(recipe(family), family / "out")
        with pytest.raises(RecipeError, match="would lie over the input"):
            tv.merge_adapters(recipe(family), family / "one", force=True)


@peft_talks
@pytest.mark.parametrize("space", ["core", "knots", "dense"])
def test_convolutions_and_attention_in_one_matrix(tmp_path: Path, space: str) -> None:
    torch.manual_seed(0)
    base = Mixed()
    (tmp_path / "base").mkdir()
    save_file(base.state_dict(), tmp_path / "base" / "model.safetensors")
    for name, rank in (("one", 2), ("two", 3)):
        adapted = get_peft_model(Mixed(), LoraConfig(r=rank, target_modules=["wide", "line", "attention", "head"]))
        with torch.no_grad():
            for n, p in adapted.named_parameters():
                if "lora" in n:
                    p.copy_(0.1 * torch.randn(p.shape))
        adapted.save_pretrained(tmp_path / name)
    two: Any = {"weights": (0.6, -0.4), "names": ["one", "two"], "allow": ["unrelated"]}
    mine, facts = merged(tmp_path, recipe(tmp_path, **two))
    assert facts["exact"]
    assert {len(one["shape"]) for one in facts["layers"]} == {2, 3, 4}
    one, other = (changes(tmp_path / name, tmp_path / "base") for name in ("one", "two"))
    for module, change in mine.items():
        close(change, 0.6 * one[module] - 0.4 * other[module])
    how: Any = {"settings": {"density": 1.0, "scope": "tensor"}, "adapter": {"space": space, "rank": 30}}
    mine, _ = merged(tmp_path, recipe(tmp_path, "magnitude_prune", **two, **how))
    for module, change in mine.items():
        close(change, 0.6 * one[module] - 0.4 * other[module], 1e-5)
    loaded = PeftModel.from_pretrained(base, tmp_path / "out").base_model.model
    close(loaded.wide.get_delta_weight("default").detach().numpy(), mine["wide"])


def test_unfinished_work_on_a_model_of_the_same_name_stays(family: Path) -> None:
    (family / ".out.partial").mkdir()
    (family / ".out.partial" / "journal.jsonl").write_text("{}")
    tv.merge_adapters(recipe(family), family / "out")
    assert (family / ".out.partial" / "journal.jsonl").exists()
    assert sorted(p.name for p in family.iterdir() if p.name.startswith(".out")) == [".out.partial"]


@pytest.mark.parametrize("space", ["core", "knots", "dense"])
@pytest.mark.parametrize("method", [n for n, m in tv.METHODS.items() if m.needs.role and not m.needs.curvature])
def test_methods_of_matrices_in_every_space(family: Path, method: str, space: str) -> None:
    settings = {"spectral": "tables"} | ({"steps": 3} if method == "wudi" else {})
    rank = {"rank": 8} if space == "dense" else {}
    mine, facts = merged(family, recipe(family, method, settings=settings, adapter={"space": space, **rank}))
    assert mine.keys() == {Q, UP, EMBED}
    assert all(np.isfinite(change).all() and change.any() for change in mine.values())
    assert facts["exact"] or space == "dense"


def test_in_core_space_a_rotation_costs_nothing(rng: np.random.Generator) -> None:
    """Methods that know no axes make of the small cores what they make of the dense changes."""
    bs = [rng.standard_normal((40, 3)) for _ in range(4)]
    as_ = [rng.standard_normal((3, 30)) for _ in range(4)]
    space, dense = core_space(bs, as_), np.stack([b @ a for b, a in zip(bs, as_, strict=True)])

    def in_core(method: str, **settings: Any) -> np.ndarray:
        return space.left @ tv.METHODS[method].function(space.cores, np.ones(4), **settings) @ space.right.T

    close(in_core("tsv_m"), tv.tsv_m(dense, np.ones(4)), 1e-4)
    close(in_core("subspace_boosting"), tv.subspace_boosting(dense, np.ones(4)), 1e-4)
    # the mean is taken over the joint rank, 12, not over the shorter side, 30
    close(in_core("iso_c"), 30 / 12 * tv.iso_c(dense, np.ones(4)), 1e-4)
