"""A safetensors file whose tensors become known one by one: their bytes grow beside it, and the header comes last."""

import json
import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from ...errors import OutputError
from ...ops.floats import Raw
from ..dtypes import BITS
from ..layout import OutTensor, out_file
from ..writer import PARTIAL, output_error, room_for, sync_folder
from .names import CHECKSUMS

WIDTHS = (8, 4, 2, 1)
"""Bytes an entry: wide types stand first in the file, so that each begins at a multiple of its entries' size."""


class Appending:
    """Takes tensors in any order, whole or piece by piece, and puts the file together at the end.

    Until `finish` there is only a hidden folder beside the file; leaving the `with` without it removes that.
    """

    def __init__(self, path: Path) -> None:
        """Make room for what grows.

        Raises:
            OutputError: the folder cannot be written.
        """
        room_for(path)
        self.path, self.growing = path, path.parent / f".{path.name}{PARTIAL}"
        self._tensors: dict[str, OutTensor] = {}
        self._begins: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._crc: dict[str, int] = {}
        self._ends = dict.fromkeys(WIDTHS, 0)
        try:
            shutil.rmtree(self.growing, ignore_errors=True)  # of a run that was cut off; nothing in it is wanted
            self.growing.mkdir()
            self._files: dict[int, IO[bytes]] = {w: (self.growing / str(w)).open("w+b") for w in WIDTHS}
        except OSError as exc:
            raise output_error(path, exc) from exc

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors so far."""
        return sum(self._ends.values())

    def bytes_of(self, beginning: str) -> int:
        """Return the bytes of the tensors whose names begin so."""
        return sum(t.nbytes for name, t in self._tensors.items() if name.startswith(beginning))

    def add(self, name: str, code: str, array: Raw) -> None:
        """Take a whole tensor, in its shape, as bits of its type."""
        self.announce(name, code, array.shape)
        self.extend(name, array.reshape(-1))

    def announce(self, name: str, code: str, shape: tuple[int, ...]) -> None:
        """Keep a place for a tensor whose entries come later."""
        tensor, width = OutTensor(name, code, tuple(shape)), BITS[code].itemsize
        self._tensors[name], self._begins[name] = tensor, self._ends[width]
        self._done[name], self._crc[name] = 0, 0
        self._ends[width] += tensor.nbytes

    def extend(self, name: str, raw: Raw) -> None:
        """Take the next entries of a tensor."""
        code = self._tensors[name].dtype
        data = np.ascontiguousarray(raw, BITS[code]).view(np.uint8).data
        file = self._files[BITS[code].itemsize]
        try:
            file.seek(self._begins[name] + self._done[name])
            file.write(data)
        except OSError as exc:
            raise output_error(self.path, exc) from exc
        self._done[name] += len(data)
        self._crc[name] = zlib.crc32(data, self._crc[name])

    def finish(self, metadata: Mapping[str, Any]) -> int:
        """Put the file together and give it its name; return its size.

        Args:
            metadata: of the header; what is no text becomes JSON. Checksums are added.
        """
        if short := [name for name, tensor in self._tensors.items() if self._done[name] != tensor.nbytes]:
            raise ValueError(f"'{short[0]}' is not whole")
        texts = {"format": "pt", **metadata, CHECKSUMS: self._crc}
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in texts.items()}
        out = out_file(self.path.name, self._tensors.values(), texts)
        whole = self.growing / self.path.name
        try:
            with whole.open("wb") as file:
                file.write(out.header)
                for width in WIDTHS:
                    self._files[width].seek(0)
                    shutil.copyfileobj(self._files[width], file, 1 << 22)
                file.flush()
                os.fsync(file.fileno())
            os.replace(whole, self.path)
        except OSError as exc:
            raise output_error(self.path, exc) from exc
        sync_folder(self.path.parent)
        return out.nbytes

    def __enter__(self) -> "Appending":
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        for file in self._files.values():
            file.close()
        shutil.rmtree(self.growing, ignore_errors=True)


def check_new(path: Path, force: bool) -> None:
    """Refuse a file that is there already, unless `force`, and a folder in any case.

    Raises:
        OutputError: see above.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; the output is a file. Type another name, ending in .pack.")
    if path.exists() and not force:
        raise OutputError(f"{path} exists. Choose another name, or type --force to replace it.")
