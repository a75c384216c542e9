"""The tokenizer files of a vocabulary: an owner's as they are, with tokens added, or cut down to some."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import MismatchError, RecipeError
from ..sidecars import copy_sidecars, is_tokenizer_file
from .target import Target
from .tokens import as_text, read_json

Json = dict[str, Any]
KEPT = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
)
"""What still holds of a tokenizer that was cut down."""


def write_tokenizer(target: Target, out: Path) -> list[str]:
    """Write the owner's tokenizer files, changed where the vocabulary differs from the owner's; return their names."""
    copied = copy_sidecars(None, target.owner.folder, out)
    changed = changed_files(target)
    if target.renumbered:
        for name in [name for name in copied if is_tokenizer_file(Path(name)) and name not in KEPT]:
            (out / name).unlink()
            copied.remove(name)
    for name, data in changed.items():
        (out / name).write_text(as_text(data), "utf-8")
    return sorted({*copied, *changed})


def changed_files(target: Target) -> dict[str, Json]:
    """Return the files of the owner that must change, by name.

    Raises:
        MismatchError: the owner has no tokenizer.json that could be changed.
        RecipeError: a token is left out that the tokenizer needs.
    """
    if not target.added and not target.renumbered:
        return {}
    folder = target.owner.folder
    if not (folder / "tokenizer.json").is_file():
        raise MismatchError(
            f"{folder} has no tokenizer.json, so its tokens cannot be changed. "
            f'Write one: python -c "from transformers import AutoTokenizer as T; '
            f"T.from_pretrained('{folder}').save_pretrained('{folder}')\"."
        )
    files = {name: read_json(folder / name) for name in _CHANGES if (folder / name).is_file()}
    if target.renumbered:
        files = {name: data for name, data in files.items() if name in KEPT}
    for name, data in files.items():
        _CHANGES[name](data, target)
    return files


def _tokenizer_json(data: Json, target: Target) -> None:
    if target.renumbered:
        _cut_model(data["model"], target, byte_level='"ByteLevel"' in json.dumps({**data, "model": None}))
        _renumber_processor(data.get("post_processor"), target)
        if padding := data.get("padding"):
            padding["pad_id"] = needed(target, padding["pad_token"], "the token it pads with")
    old = [{**t, "id": target.ids[t["content"]]} for t in data.get("added_tokens") or [] if t["content"] in target.ids]
    new = [{"id": target.ids[text], "content": text, **settings} for text, settings in target.added.items()]
    data["added_tokens"] = sorted(old + new, key=lambda token: int(token["id"]))


def _cut_model(model: Json, target: Target, byte_level: bool) -> None:
    """Leave the tokens that are kept, in their new rows, and the merges that still make one of another two."""
    owner, ids = target.owner, target.ids
    lost = [text for text in owner.own if text not in ids]
    for text in lost:
        if (byte_level and len(text) == 1) or (model.get("byte_fallback") and re.fullmatch("<0x[0-9A-F]{2}>", text)):
            raise RecipeError(
                f"the intersection would leave out {text!r}, without which {owner.name} cannot spell every text. "
                f"Type 'union' or 'base'."
            )
    if isinstance(model["vocab"], list):
        if model.get("unk_id") is not None:
            model["unk_id"] = needed(target, model["vocab"][model["unk_id"]][0], "its unknown token")
        entries = enumerate(model["vocab"])
        model["vocab"] = [entry for row, entry in entries if entry[0] in ids and owner.own[entry[0]] == row]
    else:
        if model.get("unk_token") is not None:
            needed(target, model["unk_token"], "its unknown token")
        model["vocab"] = {text: ids[text] for text in sorted(owner.own.keys() & ids.keys(), key=ids.__getitem__)}
    if "merges" in model:
        prefix = model.get("continuing_subword_prefix") or ""
        model["merges"] = [merge for merge in model["merges"] if _makes(merge, prefix) <= ids.keys()]


def _makes(merge: str | list[str], prefix: str) -> set[str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return {left, right, left + right.removeprefix(prefix)}


def _renumber_processor(data: Json | None, target: Target) -> None:
    """Put the new rows where a post-processor names tokens."""
    what = "put around texts"
    for part in (data or {}).get("processors") or ([data] if data else []):
        for key in ("sep", "cls"):
            if key in part:
                part[key] = [part[key][0], needed(target, part[key][0], what)]
        for special in (part.get("special_tokens") or {}).values():
            special["ids"] = [needed(target, text, what) for text in special["tokens"]]


def needed(target: Target, text: str, what: str) -> int:
    """Return the row of a token that has a role; refuse where it is left out."""
    if text not in target.ids:
        raise RecipeError(
            f"the intersection would leave out {text!r}, which is {what} in {target.owner.name}. "
            f"Type 'union' or 'base'."
        )
    return target.ids[text]


def _tokenizer_config(data: Json, target: Target) -> None:
    if "added_tokens_decoder" in data:
        old = {t["content"]: t for t in data["added_tokens_decoder"].values() if t["content"] in target.ids}
        old |= {text: {"content": text, **settings} for text, settings in target.added.items()}
        order = sorted(old, key=target.ids.__getitem__)
        data["added_tokens_decoder"] = {str(target.ids[text]): old[text] for text in order}
    _special_tokens(data, target)


def _special_tokens(data: Json, target: Target) -> None:
    """Refuse to lose a token that has a role; leave lost ones out of the list of those that have none."""
    for key, value in data.items():
        text = value.get("content") if isinstance(value, dict) else value
        if key.endswith("_token") and isinstance(text, str) and text in target.owner.ids:
            needed(target, text, f"the {key}")
        if key in ("additional_special_tokens", "extra_special_tokens") and isinstance(value, list):
            data[key] = [v for v in value if not _lost(v.get("content") if isinstance(v, dict) else v, target)]


def _lost(text: Any, target: Target) -> bool:
    return text in target.owner.ids and text not in target.ids


def _added_tokens(data: Json, target: Target) -> None:
    data |= {text: target.ids[text] for text in target.added}


_CHANGES: dict[str, Callable[[Json, Target], None]] = {
    "tokenizer.json": _tokenizer_json,
    "tokenizer_config.json": _tokenizer_config,
    "special_tokens_map.json": _special_tokens,
    "added_tokens.json": _added_tokens,
}
