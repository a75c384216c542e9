"""The files beside the weights: configuration, tokenizer, and what else a model folder needs to load."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import FormatError
from .formats.announced import FILES as QUANTISED

WEIGHTS = (
    ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".onnx", ".h5", ".msgpack", ".ot", ".npz", ".pkl", ".tv",
)  # fmt: skip
OURS = ("README.md", "receipt.json", "config.json")
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
TOKENIZER_ENDINGS = (".model", ".tiktoken", ".spm")
INDEX = re.compile(r"\.index(\.\w+)?\.json$")
MAX_BYTES = 100_000_000


def is_tokenizer_file(relative: Path) -> bool:
    """Tell the files of a tokenizer from the others."""
    return relative.name in TOKENIZER or relative.suffix in TOKENIZER_ENDINGS


def sidecars(folder: Path) -> Iterator[Path]:
    """Yield the files of a model folder, relative to it, that are neither weights nor rewritten by a merge.

    Nor what says that weights are quantised: a merge writes plain floats.
    """
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts) or not path.is_file():
            continue
        if path.suffix in WEIGHTS or INDEX.search(path.name) or str(relative) in (*OURS, *QUANTISED):
            continue
        if path.stat().st_size <= MAX_BYTES:
            yield relative


def copy_sidecars(model: Path | None, tokenizer: Path | None, out: Path) -> list[str]:
    """Copy everything but the tokenizer from `model`, and the tokenizer from `tokenizer`; return what was copied."""
    copied = []
    for source, wanted in ((model, False), (tokenizer, True)):
        for relative in sidecars(source) if source else ():
            if is_tokenizer_file(relative) == wanted:
                target = out / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / relative, target)  # type: ignore[operator]
                copied.append(str(relative))
    return copied


def config_text(config: dict[str, Any], dtype: str | None) -> str:
    """Return config.json with its dtype brought up to date, under the name (old or new) that it had."""
    config = dict(config)
    if dtype:
        known = [key for key in ("dtype", "torch_dtype") if key in config]
        for key in known or (["torch_dtype"] if "model_type" in config else []):  # diffusers and timm know no such key
            config[key] = dtype
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def token_ids(folder: Path | None) -> dict[str, int] | None:
    """Return token text → row of the embedding, from whichever tokenizer file tells; None where none does."""
    if folder is None:
        return None
    if (folder / "model_index.json").is_file():
        return token_ids(folder / "tokenizer")
    if (path := folder / "tokenizer.json").is_file():
        return _from_tokenizer_json(_json(path))
    if (path := folder / "vocab.json").is_file():
        vocab = _json(path)
        return {k: v for k, v in vocab.items() if isinstance(v, int)}
    if (path := folder / "vocab.txt").is_file():
        return {line: i for i, line in enumerate(path.read_text("utf-8").splitlines())}
    return None


def _from_tokenizer_json(data: dict[str, Any]) -> dict[str, int]:
    vocab = (data.get("model") or {}).get("vocab") or {}
    ids = {t[0]: i for i, t in enumerate(vocab)} if isinstance(vocab, list) else dict(vocab)
    ids |= {t["content"]: t["id"] for t in data.get("added_tokens") or []}
    return ids


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text("utf-8"))
    except ValueError as exc:
        raise FormatError(f"{path} is damaged: {exc}.") from exc
    if not isinstance(data, dict):
        raise FormatError(f"{path} is damaged: expected a JSON object, got {type(data).__name__}.")
    return data
