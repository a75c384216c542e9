"""How an output is cut into safetensors files: every name, header and offset, before a byte is written."""

import json
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import RecipeError
from .dtypes import BITS, size_of


@dataclass(frozen=True, slots=True)
class OutTensor:
    """A tensor to be written."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Number of bytes."""
        return size_of(self.dtype, self.shape)


@dataclass(frozen=True)
class OutFile:
    """One file to be written: its header's bytes, and where each tensor begins.

    part: the beginning of its tensors' names that stands for its folder (`unet/`), and how such files are called.
    """

    name: str
    header: bytes
    tensors: tuple[OutTensor, ...]
    begins: Mapping[str, int]
    part: tuple[str, str] = ("", "model")

    @property
    def nbytes(self) -> int:
        """Size of the whole file."""
        return len(self.header) + sum(t.nbytes for t in self.tensors)


@dataclass(frozen=True)
class Layout:
    """All files of an output."""

    files: tuple[OutFile, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all files."""
        return sum(f.nbytes for f in self.files)

    def indices(self) -> dict[str, str]:
        """Return name → text of the index of every part that takes more than one file."""
        parts: dict[tuple[str, str], list[OutFile]] = {}
        for file in self.files:
            parts.setdefault(file.part, []).append(file)
        shards = {key: files for key, files in parts.items() if len(files) > 1}
        return {f"{part}{stem}.safetensors.index.json": _index(part, files) for (part, stem), files in shards.items()}

    def index(self) -> str | None:
        """Return the text of model.safetensors.index.json; None when one file holds everything."""
        return self.indices().get("model.safetensors.index.json")


def _index(part: str, files: Sequence[OutFile]) -> str:
    weight_map = {t.name.removeprefix(part): f.name.removeprefix(part) for f in files for t in f.tensors}
    total = sum(t.nbytes for f in files for t in f.tensors)
    return json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2) + "\n"


def lay_out(
    tensors: Iterable[OutTensor],
    shard_bytes: int,
    metadata: Mapping[str, str],
    stems: Mapping[str, str] | None = None,
) -> Layout:
    """Cut tensors, in their order, into files of at most `shard_bytes` (or of one tensor that is larger).

    stems: beginning of a tensor's name → how its files are called (`Found.stems`); model.safetensors for all without.
    """
    stems = stems or {"": "model"}
    parts: dict[str, list[OutTensor]] = {part: [] for part in stems}
    for tensor in tensors:
        parts[next(part for part in stems if tensor.name.startswith(part))].append(tensor)
    files = [_files(part, stems[part], inner, shard_bytes, metadata) for part, inner in parts.items()]
    return Layout(tuple(file for some in files for file in some))


def _files(
    part: str, stem: str, tensors: Iterable[OutTensor], shard_bytes: int, metadata: Mapping[str, str]
) -> list[OutFile]:
    shards: list[list[OutTensor]] = [[]]
    room = shard_bytes
    for tensor in tensors:
        if shards[-1] and tensor.nbytes > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(tensor)
        room -= tensor.nbytes
    names = [f"{stem}-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    if len(shards) == 1:
        names = [f"{stem}.safetensors"]
    return [out_file(part + name, shard, metadata, (part, stem)) for name, shard in zip(names, shards, strict=True)]


def out_file(
    name: str, tensors: Iterable[OutTensor], metadata: Mapping[str, str], part: tuple[str, str] = ("", "model")
) -> OutFile:
    """Place tensors in a file, wide types first, so that each begins at a multiple of its entries' size."""
    ordered = sorted(tensors, key=lambda t: -BITS[t.dtype].itemsize)
    entries: dict[str, object] = {"__metadata__": dict(metadata)}
    offsets: dict[str, int] = {}
    end = 0
    for tensor in ordered:
        offsets[tensor.name] = end
        begin, end = end, end + tensor.nbytes
        entries[tensor.name.removeprefix(part[0])] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    header = struct.pack("<Q", len(text)) + text
    return OutFile(name, header, tuple(ordered), {n: len(header) + at for n, at in offsets.items()}, part)


def parse_size(text: str | int) -> int:
    """Read a number of bytes: 5GB, 500 MB, 1.5GiB, 1000000.

    >>> parse_size("5GB"), parse_size("1 KiB"), parse_size(7)
    (5000000000, 1024, 7)

    Raises:
        RecipeError: not a size, or not above 0.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(([KMGT])(i?))?B?\s*", str(text), re.IGNORECASE)
    size = 0
    if match:
        number, _, prefix, binary = match.groups()
        power = " KMGT".index(prefix.upper()) if prefix else 0
        size = int(float(number) * (1024 if binary else 1000) ** power)
    if size <= 0:
        raise RecipeError(f"{text!r} is not a size. Type a number of bytes, or e.g. '5GB' or '512MiB'.")
    return size
