"""Tiny models written as GGUF: llama.cpp's own steps of conversion, with its own writer and its own map of names."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from transformers import PretrainedConfig, PreTrainedModel

SMALL = {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
SMALL |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 128}
SMALL |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}


@dataclass(frozen=True)
class Kind:
    """A family: GGUF's architecture, transformers' config and model, and the settings of a tiny one."""

    arch: str
    config: type[PretrainedConfig]
    model: type[PreTrainedModel]
    settings: dict[str, Any]


_GPT2 = {"vocab_size": 64, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 1024}
KINDS = {
    "llama": Kind("llama", transformers.LlamaConfig, transformers.LlamaForCausalLM, SMALL | {"attention_bias": True}),
    "llama tied": Kind(
        "llama", transformers.LlamaConfig, transformers.LlamaForCausalLM, SMALL | {"tie_word_embeddings": True}
    ),
    "mistral": Kind("llama", transformers.MistralConfig, transformers.MistralForCausalLM, SMALL),
    "qwen2": Kind("qwen2", transformers.Qwen2Config, transformers.Qwen2ForCausalLM, SMALL),
    "qwen3": Kind("qwen3", transformers.Qwen3Config, transformers.Qwen3ForCausalLM, SMALL | {"head_dim": 128}),
    "gemma2": Kind("gemma2", transformers.Gemma2Config, transformers.Gemma2ForCausalLM, SMALL),
    "gemma3": Kind("gemma3", transformers.Gemma3TextConfig, transformers.Gemma3ForCausalLM, SMALL),
    "gpt2": Kind("gpt2", transformers.GPT2Config, transformers.GPT2LMHeadModel, _GPT2),
}


def make(kind: Kind, seed: int = 0) -> PreTrainedModel:
    """Return a model in which no two entries are alike, norms and biases included."""
    torch.manual_seed(seed)
    model = kind.model(kind.config(**kind.settings)).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) / 8)
    return model


def stored(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return the tensors as save_pretrained would store them: tied ones once."""
    tensors = dict(model.state_dict())
    if model.config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    return tensors


def permuted(x: torch.Tensor, heads: int) -> torch.Tensor:
    """Interleave the halves of each head, as convert_hf_to_gguf does for Llama."""
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def converted(arch: str, config: PretrainedConfig, name: str, x: torch.Tensor) -> torch.Tensor:
    """Return a tensor as convert_hf_to_gguf stores it."""
    if arch == "llama" and ".q_proj." in name:
        return permuted(x, config.num_attention_heads)
    if arch == "llama" and ".k_proj." in name:
        return permuted(x, config.num_key_value_heads)
    if arch.startswith("gemma") and name.endswith("norm.weight"):
        return x + 1
    if arch == "gpt2" and name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
        return x.T
    return x


def metadata(writer: gguf.GGUFWriter, arch: str, config: PretrainedConfig) -> None:
    """Write what convert_hf_to_gguf writes of these families, and a vocabulary."""
    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_context_length(config.max_position_embeddings)
    if arch == "gpt2":
        writer.add_feed_forward_length(4 * config.hidden_size)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    else:
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_freq_base(10000.0)
        if arch == "llama":
            writer.add_vocab_size(config.vocab_size)
            writer.add_rope_dimension_count(config.head_dim)
        elif arch != "qwen2":
            writer.add_key_length(config.head_dim)
            writer.add_value_length(config.head_dim)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"t{i}" for i in range(config.vocab_size)])
    writer.add_token_scores([0.0] * config.vocab_size)
    writer.add_token_types([1] * config.vocab_size)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def encode(x: torch.Tensor, kind: Type) -> tuple[np.ndarray, Type]:
    """Return a tensor's bytes as llama.cpp stores it: matrices in the type that was asked for, vectors in float32."""
    kind = Type.F32 if x.ndim < 2 else kind
    return gguf.quants.quantize(np.ascontiguousarray(x.float().numpy()), kind), kind


def write(
    path: Path,
    kind: Kind,
    model: PreTrainedModel,
    dtype: Type = Type.F32,
    *,
    more: Callable[[gguf.GGUFWriter], None] | None = None,
    **split: int,
) -> Path:
    """Write a model as GGUF; `more` may add to it, `split_max_tensors` cuts it into parts."""
    writer = gguf.GGUFWriter(path, kind.arch, **split)
    metadata(writer, kind.arch, model.config)
    arch = next(a for a, n in gguf.MODEL_ARCH_NAMES.items() if n == kind.arch)
    names = gguf.get_tensor_name_map(arch, model.config.num_hidden_layers)
    for name, x in stored(model).items():
        there = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert there, name
        data, code = encode(converted(kind.arch, model.config, name, x), dtype)
        writer.add_tensor(there, data, raw_dtype=code)
    if more:
        more(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
