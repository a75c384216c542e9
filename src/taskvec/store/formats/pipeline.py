"""A folder of diffusers: model_index.json, and a model folder for each component (unet, vae, text_encoder, …).

It is one checkpoint. Its tensors carry the component's folder before their names: `unet/conv_in.weight`.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import FormatError, StoreError
from ..computed.renamed import rename
from . import folder
from .config import read_config
from .found import Found
from .quantised import dequantised

INDEX = "model_index.json"


def matches(path: Path) -> bool:
    """Take a folder with a model_index.json."""
    return (path / INDEX).is_file()


def read(path: Path) -> Found:
    """Read the headers of every component that has weights."""
    found = {name: _component(path / name) for name in components(path)}
    if not found:
        raise StoreError(f"{path}/{INDEX} names no component with weights.")
    tensors = [(f"{part}/{name}", tensor) for part, inner in found.items() for name, tensor in inner.tensors.items()]
    return Found(
        {name: rename(tensor, name) for name, tensor in tensors},
        folder=path,
        notes=tuple(note for inner in found.values() for note in inner.notes),
        stems={f"{part}/": inner.stems[""] for part, inner in found.items()},
    )


def _component(path: Path) -> Found:
    """Read one as the model that it is: with its own config, which may announce quantised weights."""
    return dequantised(path, replace(folder.read(path), config=read_config(path)))


def components(path: Path) -> list[str]:
    """Return the components that are models: those with a config.json. Schedulers and tokenizers have others.

    Raises:
        StoreError: one that the index names is not there.
    """
    models = []
    for name, value in _index(path).items():
        if not isinstance(value, list) or not any(value):  # a setting, or a component that this pipeline goes without
            continue
        if Path(name).name != name or name in ("", ".", ".."):
            raise FormatError(f"{path}/{INDEX} names the component {name!r}, which is no folder's name.")
        if not (path / name).is_dir():
            raise StoreError(f"{path}/{INDEX} names the component {name}, which is not there. Download it again.")
        if (path / name / "config.json").is_file():
            models.append(name)
    return models


def _index(path: Path) -> dict[str, Any]:
    try:
        index = json.loads((path / INDEX).read_text("utf-8"))
    except ValueError as exc:
        raise FormatError(f"{path}/{INDEX} is damaged: {exc}.") from exc
    if not isinstance(index, dict):
        raise FormatError(f"{path}/{INDEX} is damaged: expected a JSON object, got {type(index).__name__}.")
    return index
