"""An adapter's change is what PEFT merges: every kind of it, against PEFT itself in float64."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from taskvec.store import Checkpoint
from taskvec.store.adapter import WEIGHTS, adapter_notes, is_adapter, open_adapter, open_applied

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning", "ignore::FutureWarning")

ATTENTION = ["q_proj", "k_proj"]


def llama(tied: bool = False) -> nn.Module:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=21, hidden_size=8, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, attention_bias=True, tie_word_embeddings=tied, bos_token_id=0, eos_token_id=1,
        )
    )  # fmt: skip


def gpt2() -> nn.Module:
    return GPT2LMHeadModel(GPT2Config(vocab_size=19, n_positions=6, n_embd=8, n_layer=2, n_head=2))


def clip() -> nn.Module:
    return CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2, image_size=6, patch_size=3
        )
    )


class Mixed(nn.Module):
    """Layers that transformers seldom has."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 5, 3)
        self.point = nn.Conv2d(5, 4, 1)
        self.line = nn.Conv1d(4, 6, 2)
        self.attention = nn.MultiheadAttention(6, 2)
        self.head = nn.Linear(6, 2)


def randomise(model: nn.Module, all_of_them: bool) -> None:
    """Give parameters (or only the trained ones) random values, so that nothing that matters is zero or small."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            if all_of_them or parameter.requires_grad:
                parameter.copy_(parameter * 0.5 + torch.rand(parameter.shape, generator=generator) - 0.4)


class Pair:
    """A base and an adapter on disk, and what PEFT makes of them in float64."""

    def __init__(self, folder: Path, model: nn.Module, **config: Any) -> None:
        torch.manual_seed(0)
        self.base, self.adapter = folder / "base", folder / "adapter"
        randomise(model, all_of_them=True)
        if hasattr(model, "save_pretrained"):
            model.save_pretrained(self.base)
        else:
            self.base.mkdir()
            save_file(model.state_dict(), self.base / "model.safetensors")
        before = {n: x.double() for n, x in load_file(self.base / "model.safetensors").items()}
        self.model = get_peft_model(model, LoraConfig(**{"r": 3, "lora_alpha": 5, **config}))
        randomise(self.model, all_of_them=False)
        self.model.save_pretrained(self.adapter, save_embedding_layers=False)
        self.stored = load_file(self.adapter / WEIGHTS)
        after = self.model.double().merge_and_unload().state_dict()
        self.expected = {n: (after[n] - x).numpy() for n, x in before.items()}
        self.before = {n: x.numpy() for n, x in before.items()}

    def check(self) -> dict[str, np.ndarray]:
        """Compare every tensor; return the changes that are not zero."""
        assert is_adapter(self.adapter)
        base = Checkpoint(self.base)
        delta, applied = open_adapter(self.adapter, base), open_applied(self.adapter, base)
        assert set(delta) == set(applied) == set(self.expected)
        changed = {}
        for name, expected in self.expected.items():
            mine, size = delta[name].double().numpy(), np.linalg.norm(expected)
            assert mine.shape == expected.shape, name
            assert np.linalg.norm(mine - expected) <= 1e-6 * size, name
            whole = self.before[name] + expected
            np.testing.assert_allclose(applied[name].double().numpy(), whole, rtol=1e-6, atol=1e-6, err_msg=name)
            if size:
                changed[name] = mine
            else:
                assert delta.tensors[name].on_disk == ()
                assert delta.tensors[name].scratch == 0
        return changed


LLAMA: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": ATTENTION},
    "patterns": {
        "target_modules": [*ATTENTION, "down_proj"],
        "rank_pattern": {"proj": 6, "1.self_attn.q_proj": 2, "down_proj": 1, r"layers\.0\..*": 4},
        "alpha_pattern": {"^model.layers.1.mlp.down_proj": 7, "k_proj": 1.5},
    },
    "rslora": {"target_modules": ATTENTION, "use_rslora": True, "rank_pattern": {"k_proj": 2}},
    "one layer": {"target_modules": ATTENTION, "layers_to_transform": [1]},
    "head saved": {"target_modules": ATTENTION, "modules_to_save": ["lm_head", "norm"]},
    "embedding": {"target_modules": ["embed_tokens", "lm_head", "v_proj"]},
    "lora_bias": {"target_modules": ATTENTION, "lora_bias": True},
    "all biases": {"target_modules": ATTENTION, "bias": "all"},
    "targets' biases and lora_bias": {"target_modules": ATTENTION, "bias": "lora_only", "lora_bias": True},
    "tokens": {"target_modules": ATTENTION, "trainable_token_indices": [20, 3, 7]},
    "tokens by name": {
        "target_modules": ATTENTION,
        "trainable_token_indices": {"lm_head": [0], "embed_tokens": [4, 2]},
    },
    "dora": {"target_modules": [*ATTENTION, "up_proj"], "use_dora": True},
    "dora of an embedding": {"target_modules": ["embed_tokens", "k_proj"], "use_dora": True, "use_rslora": True},
}


@pytest.mark.parametrize("kind", LLAMA)
def test_llama(tmp_path: Path, kind: str) -> None:
    assert Pair(tmp_path, llama(), **LLAMA[kind]).check()


@pytest.mark.parametrize("dora", [False, True])
def test_gpt2_whose_matrices_are_stored_in_out(tmp_path: Path, dora: bool) -> None:
    """The flag is that of the last target, a plain layer, and c_proj is square: neither tells."""
    targets = ["c_attn", "attn.c_proj", "mlp.c_proj", "lm_head"] if not dora else ["c_attn", "c_proj", "wte"]
    changed = Pair(tmp_path, gpt2() if dora else untied_gpt2(), target_modules=targets, use_dora=dora).check()
    assert "transformer.h.0.attn.c_proj.weight" in changed


def untied_gpt2() -> nn.Module:
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=19, n_positions=6, n_embd=8, n_layer=1, n_head=2, tie_word_embeddings=False)
    )


@pytest.mark.parametrize("dora", [False, True])
def test_clip_with_a_convolution(tmp_path: Path, dora: bool) -> None:
    targets = ["patch_embedding", "position_embedding", "out_proj", "fc2"]
    changed = Pair(tmp_path, clip(), target_modules=targets, use_dora=dora).check()
    assert any(x.ndim == 4 for x in changed.values())


@pytest.mark.parametrize("dora", [False, True])
def test_convolutions(tmp_path: Path, dora: bool) -> None:
    changed = Pair(tmp_path, Mixed(), target_modules=["wide", "point", "line", "head"], use_dora=dora).check()
    assert [x.ndim for x in changed.values()] == [2, 3, 4, 4]


def test_attention_in_one_matrix(tmp_path: Path) -> None:
    """PEFT 0.21 adds the output's change twice when it merges; what it computes with is get_delta_weight."""
    pair = Pair(tmp_path, Mixed(), target_modules=["attention"])
    model = get_peft_model(Mixed(), LoraConfig(r=3, lora_alpha=5, target_modules=["attention"]))
    model.load_state_dict({n.replace(".weight", ".default.weight"): x for n, x in pair.stored.items()}, strict=False)
    layer = model.base_model.model.attention
    delta = open_adapter(pair.adapter, Checkpoint(pair.base))
    for name, part in [("in_proj_weight", layer), ("out_proj.weight", layer.base_layer.out_proj)]:
        expected = part.get_delta_weight("default").detach()
        assert expected.norm() > 0.1
        torch.testing.assert_close(delta[f"attention.{name}"], expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_factors_of_every_type_make_a_change_in_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    """PEFT rounds the change of 16-bit factors to 16 bits; here only the factors are."""
    pair = Pair(tmp_path, llama(), target_modules=["k_proj"])
    save_file({n: x.to(dtype) for n, x in pair.stored.items()}, pair.adapter / WEIGHTS)
    delta = open_adapter(pair.adapter, Checkpoint(pair.base))
    front = "model.layers.1.self_attn.k_proj"
    a, b = (pair.stored[f"base_model.model.{front}.lora_{x}.weight"].to(dtype).double() for x in "AB")
    torch.testing.assert_close(delta[f"{front}.weight"].double(), 5 / 3 * b @ a, rtol=1e-5, atol=1e-7)


def test_an_embedding_that_is_tied_moves_the_head_too(tmp_path: Path) -> None:
    pair = Pair(tmp_path, llama(tied=True), target_modules=["embed_tokens"])
    assert set(pair.check()) == {"model.embed_tokens.weight"}
    assert [n for n in adapter_notes(pair.adapter, Checkpoint(pair.base)) if "ties" in n] == [
        f"{pair.adapter} changes 'model.embed_tokens.weight'; the head that {pair.base} ties to it changes too."
    ]


def test_an_embedding_and_its_head_that_were_trained_as_one(tmp_path: Path) -> None:
    """PEFT stores their change twice, turned, and (0.21) adds it twice when it merges; its model adds it once."""
    targets = {"target_modules": ["embed_tokens", "k_proj"], "ensure_weight_tying": True}
    pair = Pair(tmp_path, llama(tied=True), **targets)
    assert any("lm_head" in name for name in pair.stored)
    base = Checkpoint(pair.base)
    assert not any("ties" in note for note in adapter_notes(pair.adapter, base))
    tokens = torch.arange(5)[None]
    adapted = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(pair.base), pair.adapter)
    merged = llama(tied=True)
    merged.load_state_dict(dict(open_applied(pair.adapter, base)), strict=False)
    with torch.no_grad():
        torch.testing.assert_close(merged(tokens).logits, adapted(tokens).logits)


def test_embeddings_that_are_stored_beside_their_change(tmp_path: Path) -> None:
    """PEFT may store the embedding and the head whole, as they were; the change of them is what the factors say."""
    pair = Pair(tmp_path, llama(tied=True), target_modules=["embed_tokens"])
    embedding = load_file(pair.base / "model.safetensors")["model.embed_tokens.weight"]
    more = {"model.embed_tokens.base_layer.weight": embedding, "lm_head.weight": embedding.clone()}
    save_file(pair.stored | {f"base_model.model.{n}": x for n, x in more.items()}, pair.adapter / WEIGHTS)
    pair.check()


def test_names_of_other_versions(tmp_path: Path) -> None:
    """With the adapter's name, or without PEFT's prefix, or with that of wrapped modules."""
    pair = Pair(tmp_path, llama(), **LLAMA["head saved"])
    for old, new in [
        (r"\.weight$", ".default.weight"),
        (r"^base_model\.model\.", ""),
        ("norm", "norm.modules_to_save"),
    ]:
        renamed = {
            re.sub(old, new, n) if "lora" in n or "norm" in new or not new else n: x for n, x in pair.stored.items()
        }
        assert renamed.keys() != pair.stored.keys()
        save_file(renamed, pair.adapter / WEIGHTS)
        pair.check()


@pytest.mark.parametrize(("old", "new"), [("^model\\.", ""), ("^model", "model.language_model"), ("^", "base.")])
def test_bases_that_name_their_tensors_otherwise(tmp_path: Path, old: str, new: str) -> None:
    pair = Pair(tmp_path, llama(), **LLAMA["head saved"])
    tensors = load_file(pair.base / "model.safetensors")
    renamed = {n: re.sub(old, new, n) for n in tensors}
    save_file({renamed[n]: x for n, x in tensors.items()}, pair.base / "model.safetensors")
    pair.expected = {renamed[n]: x for n, x in pair.expected.items()}
    pair.before = {renamed[n]: x for n, x in pair.before.items()}
    assert len(pair.check()) == 10
