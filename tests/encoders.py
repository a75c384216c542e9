"""Tiny encoders made from configs, with a tokenizer or an image processor; and tasks that words decide."""

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TASKS = {
    "taste": {"good": ("good", "fine", "great"), "bad": ("bad", "poor", "awful")},
    "pets": {"cat": ("cat", "kitten"), "dog": ("dog", "puppy"), "bird": ("bird", "finch")},
    "place": {"city": ("city", "street"), "forest": ("forest", "tree")},
}
"""task → label → the words that say so."""

FILLERS = ("a", "the", "film", "was", "it", "in", "very")
WORDS = (*SPECIAL, *FILLERS, *dict.fromkeys(w for t in TASKS.values() for words in t.values() for w in words), "##s")
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def bert(folder: Path, seed: int = 0, pooler: bool = True, **more: Any) -> Path:
    """Write a BERT of random weights with its tokenizer."""
    torch.manual_seed(seed)
    config = transformers.BertConfig(**{**SMALL, "vocab_size": len(WORDS), "max_position_embeddings": 64, **more})
    _save(transformers.BertModel(config, add_pooling_layer=pooler), folder)
    _tokenizer(folder, "token_type_ids")
    return folder


def vit(folder: Path, seed: int = 0) -> Path:
    """Write a ViT of random weights with its image processor."""
    torch.manual_seed(seed)
    config = transformers.ViTConfig(**SMALL, image_size=8, patch_size=4)
    _save(transformers.ViTModel(config, add_pooling_layer=False), folder)
    _processor(folder, "ViTImageProcessor")
    return folder


def clip(folder: Path, seed: int = 0) -> Path:
    """Write a CLIP of random weights, with tokenizer and image processor."""
    torch.manual_seed(seed)
    text = {**SMALL, "vocab_size": len(WORDS), "max_position_embeddings": 64, "eos_token_id": 3, "bos_token_id": 2}
    config = transformers.CLIPConfig(
        text_config=text, vision_config={**SMALL, "image_size": 8, "patch_size": 4}, projection_dim=12
    )
    _save(transformers.CLIPModel(config), folder)
    _tokenizer(folder)
    _processor(folder, "CLIPImageProcessor")
    return folder


def gpt2(folder: Path, seed: int = 0) -> Path:
    """Write a GPT-2 whose output shares the embedding's weights, with a tokenizer."""
    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        vocab_size=len(WORDS), n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=2, eos_token_id=3
    )
    _save(transformers.GPT2LMHeadModel(config), folder)
    _tokenizer(folder)
    return folder


def changed(base: Path, folder: Path, seed: int, size: float = 0.1) -> Path:
    """Write a copy of a model with noise on its weights: another fine-tune of the same base."""
    from safetensors.torch import load_file, save_file

    folder.mkdir()
    for path in base.iterdir():
        if path.is_file() and path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    chance = torch.Generator().manual_seed(seed)
    tensors = load_file(base / "model.safetensors")
    moved = {
        name: x + size * torch.randn(x.shape, generator=chance) if x.is_floating_point() else x
        for name, x in tensors.items()
    }
    save_file(moved, folder / "model.safetensors", {"format": "pt"})
    return folder


def _save(model: Any, folder: Path) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            words = "word_embeddings" in name  # what is read shall matter most
            parameter += (1.0 if words else 0.2) * torch.randn(parameter.shape)
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.disable_progress_bar()
    model.save_pretrained(folder)
    if bars:
        transformers.logging.enable_progress_bar()


def _tokenizer(folder: Path, *more: str) -> None:
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    a, b = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    begin, end, end_b = (
        {"SpecialToken": {"id": t, "type_id": i}} for t, i in (("[CLS]", 0), ("[SEP]", 0), ("[SEP]", 1))
    )
    known = {t: {"id": t, "ids": [i], "tokens": [t]} for i, t in enumerate(SPECIAL) if t in ("[CLS]", "[SEP]")}
    data = {
        "version": "1.0", "truncation": None, "padding": None, "decoder": None,
        "added_tokens": [{"id": i, "content": t, **special} for i, t in enumerate(SPECIAL)],
        "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": [begin, a, end], "pair": [begin, a, end, b, end_b],
            "special_tokens": known},
        "model": {"type": "WordPiece", "vocab": {w: i for i, w in enumerate(WORDS)}, "unk_token": "[UNK]",
            "continuing_subword_prefix": "##", "max_input_chars_per_word": 100},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(data))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, **names,
        "model_input_names": ["input_ids", "attention_mask", *more],
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(about))


def _processor(folder: Path, kind: str) -> None:
    about = {
        "image_processor_type": kind, "size": {"height": 8, "width": 8}, "do_resize": True, "do_center_crop": False,
        "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(about))


def sentences(task: str, count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Return (text, label) pairs, the labels in turn: a label's word among fillers."""
    chance, labels = random.Random(f"{task} {seed}"), list(TASKS[task])
    out = []
    for i in range(count):
        label = labels[i % len(labels)]
        words = chance.choices(FILLERS, k=chance.randint(1, 6))
        words.insert(chance.randint(0, len(words)), chance.choice(TASKS[task][label]))
        out.append((" ".join(words), label))
    return out


def table(path: Path, rows: Iterable[Sequence[str]], header: Sequence[str] = ("text", "label")) -> Path:
    """Write a TSV."""
    path.write_text("".join("\t".join(row) + "\n" for row in (header, *rows)))
    return path


def split_table(path: Path, task: str, sizes: Mapping[str, int]) -> Path:
    """Write a TSV of a task with the column `split`; no text is in two of them."""
    rows = list(dict(sentences(task, 40 * sum(sizes.values()))).items())
    labels = list(TASKS[task])
    queues = {label: [row for row in rows if row[1] == label] for label in labels}
    out = []
    for split, size in sizes.items():
        out += [(split, *queues[labels[i % len(labels)]].pop()) for i in range(size)]
    return table(path, out, ("split", "text", "label"))


def pictures(path: Path, count: int, seed: int = 0) -> Path:
    """Write an npz of dark and bright pictures of 6 by 6."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = (rng.integers(0, 100, (count, 6, 6, 3)) + 150 * labels[:, None, None, None]).astype(np.uint8)
    np.savez(path, image=images, label=labels, classes=np.array(["dark", "bright"]))
    return path


def count_calls(method: Callable[..., Any], calls: list[int]) -> Callable[..., Any]:
    """Return the same function, which also counts."""

    def counted(*args: Any, **more: Any) -> Any:
        calls.append(1)
        return method(*args, **more)

    return counted
