"""Tiny tokenizers and models that have them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from taskvec.store.checkpoint import Checkpoint
from taskvec.testing import write_model

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def added(text: str, row: int, **settings: bool) -> dict[str, Any]:
    """Return an entry of `added_tokens`."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": row, "content": text, **plain, **settings}


def tokenizer(model: Mapping[str, Any], more: Sequence[dict[str, Any]] = (), **parts: Any) -> dict[str, Any]:
    """Return a tokenizer.json."""
    empty = dict.fromkeys(["truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"])
    return {"version": "1.0", **empty, "added_tokens": list(more), "model": dict(model), **parts}


def words(tokens: Sequence[str], more: Sequence[str] = ()) -> dict[str, Any]:
    """Return a tokenizer of whole words, `more` of them added."""
    vocab = {text: row for row, text in enumerate(tokens)}
    model = {"type": "WordLevel", "vocab": vocab, "unk_token": tokens[0]}
    new = [text for text in more if text not in vocab]
    extra = [added(text, vocab[text] if text in vocab else len(tokens) + new.index(text)) for text in more]
    return tokenizer(model, extra, pre_tokenizer={"type": "WhitespaceSplit"})


def bpe(merged: Sequence[str], more: Sequence[str] = ()) -> dict[str, Any]:
    """Return a BPE of the letters and of some words, merged letter by letter."""
    vocab = {letter: row for row, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
    merges = []
    for word in merged:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocab:
                vocab[word[:end]] = len(vocab)
                merges.append([word[: end - 1], word[end - 1]])
    extra = [added(text, len(vocab) + i) for i, text in enumerate(more)]
    return tokenizer({"type": "BPE", "vocab": vocab, "merges": merges}, extra)


def model(
    folder: Path, data: Mapping[str, Any] | None, seed: int, *, rows: int | None = None, padding: int = 0,
    head: bool = True, dtype: str = "F32", dtypes: Mapping[str, str] | None = None, width: int = 4,
    config: Mapping[str, Any] | None = None, tokenizer_config: Mapping[str, Any] | None = None,
) -> Checkpoint:  # fmt: skip
    """Write a model whose rows are as many as its tokens, and padding; open it."""
    vocab = data["model"]["vocab"] if data else {}
    count = rows or max(len(vocab), *(t["id"] + 1 for t in data["added_tokens"]), 1) + padding if data else rows or 8
    rng = np.random.default_rng(seed)
    shapes = {EMBED: (count, width), "model.norm.weight": (width,)} | ({HEAD: (count, width)} if head else {})
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    settings = {"vocab_size": count, "tie_word_embeddings": not head, **(config or {})}
    write_model(folder, tensors, dtype=dtype, dtypes=dtypes, config=settings)
    if data:
        write_tokenizer(folder, data, tokenizer_config)
    return Checkpoint(folder)


def write_tokenizer(folder: Path, data: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **(config or {})}
    (folder / "tokenizer.json").write_text(json.dumps(data))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def rows(checkpoint: Checkpoint, name: str = EMBED) -> np.ndarray:
    """Return a whole tensor as float64, following ties."""
    info = checkpoint.info(name)
    raw = checkpoint.files.raw(info)
    if info.dtype == "BF16":
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.astype(np.float64).reshape(info.shape)
