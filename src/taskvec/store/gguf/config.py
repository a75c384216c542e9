"""config.json from GGUF's metadata, key by key as transformers makes it."""

from collections.abc import Mapping
from typing import Any

from .architectures import ARCHITECTURES
from .header import Length

_DECODER = {
    "context_length": "max_position_embeddings",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "embedding_length": "hidden_size",
    "rope.freq_base": "rope_theta",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "vocab_size": "vocab_size",
}
_GEMMA = _DECODER | {"attention.key_length": "head_dim", "attention.sliding_window": "sliding_window"}
KEYS = {
    "llama": _DECODER | {"rope.dimension_count": "head_dim"},
    "qwen2": _DECODER,
    "qwen3": _DECODER | {"attention.key_length": "head_dim"},
    "gemma2": _GEMMA,
    "gemma3": _GEMMA,
    "gpt2": {
        "block_count": "n_layer",
        "context_length": "n_positions",
        "embedding_length": "n_embd",
        "attention.head_count": "n_head",
        "attention.layer_norm_epsilon": "layer_norm_epsilon",
    },
}
TOKENS = {
    "bos_token_id": "bos_token_id",
    "eos_token_id": "eos_token_id",
    "unknown_token_id": "unk_token_id",
    "padding_token_id": "pad_token_id",
}


def config_of(metadata: Mapping[str, Any], tied: bool, vocabulary: int) -> dict[str, Any]:
    """Return the config of a model, or nothing where metadata says less than one needs: rotary scaling is not told.

    Args:
        metadata: of the first file.
        tied: no output head is stored.
        vocabulary: rows of the embedding, for metadata that does not tell.
    """
    architecture = metadata["general.architecture"]
    own = {k.removeprefix(f"{architecture}."): v for k, v in metadata.items() if k.startswith(f"{architecture}.")}
    if any(key.startswith("rope.scaling.") and value not in ("none", 0, 1) for key, value in own.items()):
        return {}
    config = {
        "architectures": [ARCHITECTURES[architecture].model],
        "model_type": "gemma3_text" if architecture == "gemma3" else architecture,
        "tie_word_embeddings": tied,
        "vocab_size": vocabulary,
    }
    config |= {
        name: own[key] for key, name in KEYS[architecture].items() if not isinstance(own.get(key, Length(0)), Length)
    }
    ids = {name: metadata.get(f"tokenizer.ggml.{key}") for key, name in TOKENS.items()}
    return config | {name: value for name, value in ids.items() if value is not None}
