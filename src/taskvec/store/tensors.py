"""What is known of a tensor before it is read, and the bytes behind it."""

import mmap
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from ..errors import FormatError, StoreError
from ..ops.floats import Raw
from . import advice
from .dtypes import BITS, size_of


class Tensor(ABC):
    """A tensor that can be read slice by slice: one that is stored as it is, or one that is computed from such.

    name, dtype, shape: as a loaded model has them; `dtype` is the code of the bits that `read` returns.
    scratch: bytes of memory that reading takes for each entry; a view of a file takes none.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scratch: float = 0.0

    @property
    def count(self) -> int:
        """Number of entries."""
        return prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes an entry takes."""
        return BITS[self.dtype].itemsize

    @property
    def stored_as(self) -> str:
        """The type in which a merge stores it unless told otherwise: its own, if it is one that is stored."""
        return self.dtype

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return sum(part.nbytes for part in self.on_disk)

    @property
    @abstractmethod
    def on_disk(self) -> "Sequence[TensorInfo]":
        """What it is read or computed from."""

    @abstractmethod
    def read(self, files: "Files", start: int, stop: int) -> Raw:
        """Return entries `start` … `stop`, flat, as bits of `dtype`; the same bits however a tensor is sliced."""

    @property
    def formula(self) -> str:
        """What, beside the parts on disk, decides its entries; nothing for a tensor that is stored as it is."""
        return ""

    def ranges(self, start: int, stop: int) -> "Sequence[tuple[TensorInfo, int, int]]":
        """Return which entries of which parts on disk a slice is computed from: all of them, unless it knows better."""
        return [(part, 0, part.count) for part in self.on_disk] if stop > start else []

    def runs(self, files: "Files", length: int, step: int, number: int) -> Raw:
        """Return `number` runs of `length` entries, one every `step` entries, after each other."""
        return np.concatenate([self.read(files, at, at + length) for at in range(0, step * number, step)])


@dataclass(frozen=True)
class TensorInfo(Tensor):
    """One tensor on disk: its name, type and shape, and where its bytes lie in which file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    begin: int

    @property
    def nbytes(self) -> int:
        """Number of bytes."""
        return size_of(self.dtype, self.shape)

    @property
    def on_disk(self) -> "Sequence[TensorInfo]":
        """Itself."""
        return (self,)

    def read(self, files: "Files", start: int, stop: int) -> Raw:
        """Return a read-only view of the file. Nothing is copied."""
        return files.view(self, start, stop)

    def ranges(self, start: int, stop: int) -> "Sequence[tuple[TensorInfo, int, int]]":
        """The same entries of itself."""
        return [(self, start, stop)]

    def runs(self, files: "Files", length: int, step: int, number: int) -> Raw:
        """See `Tensor`; all in one go, because the runs are many and short."""
        size = self.itemsize
        view = np.frombuffer(files.map(self.file), np.uint8, number * step * size, self.begin)
        return view.reshape(number, step * size)[:, : length * size].reshape(-1).view(BITS[self.dtype])


class Files:
    """Read-only memory maps of files, opened when first asked for, shared by threads, closed together."""

    def __init__(self) -> None:
        self._maps: dict[Path, mmap.mmap] = {}
        self._addresses: dict[Path, int] = {}
        self._lock = threading.Lock()

    def map(self, path: Path) -> mmap.mmap:
        """Return the map of a whole file."""
        with self._lock:
            if path not in self._maps:
                try:
                    with path.open("rb") as file:
                        # Private, because some file systems in user space refuse shared maps.
                        mapped = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
                    self._maps[path] = mapped
                    self._addresses[path] = np.frombuffer(mapped, np.uint8).__array_interface__["data"][0]
                except (OSError, ValueError) as exc:
                    raise StoreError(f"{path} cannot be read: {exc}") from exc
            return self._maps[path]

    def raw(self, tensor: Tensor, start: int = 0, stop: int | None = None) -> Raw:
        """Return entries `start` … `stop` of a tensor, flat."""
        return tensor.read(self, start, tensor.count if stop is None else stop)

    def view(self, info: TensorInfo, start: int, stop: int) -> Raw:
        """Return entries of a stored tensor, flat, as a read-only view of the file. Nothing is copied."""
        kind = BITS[info.dtype]
        if stop <= start:
            return np.empty(0, kind)
        begin = info.begin + start * kind.itemsize
        nbytes = (stop - start) * kind.itemsize
        view = np.frombuffer(self.map(info.file), np.uint8, nbytes, begin)
        # A file may place a tensor at an odd offset; numpy then reads it correctly but slowly, so copy it.
        return view.view(kind) if begin % kind.itemsize == 0 else view.copy().view(kind)

    def load(self, tensor: Tensor, start: int, stop: int) -> None:
        """Read a range into memory now; a file that shrank or cannot be read is an error, not a crash."""
        for info, begin, end in tensor.ranges(start, stop):
            if number := self._advise(info, begin, end, advice.POPULATE_READ):
                raise StoreError(f"{info.file} cannot be read at '{info.name}': {os.strerror(number)}")

    def expect(self, tensor: Tensor, start: int, stop: int) -> None:
        """Tell the system that a range will be read soon, so that the disk begins."""
        for info, begin, end in tensor.ranges(start, stop):
            self._advise(info, begin, end, advice.WILLNEED)

    def forget(self, tensor: Tensor, start: int, stop: int) -> None:
        """Give a range's pages back; the system keeps them cached, this process no longer counts them."""
        for info, begin, end in tensor.ranges(start, stop):
            self._advise(info, begin, end, advice.DONTNEED, inner=True)

    def _advise(self, info: TensorInfo, start: int, stop: int, what: int, inner: bool = False) -> int:
        """Advise about the pages of a range: all that it touches, or only those wholly inside."""
        begin, end = info.begin + start * info.itemsize, info.begin + stop * info.itemsize
        page = mmap.PAGESIZE
        begin = -(-begin // page) * page if inner else begin // page * page
        end = end // page * page if inner else end
        if stop <= start or end <= begin:
            return 0
        self.map(info.file)
        return advice.advise(self._addresses[info.file] + begin, end - begin, what)

    def close(self) -> None:
        """Unmap what nobody holds a view of any more."""
        with self._lock:
            for mapped in self._maps.values():
                try:
                    mapped.close()
                except BufferError:
                    continue  # a view of it is still alive; it is unmapped when that goes
            self._maps.clear()


def check_file_size(path: Path, least: int) -> None:
    """Refuse a file that is shorter than its header promises."""
    size = path.stat().st_size
    if size < least:
        raise FormatError(
            f"{path} is truncated: its header promises {least} bytes, the file has {size}. Download it again."
        )
