"""A `.gguf` file of llama.cpp, or the parts of one: seen under transformers' names, shapes and orders.

What llama.cpp's converter did is undone (docs/checkpoints.md). Nothing of a tensor is read here.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from ...errors import FormatError, StoreError
from ..computed.head_rows import HeadRows
from ..computed.q8_0 import BYTES, ENTRIES, Q8
from ..computed.shifted import Shifted
from ..computed.transposed import Transposed
from ..gguf.architectures import ARCHITECTURES, LEFT_OUT, Architecture, translate
from ..gguf.config import config_of
from ..gguf.header import Header, Stored, read_header
from ..tensors import Tensor, TensorInfo
from .found import Found

PART = re.compile(r"(.*-)(\d{5})-of-(\d{5})\.gguf")


def matches(path: Path) -> bool:
    """Take any regular file whose name ends in .gguf."""
    return path.is_file() and path.suffix == ".gguf"


def read(path: Path) -> Found:
    """Read and check the headers of all parts.

    Raises:
        FormatError: damaged, or of an architecture, a type or a kind of tensor that is not read.
        StoreError: a part is not there.
    """
    headers = [read_header(file) for file in _parts(path)]
    metadata = headers[0].metadata
    _check_parts(headers)
    name = metadata.get("general.architecture")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise FormatError(
            f"{path} is a GGUF file of the architecture {name!r}, which is not read; {', '.join(ARCHITECTURES)} are. "
            f"Use the model folder it was made from."
        )
    tensors: dict[str, Tensor] = {}
    left_out = []
    for header in headers:
        for stored in header.tensors:
            if stored.name in LEFT_OUT:
                left_out.append(stored.name)
                continue
            tensor = _tensor(header, stored, ARCHITECTURES[name], metadata)
            if tensor.name in tensors:
                raise FormatError(f"{header.path} has a damaged header: '{stored.name}' occurs twice.")
            tensors[tensor.name] = tensor
    notes = [f"{path}: '{n}', which llama.cpp made from the config, is left out." for n in left_out]
    return Found(tensors, config=_config(metadata, tensors, left_out), notes=tuple(notes))


def _parts(path: Path) -> list[Path]:
    match = PART.fullmatch(path.name)
    if match is None:
        return [path]
    stem, _, count = match.groups()
    parts = [path.parent / f"{stem}{i:05d}-of-{count}.gguf" for i in range(1, int(count) + 1)]
    if missing := [p for p in parts if not p.is_file()]:
        raise StoreError(f"{path} is one of {count} parts, and {missing[0].name} is not there. Download it again.")
    return parts or [path]


def _check_parts(headers: list[Header]) -> None:
    for i, header in enumerate(headers):
        place, count = header.metadata.get("split.no", 0), header.metadata.get("split.count") or 1
        if (place, count) != (i, len(headers)):
            raise FormatError(
                f"{header.path} says that it is part {place} of {count}, its name that it is {i} of {len(headers)} "
                f"(counted from 0). Give the parts the names they came with."
            )
    promised, there = headers[0].metadata.get("split.tensors.count"), sum(len(h.tensors) for h in headers)
    if promised not in (None, there):
        raise FormatError(f"{headers[0].path} promises {promised} tensors in all parts, and there are {there}.")


def _tensor(header: Header, stored: Stored, architecture: Architecture, metadata: Any) -> Tensor:
    """Return a tensor as transformers has it."""
    place = translate(architecture, stored.name)
    if place is None:
        raise FormatError(
            f"{header.path}: '{stored.name}' has no place in the architecture {metadata['general.architecture']!r} "
            f"as it is read (no mixtures of experts). Use the model folder it was made from."
        )
    name, change = place
    if change == "rows":
        return _ordered(header, stored, name, metadata)
    plain = _plain(header, stored, name)
    if change == "transposed":
        return Transposed(plain) if len(stored.shape) == 2 else _refuse_shape(header, stored)
    return Shifted(plain, -1.0) if change == "shifted" else plain


def _plain(header: Header, stored: Stored, name: str) -> TensorInfo | Q8:
    if stored.type != "Q8_0":
        return TensorInfo(name, stored.type, stored.shape, header.path, stored.begin)
    return Q8(name, stored.shape, _blocks(header, stored, name)) if stored.shape else _refuse_shape(header, stored)


def _blocks(header: Header, stored: Stored, name: str) -> TensorInfo:
    shape = (*stored.shape[:-1], stored.shape[-1] // ENTRIES * BYTES)
    return TensorInfo(name, "U8", shape, header.path, stored.begin)


def _ordered(header: Header, stored: Stored, name: str, metadata: Any) -> Tensor:
    """Undo the order of the rows in each head. Of Q8_0 the rows of blocks are reordered, then decoded."""
    keys = (
        ("attention.head_count_kv", "attention.head_count") if ".attn_k." in stored.name else ("attention.head_count",)
    )
    architecture = metadata["general.architecture"]
    heads = next((metadata[k] for k in (f"{architecture}.{key}" for key in keys) if k in metadata), None)
    rows = stored.shape[0] if stored.shape else 0
    if not isinstance(heads, int) or heads < 1 or rows % (2 * heads):
        raise FormatError(
            f"{header.path} has a damaged header: '{stored.name}' has {rows} rows, which {heads!r} heads cannot share."
        )
    if stored.type != "Q8_0":
        return HeadRows(TensorInfo(name, stored.type, stored.shape, header.path, stored.begin), rows // heads)
    if len(stored.shape) < 2:
        return _refuse_shape(header, stored)
    return Q8(name, stored.shape, HeadRows(_blocks(header, stored, name), rows // heads))


def _refuse_shape(header: Header, stored: Stored) -> NoReturn:
    raise FormatError(f"{header.path} has a damaged header: '{stored.name}' is {stored.type} {stored.shape}.")


def _config(metadata: Any, tensors: dict[str, Tensor], left_out: Iterable[str]) -> dict[str, Any]:
    embedding = next((t for n, t in tensors.items() if n.endswith(("embed_tokens.weight", "wte.weight"))), None)
    if embedding is None or not embedding.shape or any(left_out):
        return {}  # rotary scaling is in the factors that were left out, not in metadata
    config = config_of(metadata, "lm_head.weight" not in tensors, embedding.shape[0])
    if config.get("model_type") in ("llama", "qwen3") and any(n.endswith("q_proj.bias") for n in tensors):
        config["attention_bias"] = True  # GGUF has no word for it
    return config
