"""Tiny models of language, made from configs, with a tokenizer of whole words; and examples made by hand."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from taskvec.evaluate.data import Examples
from taskvec.evaluate.model import Model

WORDS = ("<unk>", "<pad>", "</s>", "a", "the", "cat", "dog", "bird", "sat", "ran", "flew", "on", "over", "mat", "yes",
    "no", "maybe", "is", "it", "small", "big", "red", "1.0", "2.5", "4.0")  # fmt: skip
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}),
    "llama": ("LlamaForCausalLM", "LlamaConfig", {**SMALL, "max_position_embeddings": 64}),
    "bert": ("BertModel", "BertConfig", SMALL),
    "bert, masked": ("BertForMaskedLM", "BertConfig", SMALL),
    "vit": ("ViTModel", "ViTConfig", {**SMALL, "image_size": 8, "patch_size": 4}),
    "t5": ("T5ForConditionalGeneration", "T5Config",
        {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 1}),
}  # fmt: skip


def language_model(folder: Path, kind: str, seed: int = 0) -> Model:
    """Write a model with random weights and its tokenizer; return it. T5's tokenizer ends texts with `</s>`."""
    name, config_name, more = KINDS[kind]
    if kind != "vit":
        more = {**more, "vocab_size": len(WORDS), "pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 2}
    torch.manual_seed(seed)
    config = getattr(transformers, config_name)(**more)
    model = getattr(transformers, name)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape)  # far from uniform, so that answers differ
    transformers.logging.disable_progress_bar()
    model.save_pretrained(folder)
    transformers.logging.enable_progress_bar()
    if kind != "vit":
        (folder / "tokenizer.json").write_text(json.dumps(_tokenizer(ends=kind == "t5")))
        tokens = {"unk_token": "<unk>", "pad_token": "<pad>", "eos_token": "</s>"}
        about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, **tokens}
        (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return Model(folder, device="cpu")


def _tokenizer(ends: bool) -> dict[str, Any]:
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    end = [{"SpecialToken": {"id": "</s>", "type_id": 0}}] if ends else []
    first, second = [{"Sequence": {"id": "A", "type_id": 0}}], [{"Sequence": {"id": "B", "type_id": 0}}]
    return {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "decoder": None,
        "added_tokens": [{"id": i, "content": WORDS[i], **special} for i in range(3)],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {"type": "TemplateProcessing", "single": first + end, "pair": first + second + end,
            "special_tokens": {"</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}},
        "model": {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(WORDS)}, "unk_token": "<unk>"},
    }  # fmt: skip


def texts(count: int, seed: int = 0, longest: int = 12) -> list[str]:
    """Return texts of some of the words, each of 3 words or more."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS[3:], rng.integers(3, longest + 1))) for _ in range(count)]


def examples(
    inputs: Sequence[Any], labels: Sequence[Any] | None = None, names: tuple[str, ...] = (), kind: Any = "text"
) -> Examples:
    """Return examples as if a file held them."""
    known = json.dumps([list(inputs), None if labels is None else [float(x) for x in labels], names])
    return Examples(
        kind=kind, inputs=inputs, labels=None if labels is None else np.asarray(labels), names=names,
        origin="test.csv", digest=hashlib.sha256(known.encode()).hexdigest(),
    )  # fmt: skip
