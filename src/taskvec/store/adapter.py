"""A PEFT adapter folder, seen as the exact change of every tensor of its base; and a model with adapters put on it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..errors import RecipeError, StoreError
from .checkpoint import OUTPUT_HEADS, Checkpoint
from .computed.difference import Difference
from .computed.total import Total
from .computed.zeros import Zeros
from .dtypes import is_float
from .formats import Found, safetensors_file, torch_file
from .hub import locate
from .peft.changes import Changes
from .peft.config import NAME, read_config
from .peft.parts import sort_out
from .sample import fingerprint
from .tensors import Tensor, TensorInfo

WEIGHTS = "adapter_model.safetensors"
PICKLE = "adapter_model.bin"


def is_adapter(path: str | Path) -> bool:
    """Tell a folder that holds a PEFT adapter."""
    return (Path(path) / NAME).is_file()


def open_adapter(path: str | Path, base: Checkpoint) -> Checkpoint:
    """Return the adapter's change of every float tensor of a base, in float32, computed slice by slice when read.

    Where the adapter has nothing the change is zero, and takes no memory.

    Raises:
        StoreError: no adapter, a damaged one, one of a kind that is not read, or one of another base.
    """
    path = Path(path)
    changes = _changes(path, base)
    tensors: dict[str, Tensor] = {}
    for name, info in base.tensors.items():
        if is_float(info.dtype):
            parts = changes.get(name) or [Zeros(name, info.shape)]
            tensors[name] = parts[0] if len(parts) == 1 else Total(name, parts)
    # A change belongs to one base, as a saved task vector does.
    return Checkpoint.of(path, Found(tensors, path, {"taskvec.base": fingerprint(base)}, base.config))


def open_applied(path: str | Path, base: Checkpoint) -> Checkpoint:
    """Return a base's weights with an adapter's change added, in float32; untouched tensors as they are stored.

    Config and folder are the base's.

    Raises:
        StoreError: see `open_adapter`.
    """
    path = Path(path)
    tensors: dict[str, Tensor] = dict(base.tensors)
    for name, parts in _changes(path, base).items():
        whole = parts[0].stored if isinstance(parts[0], Difference) else None
        start = replace(whole, name=name) if isinstance(whole, TensorInfo) else base.tensors[name]
        rest = parts[1:] if isinstance(whole, TensorInfo) else parts
        tensors[name] = Total(name, [start, *rest]) if rest else start
    found = Found(tensors, base.folder, base.metadata, base.config, notes=base.notes, stems=base.stems)
    return Checkpoint.of(path, found)


def is_sum(path: str) -> bool:
    """Tell 'model+adapter' from a path that has a plus in it."""
    return "+" in path and not Path(path).exists()


def adapters_of(path: str) -> list[Path]:
    """Return where the adapters of 'model+adapter' lie, in their order.

    Raises:
        RecipeError: one of them is no adapter.
    """
    adapters = [locate(name) for name in path.split("+")[1:]]
    if missing := [adapter for adapter in adapters if not is_adapter(adapter)]:
        raise RecipeError(f"{missing[0]} in '{path}' is no adapter: a folder with an adapter_config.json was expected.")
    return adapters


def open_model(path: str | Path) -> Checkpoint:
    """Open a model, or 'model+adapter' with the adapters put on it. Each is a path, or a name on the hub.

    Raises:
        RecipeError: what is put on the model is no adapter.
        StoreError: see `Checkpoint`, `locate` and `open_applied`.
    """
    path = str(path)
    if not is_sum(path):
        return Checkpoint(locate(path))
    checkpoint = Checkpoint(locate(path.split("+")[0]))
    for adapter in adapters_of(path):
        checkpoint = open_applied(adapter, checkpoint)
    return checkpoint


def adapter_notes(path: str | Path, base: Checkpoint) -> list[str]:
    """Return what is odd about an adapter on a base, but no error: another base's name, a tied embedding."""
    path, notes = Path(path), []
    config = read_config(path)
    name = (config.base_name or "").rstrip("/").rpartition("/")[2]
    cached = [part.rpartition("--")[2] for part in base.path.absolute().parts if part.startswith("models--")]
    known = [base.path.absolute().name, Path(str(base.config.get("_name_or_path", ""))).name, *cached]
    if name and name.lower() not in map(str.lower, known):
        notes.append(f"{path} says that its base is '{config.base_name}'; it is put on {base.path}.")
    changed = _changes(path, base)
    tied = {base.tied_to(head) for head in OUTPUT_HEADS if head not in base.tensors and not config.ties}
    for name in (name for name in changed if name in tied):
        notes.append(f"{path} changes '{name}'; the head that {base.path} ties to it changes too.")
    return notes


def _changes(path: Path, base: Checkpoint) -> Mapping[str, list[Tensor]]:
    """Return what changes which tensor of the base; several parts add up."""
    return Changes(path, base, read_config(path), sort_out(path / WEIGHTS, _tensors(path))).find()


def _tensors(path: Path) -> Mapping[str, Tensor]:
    file = path / WEIGHTS
    if file.is_file():
        return safetensors_file.read(file).tensors
    if (path / PICKLE).is_file():
        return torch_file.read(path / PICKLE).tensors
    raise StoreError(f"{path} holds {NAME}, but no {WEIGHTS}. Download it again.")
