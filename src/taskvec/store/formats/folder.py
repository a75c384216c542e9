"""A model folder: config, tokenizer, and the weights in one file or an index of shards.

safetensors is taken before files of PyTorch, and a file without a variant (`.fp16`) before one with: so do transformers
and diffusers.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from ...errors import StoreError
from . import safetensors_file, sharded_index, torch_file
from .found import Found


@dataclass(frozen=True)
class Kind:
    """A kind of weights that a folder may hold: its endings, who reads a file, and the names that loaders look for."""

    endings: tuple[str, ...]
    reader: ModuleType
    standard: tuple[str, ...]
    called: str


KINDS = (
    Kind(
        (".safetensors",),
        safetensors_file,
        ("model.safetensors", "diffusion_pytorch_model.safetensors", "open_clip_model.safetensors"),
        "safetensors files",
    ),
    Kind(
        torch_file.ENDINGS,
        torch_file,
        ("pytorch_model.bin", "diffusion_pytorch_model.bin", "open_clip_pytorch_model.bin"),
        "files of PyTorch",
    ),
)
OF_A_TRAINER = ("training_args", "optimizer", "scheduler", "scaler", "rng_state", "random_states")
"""How the names of files begin that a trainer leaves in a model's folder."""
STEMS = {
    "diffusion_pytorch_model": "diffusion_pytorch_model",
    "open_clip_model": "open_clip_model",
    "open_clip_pytorch_model": "open_clip_model",
}
"""The beginnings of files' names that loaders insist on, and what they are for safetensors; else `model`."""
OTHERS = (".onnx", ".h5", ".msgpack")


def matches(path: Path) -> bool:
    """Take any folder."""
    return path.is_dir()


def read(path: Path) -> Found:
    """Read the index if there is one, else the single file of weights, of the first kind that is there."""
    for kind in KINDS:
        if chosen := choose(path, kind):
            reader = sharded_index if sharded_index.matches(chosen) else kind.reader
            found: Found = reader.read(chosen)
            return replace(found, folder=path, stems={"": STEMS.get(chosen.name.split(".")[0], "model")})
    others = [p for p in sorted(path.iterdir()) if p.suffix in OTHERS]
    hint = f" It holds {_names(others)}, which this version does not read." if others else ""
    if ggufs := sorted(path.glob("*.gguf")):
        hint = f" It holds {_names(ggufs)}; name the one to read."
    raise StoreError(f"{path} holds no .safetensors file and none of PyTorch.{hint}")


def choose(path: Path, kind: Kind) -> Path | None:
    """Return the file or index of a kind that loaders take from a folder; None where there is none of that kind.

    Raises:
        StoreError: several, of which none is the one that loaders look for.
    """
    files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith((".", *OF_A_TRAINER)))
    singles = [p for p in files if p.suffix in kind.endings]
    indices = [p for p in files if (m := sharded_index.INDEX.search(p.name)) and f".{m[1]}" in kind.endings]
    plain = [p for p in indices if p.name.endswith(".index.json")]
    standard = [path / name for name in kind.standard if path / name in singles]
    if standard and not plain:
        return standard[0]
    if len(plain or indices) > 1:
        raise StoreError(f"{path} holds {len(indices)} indices ({_names(indices)}). Name the one to read.")
    if indices:
        index = (plain or indices)[0]
        _refuse_strays(path, index, singles)
        return index
    if len(singles) > 1:
        expected = f"{kind.standard[0]}.index.json"
        raise StoreError(
            f"{path} holds {len(singles)} {kind.called} ({_names(singles)}) and no {expected}. "
            f"Name the one to read, or download the index."
        )
    return singles[0] if singles else None


def _refuse_strays(path: Path, index: Path, singles: list[Path]) -> None:
    """A whole model beside a sharded one: loaders differ in which of the two they take."""
    plain = index.name.removesuffix(".index.json")
    if path / plain in singles:
        raise StoreError(f"{path} holds both {plain} and {index.name}: two models. Remove one, or name one of them.")


def _names(paths: list[Path]) -> str:
    shown = ", ".join(p.name for p in paths[:4])
    return shown + (", …" if len(paths) > 4 else "")
