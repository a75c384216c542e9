"""An extracted adapter: exact where it can be, the nearest where not, and PEFT computes with it what is promised."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.numpy import load_file
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import taskvec as tv
from taskvec.cli.app import app
from taskvec.cli.exits import run
from taskvec.errors import MismatchError, NumbersError, OutputError, RecipeError
from taskvec.store.adapter import open_applied
from taskvec.testing import finetuned, tiny_tensors, write_adapter, write_model

peft_talks = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning", "ignore::FutureWarning")
NAMES = {"q": "model.layers.0.self_attn.q_proj", "up": "model.layers.1.mlp.up_proj", "embed": "model.embed_tokens"}
TOKENS = torch.arange(10)[None]


def llama(tied: bool) -> nn.Module:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=30, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, attention_bias=True, tie_word_embeddings=tied, bos_token_id=0, eos_token_id=1,
        )
    )  # fmt: skip


def gpt2(tied: bool) -> nn.Module:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=30, n_positions=12, n_embd=16, n_layer=2, n_head=2, tie_word_embeddings=tied, bos_token_id=0,
            eos_token_id=1,
        )
    )  # fmt: skip


def tune(model: nn.Module, embeddings: bool, rest: bool) -> None:
    """Change matrices by rank 2, and the rest by noise."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, p in model.named_parameters():
            embedding = any(part in name for part in ("embed", "wte", "wpe"))
            if p.ndim == 2 and (embeddings or not embedding):
                p.add_(0.1 * torch.randn(p.shape[0], 2) @ torch.randn(2, p.shape[1]))
            elif rest:
                p.add_(0.1 * torch.randn(p.shape))


@peft_talks
@pytest.mark.parametrize("make", [llama, gpt2])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("embeddings", "rest"), [(False, False), (True, False), (False, True), (True, True)])
def test_peft_computes_what_the_finetuned_model_does(
    tmp_path: Path, make: Callable[[bool], nn.Module], tied: bool, embeddings: bool, rest: bool
) -> None:
    torch.manual_seed(0)
    model = make(tied).eval()
    model.save_pretrained(tmp_path / "base")
    tune(model, embeddings, rest)
    model.save_pretrained(tmp_path / "tuned")
    options: Any = {"rank": 2, "embeddings": embeddings, "save_rest": rest}
    facts = tv.extract_lora(tmp_path / "base", tmp_path / "tuned", tmp_path / "a", **options).facts
    assert facts["error"]["of_everything"] < 1e-6
    assert facts["rest"] == []
    base = type(model).from_pretrained(tmp_path / "base")
    with torch.no_grad():
        adapted = PeftModel.from_pretrained(base, tmp_path / "a")
        torch.testing.assert_close(adapted(TOKENS).logits, model(TOKENS).logits, rtol=1e-4, atol=1e-5)
    mine = open_applied(tmp_path / "a", tv.Checkpoint(tmp_path / "base"))
    for name, expected in tv.Checkpoint(tmp_path / "tuned").items():
        torch.testing.assert_close(mine[name], expected, rtol=1e-5, atol=1e-6)


@peft_talks
def test_other_ranks_for_other_layers_load_in_peft(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = llama(False).eval()
    model.save_pretrained(tmp_path / "base")
    with torch.no_grad():
        for k, p in enumerate(p for p in model.parameters() if p.ndim == 2 and p.shape[0] != 30):
            p.add_(0.1 * torch.randn(p.shape[0], k % 4) @ torch.randn(k % 4, p.shape[1]))
    model.save_pretrained(tmp_path / "tuned")
    facts = tv.extract_lora(tmp_path / "base", tmp_path / "tuned", tmp_path / "a", energy=1 - 1e-9).facts
    assert {one["rank"] for one in facts["layers"]} == {1, 2, 3}
    assert len(facts["unchanged"]) == 5  # every fourth, and the head
    adapted = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "a")
    with torch.no_grad():
        torch.testing.assert_close(adapted(TOKENS).logits, model(TOKENS).logits, rtol=1e-4, atol=1e-5)


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """Write a base and a fine-tuned model in which everything moved."""
    base = tiny_tensors(hidden=12, vocab=40)
    write_model(tmp_path / "base", base)
    write_model(tmp_path / "tuned", finetuned(base, 1))
    return tmp_path


def extract(pair: Path, **options: Any) -> dict[str, Any]:
    tuned = options.pop("finetuned", pair / "tuned")
    base = options.pop("base", pair / "base")
    return tv.extract_lora(base, tuned, pair / "a", force=True, **options).facts


def products(folder: Path) -> dict[str, np.ndarray]:
    """Return B A of every module that has factors."""
    stored = load_file(folder / "adapter_model.safetensors")
    ends = (".lora_A.weight", ".lora_B.weight"), (".lora_embedding_A", ".lora_embedding_B")
    out = {}
    for a, b in ends:
        for name in (n for n in stored if n.endswith(a)):
            module = name.removesuffix(a)
            product = stored[module + b].astype(np.float64) @ stored[name].astype(np.float64)
            out[module.removeprefix("base_model.model.")] = product.T if "embedding" in a else product
    return out


def differences(pair: Path) -> dict[str, np.ndarray]:
    base, tuned = tv.Checkpoint(pair / "base"), tv.Checkpoint(pair / "tuned")
    return {n.removesuffix(".weight"): (tuned[n].double() - base[n].double()).numpy() for n in base}


@pytest.mark.parametrize("rank", [1, 3, 12])
def test_no_factors_of_the_rank_are_nearer(pair: Path, rank: int) -> None:
    """Eckart and Young: the rest of the singular values is what must remain; the report says as much."""
    facts = extract(pair, rank=rank, embeddings=True)
    delta = differences(pair)
    for module, product in products(pair / "a").items():
        u, s, vt = np.linalg.svd(delta[module])
        size = np.linalg.norm(delta[module])
        error = np.linalg.norm(delta[module] - product) / size
        assert error == pytest.approx(np.linalg.norm(s[rank:]) / size, abs=1e-6)
        np.testing.assert_allclose(product, u[:, :rank] * s[:rank] @ vt[:rank], atol=2e-6)
        (said,) = [one for one in facts["layers"] if one["tensor"] == f"{module}.weight"]
        assert said["error"] == pytest.approx(error, rel=1e-6, abs=1e-7)
        assert said["best"] == pytest.approx(np.linalg.norm(s[rank:]) / size, abs=1e-6)
        assert said["rank"] == rank
        assert said["norm"] == pytest.approx(size)


def test_a_rank_beyond_the_matrix_is_the_matrix(pair: Path) -> None:
    facts = extract(pair, rank=500)
    assert {one["rank"] for one in facts["layers"]} == {12}
    assert facts["error"]["of_layers"] < 1e-6


def test_energy(pair: Path) -> None:
    facts = extract(pair, energy=0.8)
    for one in facts["layers"]:
        s = np.linalg.svd(differences(pair)[one["tensor"].removesuffix(".weight")], compute_uv=False)
        held = np.cumsum(s**2) / (s**2).sum()
        assert one["rank"] == np.searchsorted(held, 0.8) + 1
        assert 1 - one["error"] ** 2 >= 0.8 - 1e-6
    assert {one["rank"] for one in extract(pair, energy=0.8, max_rank=2)["layers"]} == {2}


def test_the_file_is_no_larger_than_the_budget(pair: Path) -> None:
    last = 1.0
    for budget in (3000, 6000, 9000):
        facts = extract(pair, budget=budget)
        size = (pair / "a" / "adapter_model.safetensors").stat().st_size
        assert budget - 400 < size <= budget  # one rank of the largest layer, and room for the header's numbers
        assert facts["error"]["of_everything"] < last
        last = facts["error"]["of_everything"]
    assert max(one["rank"] for one in extract(pair, budget="1MB", max_rank=5)["layers"]) == 5


def test_values_up_to_epsilon_are_left_out(pair: Path) -> None:
    facts = extract(pair, rank=12, sv_epsilon=0.6)
    for one in facts["layers"]:
        s = np.linalg.svd(differences(pair)[one["tensor"].removesuffix(".weight")], compute_uv=False)
        assert one["rank"] == (s > 0.6).sum()
    with pytest.raises(RecipeError, match=r"--sv-epsilon 99 leaves nothing: the largest singular value is \d"):
        extract(pair, rank=2, sv_epsilon=99)


def test_the_scale_goes_to_both_factors_or_to_one(pair: Path) -> None:
    module = f"base_model.model.{NAMES['q']}"
    s = np.linalg.svd(differences(pair)[NAMES["q"]], compute_uv=False)[:2]
    for distribute, in_a, in_b in ((True, s**0.5, s**0.5), (False, s, np.ones(2))):
        extract(pair, rank=2, distribute_scale=distribute)
        stored = load_file(pair / "a" / "adapter_model.safetensors")
        a, b = stored[f"{module}.lora_A.weight"], stored[f"{module}.lora_B.weight"]
        np.testing.assert_allclose(np.linalg.norm(a, axis=1), in_a, rtol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(b, axis=0), in_b, rtol=1e-5)


def test_what_is_left_is_said_with_its_share(pair: Path) -> None:
    facts = extract(pair, rank=12)
    delta = {name: np.linalg.norm(x) for name, x in differences(pair).items()}
    total = sum(x**2 for x in delta.values()) ** 0.5
    shares = {one["tensor"].removesuffix(".weight"): one["share"] for one in facts["rest"]}
    assert shares.keys() == {n for n in delta if "norm" in n or "embed" in n}
    assert shares == pytest.approx({name: delta[name] / total for name in shares})
    left = sum(delta[name] ** 2 for name in shares) ** 0.5
    assert facts["error"]["of_everything"] == pytest.approx(left / total, rel=1e-4)


def test_modules_are_chosen_by_expressions(pair: Path) -> None:
    facts = extract(pair, rank=2, include=[r"layers\.[01]\."], exclude=["up_proj"])
    assert [one["tensor"] for one in facts["layers"]] == [f"model.layers.{i}.self_attn.q_proj.weight" for i in (0, 1)]
    assert "model.layers.2.self_attn.q_proj.weight" in [one["tensor"] for one in facts["rest"]]
    assert facts["excluded"] == [f"model.layers.{i}.mlp.up_proj.weight" for i in range(3)]
    config = json.loads((pair / "a" / "adapter_config.json").read_text())
    assert config["target_modules"] == [f"model.layers.{i}.self_attn.q_proj" for i in (0, 1)]


def test_a_module_that_is_stored_whole(pair: Path) -> None:
    facts = extract(pair, rank=2, save_modules=["lm_head", "layers.0.mlp.up_proj"], dtype="bfloat16")
    assert facts["whole"] == ["model.layers.0.mlp.up_proj.weight", "lm_head.weight"]
    applied, tuned = open_applied(pair / "a", tv.Checkpoint(pair / "base")), tv.Checkpoint(pair / "tuned")
    for name in facts["whole"]:
        assert torch.equal(applied[name], tuned[name])


def test_models_in_bf16_and_factors_in_bf16(tmp_path: Path) -> None:
    """The difference is exact; what factors of 16 bits lose is in the report."""
    base = tiny_tensors(hidden=16)
    write_model(tmp_path / "base", base, dtype="BF16", shard_size=1500)
    write_model(tmp_path / "tuned", finetuned(base, 1), dtype="BF16")
    facts = extract(tmp_path, rank=16)
    assert facts["error"]["of_layers"] < 1e-6
    worse = extract(tmp_path, rank=16, dtype="bfloat16")
    assert 1e-3 < worse["error"]["of_layers"] < 1e-2
    delta = differences(tmp_path)
    for module, product in products_of_bf16(tmp_path / "a").items():
        (said,) = [one["error"] for one in worse["layers"] if one["tensor"] == f"{module}.weight"]
        assert said == pytest.approx(np.linalg.norm(delta[module] - product) / np.linalg.norm(delta[module]))


def products_of_bf16(folder: Path) -> dict[str, np.ndarray]:
    stored = tv.Checkpoint(folder / "adapter_model.safetensors")
    modules = [name.removesuffix(".lora_A.weight") for name in stored if name.endswith(".lora_A.weight")]
    assert {str(stored[name].dtype) for name in stored} == {"torch.bfloat16"}
    pairs = {m: (stored[f"{m}.lora_B.weight"].double(), stored[f"{m}.lora_A.weight"].double()) for m in modules}
    return {m.removeprefix("base_model.model."): (b @ a).numpy() for m, (b, a) in pairs.items()}


def test_the_finetuned_may_be_an_adapter_of_the_base(pair: Path, rng: np.random.Generator) -> None:
    """A LoRA of rank 4 is found again, and can be made smaller."""
    front = f"base_model.model.{NAMES['q']}"
    factors = {
        f"{front}.lora_A.weight": rng.standard_normal((4, 12)).astype(np.float32),
        f"{front}.lora_B.weight": rng.standard_normal((12, 4)).astype(np.float32),
    }
    write_adapter(pair / "lora", factors, r=4, lora_alpha=6)
    expected = 1.5 * factors[f"{front}.lora_B.weight"] @ factors[f"{front}.lora_A.weight"]
    for finetuned_ in (pair / "lora", f"{pair / 'base'}+{pair / 'lora'}"):
        facts = extract(pair, finetuned=finetuned_, rank=10)
        assert [(one["tensor"], one["rank"]) for one in facts["layers"]] == [(f"{NAMES['q']}.weight", 4)]
        np.testing.assert_allclose(products(pair / "a")[NAMES["q"]], expected, atol=1e-5)


def test_names_that_peft_puts_something_before(pair: Path) -> None:
    extract(pair, rank=2, prefix="language_model.")
    stored = load_file(pair / "a" / "adapter_model.safetensors")
    assert all(name.startswith("base_model.model.language_model.") for name in stored)


def test_it_is_there_whole_or_not_at_all(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from taskvec.recipe.lora import extraction as module

    def fails(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "error_of", fails)
        with pytest.raises(OutputError, match="the disk is full"):
            extract(pair, rank=2)
    assert sorted(p.name for p in pair.iterdir()) == ["base", "tuned"]
    facts = extract(pair, rank=2)
    assert sorted(facts["files"]) == ["adapter_config.json", "adapter_model.safetensors"]
    assert json.loads((pair / "a" / "extraction.json").read_text()) == facts
    before = {p.name: p.read_bytes() for p in (pair / "a").iterdir() if p.name != "extraction.json"}
    extract(pair, rank=2, threads=1)
    assert {p.name: p.read_bytes() for p in (pair / "a").iterdir() if p.name in before} == before


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({}, r"three ways: --rank 16, --energy 0\.9 or --budget 50MB; got none"),
            ({"rank": 2, "energy": 0.5}, "got rank and energy"),
            ({"rank": 0}, "--rank must be a whole number above 0, got 0"),
            ({"energy": 0.5, "max_rank": -1}, "--max-rank must be a whole number above 0, got -1"),
            ({"energy": 1.5}, r"--energy must be a share of the squares in \(0, 1\], got 1\.5"),
            ({"budget": "much"}, "'much' is not a size"),
            ({"budget": 900}, r"--budget 900 is too small: one rank of the smallest layer takes 96 bytes"),
            ({"rank": 2, "sv_epsilon": -1.0}, "--sv-epsilon must be 0 or more"),
            ({"rank": 2, "dtype": "bf16"}, "unknown dtype 'bf16'. Did you mean 'bfloat16'"),
            ({"rank": 2, "include": ["("]}, r"--include-regex '\(' is no regular expression"),
            ({"rank": 2, "exclude": ["["]}, r"--exclude-regex '\[' is no regular expression"),
            ({"rank": 2, "include": ["kproj"]}, r"no linear layer of .* is chosen\. The first matrix is that of"),
            ({"rank": 2, "save_modules": ["score"]}, "--save-module 'score' is no module of"),
        ],
    )
    def test_requests(self, pair: Path, options: dict[str, Any], match: str) -> None:
        with pytest.raises(RecipeError, match=match):
            extract(pair, **options)
        assert sorted(p.name for p in pair.iterdir()) == ["base", "tuned"]

    def test_nothing_changed(self, pair: Path) -> None:
        with pytest.raises(RecipeError, match="none of the 7 chosen layers changed: there is nothing to extract"):
            extract(pair, finetuned=pair / "base", rank=2)

    def test_an_output_that_exists(self, pair: Path) -> None:
        extract(pair, rank=2)
        with pytest.raises(OutputError, match="exists and is not empty"):
            tv.extract_lora(pair / "base", pair / "tuned", pair / "a", rank=2)
        with pytest.raises(RecipeError, match="would lie over the input"):
            tv.extract_lora(pair / "base", pair / "tuned", pair / "base", rank=2, force=True)

    def changed(self, pair: Path, **tensors: np.ndarray | None) -> Path:
        whole = tiny_tensors(hidden=12, vocab=40) | {NAMES.get(k, k) + ".weight": x for k, x in tensors.items()}  # type: ignore[dict-item]
        return write_model(pair / "other", {n: x for n, x in whole.items() if x is not None})

    def test_other_tensors(self, pair: Path) -> None:
        x = np.ones((12, 12), np.float32)
        with pytest.raises(MismatchError, match=r"lacks 'model\.layers\.0\.self_attn\.q_proj\.weight', which .* has"):
            extract(pair, finetuned=self.changed(pair, q=None), rank=2)
        with pytest.raises(MismatchError, match=r"has 'extra\.weight', which .* lacks\. .* --exclude-regex 'extra'"):
            extract(pair, finetuned=self.changed(pair, extra=x), rank=2)
        assert extract(pair, finetuned=self.changed(pair, extra=x, q=x), rank=2, exclude=["extra"])["layers"]
        with pytest.raises(MismatchError, match=r"up_proj\.weight' is \(36, 12\) in .* but \(12, 12\) in"):
            extract(pair, finetuned=self.changed(pair, up=x), rank=2)

    def test_another_vocabulary(self, pair: Path) -> None:
        other = self.changed(pair, embed=np.ones((42, 12), np.float32), q=np.ones((12, 12), np.float32))
        with pytest.raises(MismatchError, match=r"Their vocabularies differ, and an adapter adds no rows\. To leave"):
            extract(pair, finetuned=other, rank=2)
        assert extract(pair, finetuned=other, rank=2, exclude=[r"model\.embed_tokens"])["layers"]

    def test_a_head_of_its_own(self, pair: Path) -> None:
        tensors = tiny_tensors(hidden=12, vocab=40)
        head = tensors.pop("lm_head.weight")
        tied = write_model(pair / "tied", tensors, config={"tie_word_embeddings": True})
        untied = write_model(pair / "untied", tensors | {"lm_head.weight": head})
        with pytest.raises(MismatchError, match=r"has a 'lm_head\.weight' of its own, which .* ties to 'model\.embed"):
            extract(pair, base=tied, finetuned=untied, rank=2)
        q = {f"{NAMES['q']}.weight": np.ones((12, 12), np.float32)}
        embedding = {"lm_head.weight": tensors["model.embed_tokens.weight"]}
        same = write_model(pair / "same", tensors | embedding | q)
        assert len(extract(pair, base=tied, finetuned=same, rank=2)["layers"]) == 1
        assert len(extract(pair, base=untied, finetuned=tied, rank=2)["layers"]) == 1  # the head became the embedding

    def test_what_is_no_number(self, pair: Path) -> None:
        x = np.full((12, 12), np.nan, np.float32)
        with pytest.raises(NumbersError, match=r"q_proj\.weight' differs by NaN or Inf in 144 entries"):
            extract(pair, finetuned=self.changed(pair, q=x), rank=2)

    def test_a_task_vector(self, pair: Path) -> None:
        tv.diff(pair / "base", pair / "tuned").save(pair / "x.tv")
        with pytest.raises(MismatchError, match="is a task vector, the difference of two models"):
            extract(pair, finetuned=pair / "x.tv", rank=2)


def test_the_command_says_what_is_lost(pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["extract-lora", str(pair / "base"), str(pair / "tuned"), "-o", str(pair / "a")]
    assert run(app, [*line, "-r", "3", "-e", "up_proj", "--save-module", "lm_head"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "model.layers.0.self_attn.q_proj.weight 12×12 3 0." in said
    assert "a: 3 layers, " in said
    assert "5 tensors changed and are not in the adapter: 'model.embed_tokens.weight' (" in said
    assert "1 tensors are stored whole." in said
    assert run(app, [*line, "--energy", "0.5", "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["options"] == {"energy": 0.5}
    assert run(app, line) == 2
    assert "the rank is given in one of three ways" in capsys.readouterr().err
