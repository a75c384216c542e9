"""A CLIP of two layers and its specialists, in the form in which the hub has them: made from configs, not trained.

Every task's labels are what its own specialist answers, and the control's what the base answers. So the specialists are
right by construction, the base is not on their tasks, and it loses the control as soon as its weights are changed much.
"""

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

hf: Any = transformers  # whose functions have no types
LABELS = ["red", "green", "blue"]
WORDS = ["<s>", "</s>", "<unk>", "a", "photo", "of", "the", ".", *LABELS]
TEMPLATES = ["a photo of {}.", "the {}"]
IGNORE = ["text_model.*", "text_projection.weight", "visual_projection.weight", "logit_scale", "*.position_ids"]
SEED = 4
"""Of a base that gives all three labels."""

IMAGES = 40
"""Of each task, in each of the splits train and test."""


def make(folder: Path) -> None:
    """Write base, specialists a and b, a control's data, and the suite that names them."""
    base = _base(folder / "base")
    weights = held(folder / "base")
    vision = {name: x for name, x in weights.items() if name.startswith("vision_model.")}
    for seed, task in enumerate(("a", "b", "control")):
        chance = torch.Generator().manual_seed(seed)
        moved = {n: x + 0.2 * x.std(correction=0) * torch.randn(x.shape, generator=chance) for n, x in vision.items()}
        if task != "control":
            _specialist(folder / task, moved, base.config.vision_config)
            base.load_state_dict({**weights, **moved})
        _data(folder / f"{task}.npz", base, seed)
        base.load_state_dict(weights)
    places = {f"{tower}.embeddings.position_ids": torch.arange(5)[None] for tower in ("text_model", "vision_model")}
    save_file({**weights, **places}, folder / "base" / "model.safetensors", {"format": "pt"})  # as files of old have it
    (folder / "suite.yaml").write_text(json.dumps(suite()))


def suite(**more: Any) -> dict[str, Any]:
    """Return the suite as data; JSON is YAML, too."""
    head = {"template": TEMPLATES}
    tasks: dict[str, Any] = {t: {"data": f"{t}.npz", "labels": LABELS, "head": head} for t in ("a", "b", "control")}
    for task in ("a", "b"):
        tasks[task]["model"] = task
    return {
        "name": "tiny", "base": "base", "encoder": {"pooling": "pooler", "tokens": 12, "batch": 16},
        "ignore": [*IGNORE, "*.attn.bias"],  # the last for buffers that no file here holds
        "examples": {"validation": None, "held_out": 0.5}, "control": "control", "tasks": tasks, **more,
    }  # fmt: skip


def answers(model: Any, images: Any) -> torch.Tensor:
    """Return each image's label as transformers alone finds it, (image,): CLIP's zero-shot classifier."""
    with torch.no_grad():
        found = model.visual_projection(model.vision_model(_pixels(images)).pooler_output)
    logits: torch.Tensor = found @ _zero_shot(model.name_or_path).T
    return logits.argmax(1)


@cache
def _zero_shot(path: str) -> torch.Tensor:
    """Return the head of the labels, (label, projected); no merge here changes the text tower."""
    model, tokenizer, rows = read(Path(path)), hf.PreTrainedTokenizerFast.from_pretrained(path), []
    with torch.no_grad():
        for label in LABELS:
            texts = tokenizer([t.format(label) for t in TEMPLATES], padding=True, return_tensors="pt")
            each = model.text_projection(model.text_model(**texts).pooler_output)
            rows.append((each / each.norm(dim=-1, keepdim=True)).mean(0))
    return torch.stack([r / r.norm() for r in rows])


def held(path: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a folder."""
    weights = load_file(path / "model.safetensors")
    return {name: x for name, x in weights.items() if not name.endswith("position_ids")}


def read(path: Path) -> Any:
    """Return a base as transformers reads it."""
    return hf.CLIPModel.from_pretrained(path).eval()


def _base(path: Path) -> Any:
    text = {
        "vocab_size": len(WORDS),
        "max_position_embeddings": 16,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = hf.CLIPConfig(
        text_config={**text, **shape}, vision_config={**shape, "image_size": 16, "patch_size": 8}, projection_dim=8
    )
    model = hf.CLIPModel(config).eval()
    chance = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, x in model.named_parameters():
            x.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.3, generator=chance)
    model.save_pretrained(path)
    _tokenizer().save_pretrained(path)
    _processor().save_pretrained(path)
    return read(path)


def _tokenizer() -> Any:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>", unk_token="<unk>"
    )


def _processor() -> Any:
    return hf.CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})


def _pixels(images: Any) -> torch.Tensor:
    pictures = [Image.fromarray(x) for x in images]
    return torch.as_tensor(np.asarray(_processor()(pictures, return_tensors="np")["pixel_values"]))


def _specialist(path: Path, weights: dict[str, torch.Tensor], config: Any) -> None:
    """Write a vision tower as it is published: its names with their prefix, and no image processor."""
    shutil.rmtree(path, ignore_errors=True)
    config.architectures = ["CLIPVisionModel"]
    config.save_pretrained(path)
    save_file(weights, path / "model.safetensors", {"format": "pt"})


def _data(path: Path, model: Any, seed: int) -> None:
    chance = np.random.default_rng(seed)
    arrays: dict[str, Any] = {}
    for split in ("train", "test"):
        flat = chance.integers(0, 256, (IMAGES, 2, 2, 3)).repeat(8, 1).repeat(8, 2)
        images = np.clip(flat + chance.integers(-40, 40, (IMAGES, 16, 16, 3)), 0, 255).astype(np.uint8)
        arrays |= {f"x_{split}": images, f"y_{split}": answers(model, images).numpy()}
    np.savez(path, **arrays)
