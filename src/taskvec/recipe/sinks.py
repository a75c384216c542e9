"""Where a stream's results go: files with a journal and hashes, or whoever else takes them."""

import threading
from collections.abc import Container
from dataclasses import dataclass
from typing import Any, Protocol

from ..ops.floats import Raw
from ..store.writer import ShardWriter
from .hasher import Hasher
from .journal import Journal


@dataclass
class Sums:
    """What a unit's slices add up to, and how many of its entries are written."""

    written: int = 0
    lost: float = 0.0
    moved: float = 0.0


class Sink(Protocol):
    """Takes the slices of merged tensors, in any order, from many threads."""

    @property
    def finished(self) -> Container[str]:
        """The tensors that it has already, by name; they are not merged again."""

    def write(self, name: str, start: int, raw: Raw) -> None:
        """Take entries of a tensor, from entry `start` on; `raw` is used again afterwards."""

    def whole(self, name: str, sums: Sums) -> None:
        """A tensor is whole. Called by one thread at a time."""

    def flush(self) -> None:
        """Make what it has durable; called all along."""

    def join(self) -> None:
        """All tensors are whole: wait for what is still to be done."""

    def stop(self) -> None:
        """End, after all is done or something went wrong."""


class Files:
    """Files at their final offsets, hashed while they grow, and a journal of what is safe."""

    def __init__(self, writer: ShardWriter, journal: Journal, threads: int) -> None:
        """Begin, or go on from what the journal has."""
        self.writer, self.journal = writer, journal
        self.hasher = Hasher(writer, set(journal.finished), threads)
        self._lock, self._flushing = threading.Lock(), threading.Lock()
        self._closed = False
        self._fresh: list[dict[str, Any]] = []

    @property
    def finished(self) -> Container[str]:
        """See `Sink`."""
        return self.journal.finished

    def write(self, name: str, start: int, raw: Raw) -> None:
        """See `Sink`."""
        self.writer.write(name, start, raw)

    def whole(self, name: str, sums: Sums) -> None:
        """See `Sink`."""
        with self._lock:
            self._fresh.append({"unit": name, "lost": sums.lost, "moved": sums.moved})
        self.hasher.written(name)

    def flush(self, last: bool = False) -> None:
        """Make what is written durable, then write down which tensors are done.

        A system tells of a failed write once and then forgets it, so after a failure nothing more is written down.
        """
        with self._flushing:
            if self._closed:
                return
            self._closed = True  # until all below has worked
            with self._lock:
                fresh, self._fresh = self._fresh, []
            if fresh:
                self.writer.sync()
                self.journal.add(fresh)
            self._closed = last

    def join(self) -> None:
        """See `Sink`."""
        self.hasher.join()

    def stop(self) -> None:
        """See `Sink`."""
        self.hasher.stop()
        self.flush(last=True)


class Nowhere:
    """Drops what it is given."""

    def __init__(self, finished: Container[str] = ()) -> None:
        """Take the names of tensors that are not to be looked at."""
        self.finished = finished

    def write(self, name: str, start: int, raw: Raw) -> None:
        """See `Sink`."""

    def whole(self, name: str, sums: Sums) -> None:
        """See `Sink`."""

    def flush(self) -> None:
        """See `Sink`."""

    def join(self) -> None:
        """See `Sink`."""

    def stop(self) -> None:
        """See `Sink`."""
