"""A `*.safetensors.index.json` or `*.bin.index.json`: which tensor lies in which shard beside it."""

import json
import re
from pathlib import Path

from ...errors import FormatError, StoreError
from . import safetensors_file, torch_file
from .found import Found

INDEX = re.compile(r"\.(safetensors|bin)\.index(\.\w+)?\.json$")
"""How the name of an index ends; a variant, as in `model.safetensors.index.fp16.json`, stands before .json."""


def matches(path: Path) -> bool:
    """Take an index file."""
    return path.is_file() and INDEX.search(path.name) is not None


def read(path: Path) -> Found:
    """Read the headers of every shard that the index names; index and shards must agree on every tensor."""
    weight_map = _weight_map(path)
    shards = {file: _read_shard(_shard(path, file)) for file in dict.fromkeys(weight_map.values())}
    tensors = {}
    for name, file in weight_map.items():
        if name not in shards[file].tensors:
            raise FormatError(f"{path} says that '{name}' lies in {file}, but it is not there.")
        tensors[name] = shards[file].tensors[name]
    for file, shard in shards.items():
        if unlisted := [name for name in shard.tensors if weight_map.get(name) != file]:
            raise FormatError(f"{path.parent / file} holds '{unlisted[0]}', which {path.name} does not list there.")
    metadata = next(iter(shards.values())).metadata if shards else {}
    return Found(tensors, metadata=metadata)


def _read_shard(path: Path) -> Found:
    return torch_file.read(path) if torch_file.matches(path) else safetensors_file.read(path)


def _weight_map(path: Path) -> dict[str, str]:
    try:
        weight_map = json.loads(path.read_text("utf-8"))["weight_map"]
    except (ValueError, KeyError, TypeError) as exc:
        raise FormatError(f"{path} is damaged: expected a JSON object with a 'weight_map' ({exc}).") from exc
    if not isinstance(weight_map, dict) or not all(isinstance(v, str) for v in weight_map.values()):
        raise FormatError(f"{path} is damaged: 'weight_map' must map names of tensors to names of files.")
    return weight_map


def _shard(index: Path, file: str) -> Path:
    if Path(file).name != file or file in ("", ".", ".."):
        raise FormatError(f"{index} names the shard {file!r}, which points outside its folder. It is not read.")
    path = index.parent / file
    if not path.is_file():
        raise StoreError(f"{index} names the shard {file}, which is not there. Download it again.")
    return path
