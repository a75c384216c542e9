"""The header of one GGUF file: metadata, and where each tensor lies. Every promise is checked against the file."""

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from ...errors import FormatError, StoreError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_AXES = 4
SHORT = 4096
"""Arrays of numbers up to this length are kept, of longer ones and of texts (vocabularies) only the length."""

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9

TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0",
}  # fmt: skip

SIZES = {"F32": (1, 4), "F16": (1, 2), "BF16": (1, 2), "F64": (1, 8), "Q8_0": (32, 34)}
"""Entries a block and bytes a block, of the types that are read."""


@dataclass(frozen=True)
class Length:
    """What is kept of a long array."""

    count: int


@dataclass(frozen=True)
class Stored:
    """One tensor: its name and type in GGUF's words, its shape in ours (the slowest axis first), where it begins."""

    name: str
    type: str
    shape: tuple[int, ...]
    begin: int

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        entries, size = SIZES[self.type]
        return prod(self.shape) // entries * size


@dataclass(frozen=True)
class Header:
    """What the header of one file says."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: tuple[Stored, ...]


def read_header(path: Path) -> Header:
    """Read and check a header.

    Raises:
        FormatError: not GGUF, damaged, or of a version or a type of tensor that is not read.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Parser(path, data).header()
    except ValueError as exc:
        if isinstance(exc, FormatError):
            raise
        raise FormatError(f"{path} is truncated: 0 bytes cannot hold a GGUF header.") from exc
    except OSError as exc:
        if isinstance(exc, StoreError):
            raise
        raise StoreError(f"{path} cannot be read: {exc.strerror}") from exc


class _Parser:
    """Reads from a file's bytes, never beyond their end."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.at = path, data, 0

    def header(self) -> Header:
        """Read everything up to the tensors' bytes."""
        if self.take(4) != MAGIC:
            raise FormatError(f"{self.path} is damaged or not GGUF: it does not begin with 'GGUF'.")
        version = self.number("I")
        if version not in VERSIONS:
            what = "big-endian" if version & 0xFFFF == 0 else f"of version {version}"
            raise FormatError(f"{self.path} is a GGUF file {what}, which is not read. Convert the model again.")
        tensors, pairs = self.number("Q"), self.number("Q")
        metadata: dict[str, Any] = {}
        for _ in range(pairs):
            key = self.text()
            if key in metadata:
                raise self.damaged(f"'{key}' occurs twice")
            metadata[key] = self.value(self.number("I"))
        entries = [self.entry() for _ in range(tensors)]
        start = self.data_begin(metadata.get("general.alignment", 32))
        return Header(self.path, metadata, self.checked([_moved(e, start) for e in entries]))

    def damaged(self, why: str) -> FormatError:
        """Return what to raise."""
        return FormatError(f"{self.path} has a damaged header: {why}.")

    def skip(self, count: int) -> None:
        """Step over the next bytes, which must be there."""
        if count > len(self.data) - self.at:
            raise FormatError(f"{self.path} is truncated or damaged: it ends inside its header. Download it again.")
        self.at += count

    def skip_texts(self, count: int) -> None:
        """Step over an array of texts: a vocabulary has hundreds of thousands, so nothing else is done here."""
        length, last, at = struct.Struct("<Q").unpack_from, len(self.data) - 8, self.at
        for _ in range(count):
            if at > last:
                at = len(self.data) + 1  # more texts than the file can hold
                break
            at += 8 + length(self.data, at)[0]
        self.skip(at - self.at)

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        self.skip(count)
        return self.data[self.at - count : self.at]

    def number(self, kind: str) -> Any:
        """Return the next number."""
        return struct.unpack("<" + kind, self.take(struct.calcsize("<" + kind)))[0]

    def text(self) -> str:
        """Return the next text."""
        raw = self.take(self.number("Q"))
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise self.damaged(f"{raw[:40]!r} is not UTF-8") from exc

    def value(self, kind: int) -> Any:
        """Return the next value of metadata."""
        if kind in SCALARS:
            return self.number(SCALARS[kind])
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            raise self.damaged(f"metadata of the type {kind}, which does not exist")
        inner, count = self.number("I"), self.number("Q")
        if inner in SCALARS:
            if count <= SHORT:
                return [self.number(SCALARS[inner]) for _ in range(count)]
            self.skip(count * struct.calcsize("<" + SCALARS[inner]))
            return Length(count)
        if inner != STRING:
            raise self.damaged(f"an array of the type {inner}")
        self.skip_texts(count)
        return Length(count)

    def entry(self) -> Stored:
        """Return the next tensor; where it begins is counted from the beginning of all tensors."""
        name, axes = self.text(), self.number("I")
        if axes > MAX_AXES:
            raise self.damaged(f"'{name}' has {axes} axes")
        shape = tuple(self.number("Q") for _ in range(axes))[::-1]
        number, begin = self.number("I"), self.number("Q")
        kind = TYPES.get(number, f"type {number}")
        if kind not in SIZES:
            raise FormatError(
                f"{self.path}: '{name}' is {kind}, which is not read; {', '.join(SIZES)} are. "
                f"Use the F16, BF16 or Q8_0 file of that model."
            )
        if shape and shape[-1] % SIZES[kind][0]:
            raise self.damaged(f"'{name}' is {kind} and has rows of {shape[-1]}, no multiple of {SIZES[kind][0]}")
        return Stored(name, kind, shape, begin)

    def data_begin(self, alignment: Any) -> int:
        """Return where the tensors' bytes begin."""
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise self.damaged(f"'general.alignment' is {alignment!r}, no power of two")
        return -(-self.at // alignment) * alignment

    def checked(self, tensors: list[Stored]) -> tuple[Stored, ...]:
        """Refuse tensors that overlap, have one name, or end after the file."""
        end, names = 0, set()
        for tensor in sorted(tensors, key=lambda t: (t.begin, t.nbytes)):
            if tensor.name in names:
                raise self.damaged(f"'{tensor.name}' occurs twice")
            if tensor.begin < end:
                raise self.damaged(f"'{tensor.name}' overlaps the tensor before it")
            names.add(tensor.name)
            end = tensor.begin + tensor.nbytes
        if end > len(self.data):
            raise FormatError(
                f"{self.path} is truncated: its header promises {end} bytes, the file has {len(self.data)}. "
                f"Download it again."
            )
        return tuple(tensors)


def _moved(tensor: Stored, by: int) -> Stored:
    return Stored(tensor.name, tensor.type, tensor.shape, tensor.begin + by)
