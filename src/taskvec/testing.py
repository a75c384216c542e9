"""A tiny model folder and a tiny adapter, made in milliseconds, for tests of whoever builds on taskvec."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .ops.floats import narrow
from .store.dtypes import LONG_NAMES
from .store.layout import Layout, OutTensor, lay_out
from .store.writer import ShardWriter, write_whole

Arrays = Mapping[str, npt.NDArray[Any]]
CODES = {"f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "u1": "U8", "b1": "BOOL"}


def tiny_tensors(seed: int = 0, *, layers: int = 3, hidden: int = 8, vocab: int = 16) -> dict[str, npt.NDArray[Any]]:
    """Return the float32 tensors of a small decoder: names and shapes as in a Llama folder."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden)}
    for i in range(layers):
        shapes[f"model.layers.{i}.self_attn.q_proj.weight"] = (hidden, hidden)
        shapes[f"model.layers.{i}.mlp.up_proj.weight"] = (3 * hidden, hidden)
        shapes[f"model.layers.{i}.input_layernorm.weight"] = (hidden,)
    shapes |= {"model.norm.weight": (hidden,), "lm_head.weight": (vocab, hidden)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def finetuned(base: Arrays, seed: int, change: float = 0.1) -> dict[str, npt.NDArray[Any]]:
    """Return tensors near those of a base: every float entry moved by noise of `change` standard deviations."""
    rng = np.random.default_rng(1000 + seed)
    return {
        name: (x + change * rng.standard_normal(x.shape)).astype(x.dtype) if x.dtype.kind == "f" else x.copy()
        for name, x in base.items()
    }


def write_model(
    folder: Path,
    tensors: Arrays,
    *,
    dtype: str = "F32",
    dtypes: Mapping[str, str] | None = None,
    shard_size: int = 10**9,
    config: Mapping[str, Any] | None = None,
    tokens: Mapping[str, int] | None = None,
) -> Path:
    """Write a model folder: shards, index, config.json, and (with `tokens`) a tokenizer.json.

    Args:
        folder: where; it is made.
        tensors: float32 arrays are stored as `dtype` (or their own of `dtypes`), others as they are.
        dtype: F32, F16, BF16 or F64.
        dtypes: name → type, for single tensors.
        shard_size: bytes a file.
        config: more keys of config.json.
        tokens: token → row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    codes = {
        name: (dtypes or {}).get(name, dtype) if x.dtype == np.float32 else CODES[x.dtype.str[1:]]
        for name, x in tensors.items()
    }
    layout = _write(folder, tensors, codes, shard_size, "model")
    if index := layout.index():
        write_whole(folder / "model.safetensors.index.json", index)
    settings = {"model_type": "llama", "torch_dtype": LONG_NAMES[dtype], "tie_word_embeddings": False, **(config or {})}
    write_whole(folder / "config.json", json.dumps(settings, indent=2))
    if tokens is not None:
        write_whole(folder / "tokenizer.json", json.dumps({"model": {"type": "BPE", "vocab": dict(tokens)}}))
    return folder


def write_adapter(folder: Path, tensors: Arrays, *, dtype: str = "F32", **config: Any) -> Path:
    """Write a folder as PEFT does: adapter_config.json, and the tensors as adapter_model.safetensors.

    Args:
        folder: where; it is made.
        tensors: float32 arrays by PEFT's names, such as `base_model.model.….q_proj.lora_A.weight`.
        dtype: what they are stored as.
        config: more keys of adapter_config.json; a plain LoRA of rank 2 without.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, tensors, dict.fromkeys(tensors, dtype), 10**9, "adapter_model")
    settings = {"peft_type": "LORA", "base_model_name_or_path": "base", "r": 2, "lora_alpha": 4, **config}
    write_whole(folder / "adapter_config.json", json.dumps(settings, indent=2))
    return folder


def _write(folder: Path, tensors: Arrays, codes: Mapping[str, str], shard_size: int, stem: str) -> Layout:
    out = [OutTensor(name, codes[name], x.shape) for name, x in tensors.items()]
    layout = lay_out(out, shard_size, {"format": "pt"}, {"": stem})
    with ShardWriter(folder, layout) as writer:
        for name, x in tensors.items():
            flat = np.ascontiguousarray(x).reshape(-1)
            writer.write(name, 0, narrow(flat, codes[name]) if x.dtype == np.float32 else flat)
        writer.finish()
    return layout
