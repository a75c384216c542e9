"""Reading checkpoints, one file a format.

A format is a module with `matches(path) -> bool` and `read(path) -> Found`. To add one, write the file and name it
in `FORMATS`; the first that matches reads. Whatever the format, quantised weights are then seen as plain floats.
"""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

from ...errors import StoreError
from . import folder, gguf_file, pipeline, safetensors_file, sharded_index, torch_file
from .config import read_config
from .found import Found
from .quantised import dequantised

FORMATS: tuple[ModuleType, ...] = (safetensors_file, torch_file, sharded_index, gguf_file, pipeline, folder)


def read(path: Path) -> Found:
    """Read the headers of a checkpoint of any known format; no tensor is read."""
    if not path.exists():
        raise StoreError(
            f"{path} does not exist. Give a .safetensors file, its .index.json, a .gguf file, or a model folder."
        )
    for form in FORMATS:
        if form.matches(path):
            found: Found = form.read(path)
            config = read_config(found.folder) if found.config is None else found.config
            return dequantised(path, replace(found, config=config))
    raise StoreError(
        f"{path} is not a checkpoint that can be read: expected a .safetensors or .gguf file, a file of PyTorch "
        f"({', '.join(torch_file.ENDINGS)}), an index of shards, or a folder holding one of them."
    )


__all__ = ["FORMATS", "Found", "read"]
