"""Which part of what a PyTorch file holds are the model's weights."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...errors import FormatError
from ..dtypes import is_float
from ..tensors import Tensor
from .pickled import Call, Global, Parsed
from .torch_tensors import Rebuilder, is_tensor

DANGEROUS = (
    "os", "posix", "nt", "sys", "subprocess", "pty", "shutil", "socket", "runpy", "importlib", "ctypes", "code",
    "pickle", "marshal", "webbrowser", "multiprocessing", "asyncio", "pip", "types", "cffi",
)  # fmt: skip
BUILTINS = ("builtins", "__builtin__")
HARMLESS = (
    "object", "dict", "list", "tuple", "set", "frozenset", "int", "long", "float", "complex", "bool", "str", "unicode",
    "bytes", "bytearray", "slice", "range", "xrange",
)  # fmt: skip
TRAINING = ("optim", "lr_sched", "sched")
"""How the names of a trainer's own state begin: it holds tensors, but no weights."""


def find(path: Path, parsed: Parsed, rebuild: Rebuilder) -> dict[str, Tensor]:
    """Return the weights: the one dict of named tensors that a file holds, at its top or inside.

    Raises:
        FormatError: none, several, or one that holds what is no tensor; or a file that would run programs.
    """
    _refuse_attacks(path, parsed)
    sets = [(place, found) for place, found in _dicts(parsed.data) if any(map(is_tensor, found.values()))]
    read = {place: (found, _tensors(rebuild, found)) for place, found in sets}
    weights = {place: both for place, both in read.items() if _is_weights(both[1])} or read
    if not weights:
        raise FormatError(_no_weights(path, parsed))
    if len(weights) > 1:
        raise FormatError(_several(path, list(weights)))
    ((found, tensors),) = weights.values()
    _refuse_others(path, found)
    return tensors


def _refuse_attacks(path: Path, parsed: Parsed) -> None:
    for wanted in parsed.globals:
        bad = wanted.name not in HARMLESS if wanted.module in BUILTINS else wanted.module.split(".")[0] in DANGEROUS
        if bad:
            raise FormatError(
                f"{path} asks for {wanted} to be called when it is loaded, which no model needs: it may be an attack. "
                f"Nothing of it was run. Get the weights as safetensors, from somebody you trust."
            )


def _dicts(data: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the dicts of a file that are reached by names alone, and by which names."""
    todo, seen = [("", data)], set()
    while todo:
        place, value = todo.pop(0)
        if not isinstance(value, dict) or id(value) in seen:
            continue
        seen.add(id(value))
        named = {key: inner for key, inner in value.items() if isinstance(key, str)}
        yield place, named
        inner = [(f"{place}[{key!r}]", x) for key, x in named.items() if not key.lower().startswith(TRAINING)]
        todo += inner


def _tensors(rebuild: Rebuilder, found: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: rebuild.tensor(name, value) for name, value in found.items() if is_tensor(value)}


def _is_weights(tensors: Mapping[str, Tensor]) -> bool:
    """Tell weights from counters and the states of random generators."""
    return any(is_float(tensor.dtype) and tensor.shape for tensor in tensors.values())


def _refuse_others(path: Path, found: Mapping[str, Any]) -> None:
    """Refuse what stands among the weights and is neither a tensor nor plain (None, a number, text)."""
    for name, value in found.items():
        if is_tensor(value) or name.endswith("_extra_state") or _is_plain(value):
            continue
        what = value.wanted if isinstance(value, Call) else type(value).__name__
        raise FormatError(
            f"'{name}' in {path} is no tensor but a {what}, and stands among the weights. "
            f"Save the tensors alone: torch.save(model.state_dict(), 'weights.pt')."
        )


def _is_plain(value: Any) -> bool:
    """Tell numbers, text, and what holds nothing else."""
    todo, seen = [value], set()
    while todo:
        x = todo.pop()
        if isinstance(x, list | tuple | dict):
            todo += [] if id(x) in seen else x.values() if isinstance(x, dict) else x
            seen.add(id(x))
        elif x is not None and not isinstance(x, bool | int | float | str | bytes):
            return False
    return True


def _several(path: Path, places: list[str]) -> str:
    shown = ", ".join(place or "at the top" for place in places[:4]) + (", …" if len(places) > 4 else "")
    inner = next(place for place in places if place)
    return (
        f"{path} holds {len(places)} sets of tensors ({shown}), and which is the model is not told. Save one alone: "
        f"torch.save(torch.load('{path.name}', weights_only=True){inner}, 'weights.pt')."
    )


def _no_weights(path: Path, parsed: Parsed) -> str:
    if is_tensor(parsed.data):
        return f"{path} holds one tensor without a name; expected a dict of names and tensors."
    own = (g for g in parsed.globals if g.module.split(".")[0] not in ("torch", "collections", *BUILTINS))
    wanted: Call | Global | None = parsed.data if isinstance(parsed.data, Call) else next(own, None)
    if wanted is None:
        return f"{path} holds no tensors under names; expected a dict of names and tensors."
    name = wanted.wanted if isinstance(wanted, Call) else wanted
    return (
        f"{path} holds no dict of tensors but a pickled {name}, whose code would have to be run; no code of a file is. "
        f"Where that code is, type torch.save(model.state_dict(), 'weights.pt') and give that file."
    )
