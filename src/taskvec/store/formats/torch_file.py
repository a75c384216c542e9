"""A PyTorch file (.bin, .pt, .pth, .ckpt): a pickle that says what the tensors are, and their storages as raw bytes.

The pickle is read as data (`pickled.py`), so no code of it can run and torch is not needed. Storages are not read:
where each lies in the file makes a tensor that is streamed like any other.
"""

import io
import mmap
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import FormatError, StoreError
from ..dtypes import BITS
from . import torch_weights
from .found import Found
from .pickled import Global, Parsed, PickleError
from .torch_tensors import OF_STORAGE, Place, Rebuilder

ENDINGS = (".bin", ".pt", ".pth", ".ckpt")
MAX_PICKLE = 100_000_000
MAGIC = 0x1950A86A20F9469CFC6C
LOCAL_HEADER = struct.Struct("<4s22xHH")


def matches(path: Path) -> bool:
    """Take any regular file with one of the endings that torch.save is used with."""
    return path.is_file() and path.suffix in ENDINGS


def read(path: Path) -> Found:
    """Read what the pickle says, and check it against the file."""
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    try:
        parsed, places = _zip(path) if is_zip else _old(path)
    except PickleError as exc:
        raise FormatError(f"{path} is damaged: its pickle cannot be read ({exc}). Download it again.") from exc
    return Found(torch_weights.find(path, parsed, Rebuilder(path, places)))


def _zip(path: Path) -> tuple[Parsed, dict[str, Place]]:
    """Read what torch.save writes since 1.6: a zip archive with the pickle and each storage in a record of its own."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = {record.filename: record for record in archive.infolist()}
            end = archive.start_dir
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error) as exc:
        raise FormatError(f"{path} is truncated or damaged: its directory cannot be read. Download it again.") from exc
    root = next((name.removesuffix("data.pkl") for name in records if name.endswith("/data.pkl")), None)
    if root is None or f"{root}constants.pkl" in records:
        what = "a TorchScript program" if root else "a zip archive without a pickle of PyTorch"
        raise FormatError(f"{path} is {what}, no file of weights. Save model.state_dict() with torch.save.")
    with path.open("rb") as file:
        places = {name: _record(path, file, record, end) for name, record in records.items() if name.startswith(root)}
        if _text(file, places.get(f"{root}byteorder")) not in (b"", b"little"):
            raise FormatError(f"{path} was written on a big-endian machine. Save it again on a little-endian one.")
        parsed = Parsed(io.BytesIO(_text(file, places[f"{root}data.pkl"])))
    data = f"{root}data/"
    return parsed, {name.removeprefix(data): at for name, at in places.items() if name.startswith(data)}


def _record(path: Path, file: io.BufferedReader, record: zipfile.ZipInfo, end: int) -> Place:
    """Find a record's bytes: its local header has a length of its own, which aligns them."""
    file.seek(max(record.header_offset, 0))
    header = file.read(LOCAL_HEADER.size)
    if record.header_offset < 0 or len(header) < LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
        raise FormatError(f"{path} is damaged: '{record.filename}' is not where its directory says. Download it again.")
    _, name, extra = LOCAL_HEADER.unpack(header)
    begin = record.header_offset + LOCAL_HEADER.size + name + extra
    if record.compress_type != zipfile.ZIP_STORED or record.flag_bits & 1:
        raise FormatError(f"{path} is compressed, and cannot be read in place. Save it again with torch.save.")
    if begin + record.file_size > end:
        raise FormatError(f"{path} is truncated: '{record.filename}' ends beyond it. Download it again.")
    return Place(begin, record.file_size)


def _text(file: io.BufferedReader, place: Place | None) -> bytes:
    if place is None:
        return b""
    if place.nbytes > MAX_PICKLE:
        raise PickleError(f"it has {place.nbytes} bytes")
    file.seek(place.begin)
    return file.read(place.nbytes)


def _old(path: Path) -> tuple[Parsed, dict[str, Place]]:
    """Read what torch.save wrote before 1.6: five pickles, then each storage's length and bytes."""
    with path.open("rb") as file:
        try:
            mapped = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        except ValueError as exc:
            raise FormatError(f"{path} is empty.") from exc
        except OSError as exc:
            raise StoreError(f"{path} cannot be read: {exc.strerror}") from exc
    with mapped:
        if not _is_old(mapped):
            raise FormatError(
                f"{path} is not a file of PyTorch, or a damaged one. Expected what torch.save writes; "
                f"else give the weights as safetensors."
            )
        parsed, keys = Parsed(mapped), Parsed(mapped).data
        return parsed, _storages(path, mapped, parsed, keys)


def _is_old(mapped: mmap.mmap) -> bool:
    """Tell the old format by its first three pickles: a number, a version, and facts about the machine."""
    try:
        magic, version, system = (Parsed(mapped).data for _ in range(3))
    except PickleError:
        return False
    return bool(magic == MAGIC and version == 1001 and isinstance(system, dict) and system.get("little_endian"))


def _storages(path: Path, mapped: mmap.mmap, parsed: Parsed, keys: Any) -> dict[str, Place]:
    """Walk over the storages behind the pickles, in the order of their keys."""
    sizes = dict(_sizes(parsed))
    places, size = {}, path.stat().st_size
    for key in keys if isinstance(keys, list) else []:
        begin = mapped.tell() + 8
        if key not in sizes or begin > size:
            raise FormatError(f"{path} is truncated or damaged at the storage {key!r}. Download it again.")
        (count,) = struct.unpack("<q", mapped.read(8))
        nbytes = count * sizes[key]
        if count < 0 or begin + nbytes > size:
            raise FormatError(f"{path} is truncated: its storages need {begin + nbytes} bytes, it has {size}.")
        places[key] = Place(begin, nbytes)
        mapped.seek(begin + nbytes)
    return places


def _sizes(parsed: Parsed) -> Iterator[tuple[str, int]]:
    """Yield the keys of storages that a pickle names, and the bytes an entry of each takes."""
    for words in parsed.persistent:
        match words:
            case ("storage", Global(name=kind), str(key), *_) if kind in OF_STORAGE:
                yield key, BITS[OF_STORAGE[kind]].itemsize
