"""Reading checkpoints, one file a format.

A format is a module with `matches(path) -> bool` and `read(path) -> Found`. To add one, write the file and name it
in `FORMATS`; the first that matches reads.
"""

from pathlib import Path
from types import ModuleType

from ...errors import StoreError
from . import folder, pipeline, safetensors_file, sharded_index, torch_file
from .found import Found

FORMATS: tuple[ModuleType, ...] = (safetensors_file, torch_file, sharded_index, pipeline, folder)


def read(path: Path) -> Found:
    """Read the headers of a checkpoint of any known format; no tensor is read."""
    if not path.exists():
        raise StoreError(f"{path} does not exist. Give a .safetensors file, its .index.json, or a model folder.")
    for form in FORMATS:
        if form.matches(path):
            found: Found = form.read(path)
            return found
    raise StoreError(
        f"{path} is not a checkpoint that can be read: expected a .safetensors file, a file of PyTorch "
        f"({', '.join(torch_file.ENDINGS)}), the index of one of them, or a folder holding one of them."
    )


__all__ = ["FORMATS", "Found", "read"]
