"""One `.safetensors` file: eight bytes of length, a JSON header, the tensors' bytes without gaps.

Every promise of the header is checked against the file before anything trusts it.
"""

import json
import struct
from pathlib import Path
from typing import Any

from ...errors import FormatError
from ..dtypes import BITS, size_of
from ..tensors import TensorInfo, check_file_size
from .found import Found

MAX_HEADER = 100_000_000


def matches(path: Path) -> bool:
    """Take any regular file whose name ends in .safetensors (.tv and .pack files are such, too)."""
    return path.is_file() and path.suffix in (".safetensors", ".tv", ".pack")


def read(path: Path) -> Found:
    """Read and check the header."""
    header, start = _header(path)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FormatError(f"{path} has a damaged header: '__metadata__' must map text to text.")
    tensors = {name: _tensor(path, name, entry, start) for name, entry in header.items()}
    _check_layout(path, tensors, start)
    return Found(tensors, metadata=metadata)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise FormatError(f"{path} is truncated: {size} bytes cannot hold a safetensors header.")
        (length,) = struct.unpack("<Q", prefix)
        if length > size - 8 or length > MAX_HEADER:
            raise FormatError(
                f"{path} is damaged or not safetensors: its header claims {length} bytes, the file has {size}."
            )
        text = file.read(length)
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as exc:
        raise FormatError(f"{path} has a damaged header: {exc}.") from exc
    if not isinstance(header, dict):
        raise FormatError(f"{path} has a damaged header: expected a JSON object, got {type(header).__name__}.")
    return header, 8 + length


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"'{next(n for n in names if names.count(n) > 1)}' occurs twice")
    return out


def _is_count(x: object) -> bool:
    return isinstance(x, int) and not isinstance(x, bool) and x >= 0


def _tensor(path: Path, name: str, entry: Any, start: int) -> TensorInfo:
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as exc:
        raise FormatError(f"{path} has a damaged header: '{name}' lacks dtype, shape or data_offsets.") from exc
    if not isinstance(dtype, str) or dtype not in BITS:
        raise FormatError(f"{path}: '{name}' has dtype {dtype!r}, which is not known. Known: {', '.join(BITS)}.")
    if not all(_is_count(n) for n in (*shape, begin, end)):
        raise FormatError(f"{path} has a damaged header: '{name}' has shape {shape} and offsets {[begin, end]}.")
    if end - begin != size_of(dtype, shape):
        raise FormatError(
            f"{path} has a damaged header: '{name}', {dtype} {shape}, takes {size_of(dtype, shape)} bytes, "
            f"but its offsets {begin} to {end} hold {end - begin}."
        )
    return TensorInfo(name, dtype, shape, path, start + begin)


def _check_layout(path: Path, tensors: dict[str, TensorInfo], start: int) -> None:
    end = start
    for info in sorted(tensors.values(), key=lambda t: (t.begin, t.nbytes)):
        if info.begin < end:
            raise FormatError(f"{path} has a damaged header: '{info.name}' overlaps the tensor before it.")
        if info.begin > end:
            gap = info.begin - end
            raise FormatError(f"{path} has a damaged header: {gap} bytes before '{info.name}' are nobody's.")
        end = info.begin + info.nbytes
    check_file_size(path, end)
    if path.stat().st_size > end:
        raise FormatError(f"{path} is damaged: {path.stat().st_size - end} bytes after the last tensor are nobody's.")
