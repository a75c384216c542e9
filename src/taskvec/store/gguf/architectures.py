"""Which tensor of GGUF is which of transformers, and what llama.cpp's converter did to it.

Only architectures that the tests can compare with transformers' own reading of GGUF stand here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Change = Literal["rows", "transposed", "shifted"]
"""What was done: rows of each head were reordered, the matrix was transposed, 1 was added."""


@dataclass(frozen=True)
class Architecture:
    """A table of names.

    tensors: GGUF's name, without '.weight' or '.bias', to transformers'; `*` stands for the number of a layer.
    changed: the names (without a layer's number) of what was changed, and how.
    model: the class of transformers that the output loads as.
    """

    tensors: Mapping[str, str]
    changed: Mapping[str, Change]
    model: str


LEFT_OUT = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
"""Factors that llama.cpp computed from the config; no tensors of the model."""

_LAYER = "model.layers.*."
_DECODER = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "blk.*.attn_norm": _LAYER + "input_layernorm",
    "blk.*.attn_q": _LAYER + "self_attn.q_proj",
    "blk.*.attn_k": _LAYER + "self_attn.k_proj",
    "blk.*.attn_v": _LAYER + "self_attn.v_proj",
    "blk.*.attn_output": _LAYER + "self_attn.o_proj",
    "blk.*.ffn_norm": _LAYER + "post_attention_layernorm",
    "blk.*.ffn_gate": _LAYER + "mlp.gate_proj",
    "blk.*.ffn_up": _LAYER + "mlp.up_proj",
    "blk.*.ffn_down": _LAYER + "mlp.down_proj",
}
_HEAD_NORMS = {
    "blk.*.attn_q_norm": _LAYER + "self_attn.q_norm",
    "blk.*.attn_k_norm": _LAYER + "self_attn.k_norm",
}
_GEMMA = _DECODER | {
    "blk.*.post_attention_norm": _LAYER + "post_attention_layernorm",
    "blk.*.ffn_norm": _LAYER + "pre_feedforward_layernorm",
    "blk.*.post_ffw_norm": _LAYER + "post_feedforward_layernorm",
}
_GEMMA_NORMS: dict[str, Change] = {f"{n}.weight": "shifted" for n in (*_GEMMA, *_HEAD_NORMS) if n.endswith("norm")}
_GPT2 = {
    "token_embd": "transformer.wte",
    "position_embd": "transformer.wpe",
    "output_norm": "transformer.ln_f",
    "output": "lm_head",
    "blk.*.attn_norm": "transformer.h.*.ln_1",
    "blk.*.attn_qkv": "transformer.h.*.attn.c_attn",
    "blk.*.attn_output": "transformer.h.*.attn.c_proj",
    "blk.*.ffn_norm": "transformer.h.*.ln_2",
    "blk.*.ffn_up": "transformer.h.*.mlp.c_fc",
    "blk.*.ffn_down": "transformer.h.*.mlp.c_proj",
}
_HEADS: dict[str, Change] = {f"blk.*.attn_{x}.{end}": "rows" for x in "qk" for end in ("weight", "bias")}
_CONV1D: dict[str, Change] = {
    f"blk.*.{n}.weight": "transposed" for n in ("attn_qkv", "attn_output", "ffn_up", "ffn_down")
}

ARCHITECTURES = {
    "llama": Architecture(_DECODER, _HEADS, "LlamaForCausalLM"),
    "qwen2": Architecture(_DECODER, {}, "Qwen2ForCausalLM"),
    "qwen3": Architecture(_DECODER | _HEAD_NORMS, {}, "Qwen3ForCausalLM"),
    "gemma2": Architecture({k: v for k, v in _GEMMA.items() if k != "output"}, _GEMMA_NORMS, "Gemma2ForCausalLM"),
    "gemma3": Architecture(_GEMMA | _HEAD_NORMS, _GEMMA_NORMS, "Gemma3ForCausalLM"),
    "gpt2": Architecture(_GPT2, _CONV1D, "GPT2LMHeadModel"),
}


def translate(architecture: Architecture, name: str) -> tuple[str, Change | None] | None:
    """Return transformers' name of a tensor and how it was changed; None where there is no such tensor.

    >>> translate(ARCHITECTURES["llama"], "blk.7.attn_q.weight")
    ('model.layers.7.self_attn.q_proj.weight', 'rows')
    """
    match = re.fullmatch(r"(?:blk\.(\d+)\.)?(.+)\.(weight|bias)", name)
    if match is None:
        return None
    layer, stem, end = match.groups()
    general = f"blk.*.{stem}" if layer else stem
    if general not in architecture.tensors:
        return None
    return architecture.tensors[general].replace("*", layer or "*") + f".{end}", architecture.changed.get(
        f"{general}.{end}"
    )
