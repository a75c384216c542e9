"""The limit of this machine: read all inputs once, write the output once, make it durable. Nothing is computed."""

import mmap
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CHUNK = 1 << 20


@dataclass(frozen=True)
class Limit:
    """Seconds for each part; `total` is their sum."""

    read: float
    write: float
    sync: float

    @property
    def total(self) -> float:
        """Read, write and sync, one after the other."""
        return self.read + self.write + self.sync


def limit(inputs: Sequence[Path], nbytes: int, folder: Path, threads: int) -> Limit:
    """Measure the limit for these input files and an output of `nbytes` in `folder`, with so many threads.

    Reading is timed twice, by `read` into a buffer and by touching a memory map; the faster one counts.
    """
    read = min(reading_once(inputs, threads), _read(inputs, threads, _by_map))
    path = folder / "limit.bin"
    block = np.random.default_rng(0).integers(0, 256, CHUNK, dtype=np.uint8).tobytes()
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.posix_fallocate(fd, 0, nbytes)
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda at: os.pwrite(fd, block[: min(CHUNK, nbytes - at)], at), range(0, nbytes, CHUNK)))
    written = time.perf_counter()
    os.fsync(fd)
    synced = time.perf_counter()
    os.close(fd)
    path.unlink()
    return Limit(read, written - began, synced - written)


def reading_once(inputs: Sequence[Path], threads: int) -> float:
    """Return how long it takes to read files once, by `read` into a buffer."""
    return _read(inputs, threads, _by_copy)


def _read(inputs: Sequence[Path], threads: int, touch: Callable[[Path, int, int], None]) -> float:
    pieces = [
        (f, at, min(64 * CHUNK, f.stat().st_size - at)) for f in inputs for at in range(0, f.stat().st_size, 64 * CHUNK)
    ]
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda piece: touch(*piece), pieces))
    return time.perf_counter() - began


def _by_copy(path: Path, at: int, count: int) -> None:
    buffer = bytearray(CHUNK)
    fd = os.open(path, os.O_RDONLY)
    for begin in range(at, at + count, CHUNK):
        os.preadv(fd, [buffer], begin)
    os.close(fd)


def _by_map(path: Path, at: int, count: int) -> None:
    with path.open("rb") as file, mmap.mmap(file.fileno(), count, access=mmap.ACCESS_READ, offset=at) as mapped:
        words = np.frombuffer(mapped, np.uint64, count // 8)
        words.sum()
        del words
