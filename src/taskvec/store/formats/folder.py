"""A model folder in the Hugging Face layout: config, tokenizer, and one safetensors file or an index of shards."""

from dataclasses import replace
from pathlib import Path

from ...errors import StoreError
from . import safetensors_file, sharded_index
from .found import Found


def matches(path: Path) -> bool:
    """Take any folder."""
    return path.is_dir()


def read(path: Path) -> Found:
    """Read `model.safetensors.index.json` if there is one, else the single safetensors file."""
    indices = sorted(path.glob("*.safetensors.index.json"))
    singles = sorted(path.glob("*.safetensors"))
    if len(indices) > 1:
        raise StoreError(f"{path} holds {len(indices)} indices ({_names(indices)}). Name the one to read.")
    if indices:
        _refuse_strays(path, indices[0], singles)
        return replace(sharded_index.read(indices[0]), folder=path)
    if len(singles) == 1:
        return replace(safetensors_file.read(singles[0]), folder=path)
    if not singles:
        others = [p for p in sorted(path.iterdir()) if p.suffix in (".bin", ".pt", ".pth", ".ckpt")]
        hint = f" It holds {_names(others)}, which this version does not read." if others else ""
        if ggufs := sorted(path.glob("*.gguf")):
            hint = f" It holds {_names(ggufs)}; name the one to read."
        raise StoreError(f"{path} holds no .safetensors file.{hint}")
    raise StoreError(
        f"{path} holds {len(singles)} safetensors files ({_names(singles)}) and no model.safetensors.index.json. "
        f"Name the one to read, or download the index."
    )


def _refuse_strays(path: Path, index: Path, singles: list[Path]) -> None:
    """A whole model beside a sharded one: loaders differ in which of the two they take."""
    plain = index.name.removesuffix(".index.json")
    if path / plain in singles:
        raise StoreError(f"{path} holds both {plain} and {index.name}: two models. Remove one, or name one of them.")


def _names(paths: list[Path]) -> str:
    shown = ", ".join(p.name for p in paths[:4])
    return shown + (", …" if len(paths) > 4 else "")
