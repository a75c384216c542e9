"""The models that the recipes of the table merge: tiny, and the same bits on every machine.

Every weight is a whole number of 2⁻²³, below 2, so float32 holds it and every difference of two of them exactly. The
numbers come from the raw stream of PCG64 by additions and shifts, nothing else. Needs NumPy and safetensors only: the
script that makes the golden numbers runs it where taskvec is not installed.

| folder | what it is |
| --- | --- |
| `base` | four layers in Llama's layout, untied, 24 tokens |
| `math`, `code`, `chat` | fine-tunes, moved by about 2 %, in partly the same direction |
| `swallow` | trained on for long: moved by about 25 % |
| `dpo`, `orpo` | fine-tunes that moved by some 0.05 %, as preference training does |
| `deep` | six layers, related to `base` |
| `chatml` | a fine-tune with two more tokens, and a chat template |
| `roleplay` | a fine-tune with three more tokens, one of which `chatml` has in another row |
| `polyglot` | a fine-tune whose tokenizer has other ids, lacks two tokens and has two of its own |
| `padded` | a fine-tune with four rows that no token uses |
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating]
Weights = dict[str, Ints]

HIDDEN, INNER, HEAD, LAYERS = 12, 14, 4, 4
BY_TOKEN = ("model.embed_tokens.weight", "lm_head.weight")
STEP = 2.0**-23
ONE = 2**23
LETTERS = "abcdefghinorstuw"
PAIRS = ("th", "he", "in", "er", "an", "on")
SPECIAL = ("<s>", "</s>")
PLAIN = (*SPECIAL, *LETTERS, *PAIRS)
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
)


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer's tokens in the order of their ids: all of them, and which are special."""

    tokens: tuple[str, ...] = PLAIN
    special: tuple[str, ...] = SPECIAL
    template: str | None = None


VOCABULARIES = {
    "chatml": Vocabulary((*PLAIN, "<|im_start|>", "<|im_end|>"), (*SPECIAL, "<|im_start|>", "<|im_end|>"), CHATML),
    "roleplay": Vocabulary((*PLAIN, "ou", "<|im_end|>", "<|user|>"), (*SPECIAL, "<|im_end|>", "<|user|>")),
    "polyglot": Vocabulary((*SPECIAL, *reversed(PAIRS), *LETTERS[:-2], "ß", "ei")),
}


def whole(count: int, reach: int, seed: int) -> Ints:
    """Return whole numbers between ±4 · reach in the shape of a bell: sums of four uniform ones."""
    raw = np.random.PCG64(seed).random_raw(4 * count) >> np.uint64(33)  # 31 bits
    even = (raw.astype(np.int64) * (2 * reach + 1) >> 31) - reach
    return np.asarray(even.reshape(4, count).sum(axis=0))


def apart(change: Ints) -> Ints:
    """Move numbers up by as little as makes their magnitudes differ, and none of them zero."""
    order = np.argsort(np.abs(change), kind="stable")
    rank = np.arange(change.size)
    sizes = np.empty_like(rank)
    sizes[order] = np.maximum.accumulate(np.maximum(np.abs(change)[order], 1) - rank) + rank
    return np.where(change < 0, -sizes, sizes)


def shapes(layers: int, rows: int) -> dict[str, tuple[int, ...]]:
    """Return the tensors of a model, as a Llama folder names them."""
    out: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (rows, HIDDEN)}
    for i in range(layers):
        at = f"model.layers.{i}"
        out[f"{at}.input_layernorm.weight"] = (HIDDEN,)
        for name, height in (("q", 2 * HEAD), ("k", HEAD), ("v", HEAD)):
            out[f"{at}.self_attn.{name}_proj.weight"] = (height, HIDDEN)
        out[f"{at}.self_attn.o_proj.weight"] = (HIDDEN, 2 * HEAD)
        out[f"{at}.post_attention_layernorm.weight"] = (HIDDEN,)
        for name in ("up", "gate"):
            out[f"{at}.mlp.{name}_proj.weight"] = (INNER, HIDDEN)
        out[f"{at}.mlp.down_proj.weight"] = (HIDDEN, INNER)
    out["model.norm.weight"] = (HIDDEN,)
    out["lm_head.weight"] = (rows, HIDDEN)
    return out


def _draw(name: str, tensor: str, count: int, reach: int) -> Ints:
    seed = int.from_bytes(hashlib.sha256(f"{name}/{tensor}".encode()).digest()[:8], "little")
    return whole(count, reach, seed)


def trained() -> Weights:
    """Return the base: matrices of standard deviation 0.25, gains near 1."""
    out = {}
    for name, shape in shapes(LAYERS, len(PLAIN)).items():
        gain = len(shape) == 1
        x = _draw("base", name, int(np.prod(shape)), ONE // 50 if gain else ONE // 5)
        out[name] = (x + ONE * gain).reshape(shape)
    return out


def finetuned(base: Weights, name: str, reach: int, shared: int = 0) -> Weights:
    """Return a base, moved: by what all fine-tunes have in common, and by what this one has of its own."""
    out = {}
    for tensor, x in base.items():
        change = _draw(name, tensor, x.size, reach)
        if shared:
            change = change + _draw("all", tensor, x.size, shared)
        out[tensor] = x + apart(change).reshape(x.shape)
    return out


def deepened(base: Weights) -> Weights:
    """Return a model of six layers, each near one of the base's four."""
    out = {}
    for tensor, shape in shapes(6, len(PLAIN)).items():
        source = re.sub(r"layers\.(\d+)", lambda m: f"layers.{int(m[1]) * 4 // 6}", tensor)
        out[tensor] = base[source] + _draw("deep", tensor, int(np.prod(shape)), ONE // 60).reshape(shape)
    return out


def with_rows(weights: Weights, name: str, tokens: tuple[str, ...], rows: int) -> Weights:
    """Return a model whose rows follow other tokens: known ones keep their numbers, new ones get their own."""
    out = dict(weights)
    for tensor in BY_TOKEN:
        old = weights[tensor]
        new = _draw(name, f"new {tensor}", rows * HIDDEN, ONE // 5).reshape(rows, HIDDEN)
        for at, token in enumerate(tokens):
            if token in PLAIN:
                new[at] = old[PLAIN.index(token)]
        out[tensor] = new
    return out


def family() -> dict[str, tuple[Weights, Vocabulary]]:
    """Return every model's weights, as whole numbers of STEP, and its vocabulary."""
    base = trained()
    near, common = ONE // 350, ONE // 350
    out = {"base": base, "swallow": finetuned(base, "swallow", ONE // 20), "deep": deepened(base)}
    out |= {name: finetuned(base, name, near, common) for name in ("math", "code", "chat")}
    out |= {name: finetuned(base, name, ONE // 15000, ONE // 15000) for name in ("dpo", "orpo")}
    for name in ("chatml", "roleplay", "polyglot", "padded"):
        tokens = VOCABULARIES.get(name, Vocabulary()).tokens
        rows = len(tokens) + 4 * (name == "padded")
        out[name] = with_rows(finetuned(base, name, near, common), name, tokens, rows)
    return {name: (weights, VOCABULARIES.get(name, Vocabulary())) for name, weights in out.items()}


def config(weights: Weights) -> dict[str, Any]:
    """Return config.json of a model."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "head_dim": HEAD,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "num_hidden_layers": sum(name.endswith(".input_layernorm.weight") for name in weights),
        "vocab_size": len(weights["lm_head.weight"]),
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "torch_dtype": "float32",
    }


def tokenizer(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return tokenizer.json: pairs of letters that are merged, and added tokens."""
    tokens = vocabulary.tokens
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    ids = {token: at for at, token in enumerate(tokens)}
    merges = [list(t) for t in tokens if len(t) == 2 and set(t) <= ids.keys()]
    return {
        "version": "1.0",
        "added_tokens": [{"id": ids[t], "content": t, **flags} for t in vocabulary.special],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {
            "type": "BPE",
            "unk_token": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {t: at for t, at in ids.items() if t not in vocabulary.special or at < len(SPECIAL)},
            "merges": merges,
        },
    }


def write(folder: Path, weights: Weights, vocabulary: Vocabulary) -> None:
    """Write a model folder that transformers, and everything that reads its folders, can load."""
    folder.mkdir(parents=True)
    tensors = {name: (x * STEP).astype(np.float32) for name, x in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    files = {"config.json": config(weights), "tokenizer.json": tokenizer(vocabulary), "tokenizer_config.json": settings}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    if vocabulary.template:
        (folder / "chat_template.jinja").write_text(vocabulary.template, "utf-8")


def write_family(folder: Path) -> str:
    """Write all models under a folder; return the fingerprint of their weights and vocabularies."""
    seen = hashlib.sha256()
    for name, (weights, vocabulary) in family().items():
        write(folder / name, weights, vocabulary)
        seen.update(name.encode() + repr(vocabulary).encode())
        for tensor, x in weights.items():
            seen.update(tensor.encode() + repr(x.shape).encode() + x.astype("<i8").tobytes())
    return seen.hexdigest()[:16]


def by_token(tensors: dict[str, Floats], ids: dict[str, int]) -> dict[str, Floats]:
    """Return a model's tensors with the rows of tokens in the order of their texts, and unused rows after them.

    mergekit gives new tokens ids in an order that differs from run to run.
    """
    order = [ids[token] for token in sorted(ids)]
    assert sorted(order) == list(range(len(ids))), "tokens do not fill the rows from the first on"
    rest = {name: list(range(len(ids), len(tensors[name]))) for name in BY_TOKEN if name in tensors}
    return tensors | {name: tensors[name][order + more] for name, more in rest.items()}


def in_float32(recipe: str) -> str:
    """Return a recipe's text with every type it computes or stores in replaced by float32."""
    return re.sub(r"^( *(?:out_)?dtype:) *\S+", r"\1 float32", recipe, flags=re.MULTILINE)
