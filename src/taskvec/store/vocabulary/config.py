"""What a vocabulary changes in configs: the number of tokens, and the rows of special ones."""

import re
from collections.abc import Mapping
from typing import Any

from .target import Target
from .tokenizer_files import needed
from .tokens import read_json

Json = dict[str, Any]
TOKEN_IDS = re.compile(r".*_token_ids?|.*_token_index|(begin_)?suppress_tokens")
"""Keys of configs that hold rows of tokens."""


def merged(config: Mapping[str, Any], updates: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with updates, nested ones put into what they are nested in.

    >>> merged({"a": 1, "text_config": {"b": 2, "c": 3}}, {"text_config": {"b": 4}})
    {'a': 1, 'text_config': {'b': 4, 'c': 3}}
    """
    out = dict(config)
    for key, value in updates.items():
        nested = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merged(out[key], value) if nested else value
    return out


def config_updates(config: Mapping[str, Any], target: Target, own: bool) -> dict[str, Any]:
    """Return the new number of tokens, and the rows of special tokens where they have moved."""
    if not config:
        return {}
    if target.renumbered:
        new = _special_rows(config, lambda part: renumbered_ids(part, target, "config.json"))
    elif not own and (path := target.owner.folder / "config.json").is_file():
        new = _taken_over(config, read_json(path))
    else:
        new = {}
    size = {key: {"vocab_size": target.size} for key, v in config.items() if isinstance(v, dict) and "vocab_size" in v}
    top: dict[str, Any] = {"vocab_size": target.size} if "vocab_size" in config or not size else {}
    return _changed(config, merged(merged(new, size), top))


def _special_rows(config: Mapping[str, Any], change: Any) -> dict[str, Any]:
    nested = {key: _special_rows(part, change) for key, part in config.items() if isinstance(part, dict)}
    return {**change(config), **{key: part for key, part in nested.items() if part}}


def _taken_over(config: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    nested = {k: _taken_over(part, other[k]) for k, part in config.items() if isinstance(part, dict) and k in other}
    return {**token_ids_of(other), **{key: part for key, part in nested.items() if part}}


def _changed(config: Mapping[str, Any], updates: Mapping[str, Any]) -> dict[str, Any]:
    out = {}
    for key, value in updates.items():
        part = _changed(config[key], value) if isinstance(value, dict) and isinstance(config.get(key), dict) else value
        if part != config.get(key) and part != {}:
            out[key] = part
    return out


def renumbered_ids(config: Mapping[str, Any], target: Target, where: str) -> Json:
    """Return those keys of a config that name tokens by row, with the new rows.

    Raises:
        RecipeError: such a token is left out.
    """
    rows = {row: target.ids.get(text) for text, row in target.owner.ids.items()}
    texts = {row: text for text, row in target.owner.ids.items()}

    def new(key: str, value: Any) -> Any:
        if isinstance(value, list):
            left = [v for v in value if rows.get(v, v) is not None]
            return [new(key, v) for v in left or value]
        if isinstance(value, bool) or not isinstance(value, int) or value not in rows:
            return value
        if rows[value] is None:
            needed(target, texts[value], f"the {key} of {where}")
        return rows[value]

    return {key: new(key, value) for key, value in token_ids_of(config).items()}


def token_ids_of(config: Mapping[str, Any]) -> Json:
    """Return the keys of a config that name tokens by row."""
    return {key: value for key, value in config.items() if TOKEN_IDS.fullmatch(key) and value is not None}
