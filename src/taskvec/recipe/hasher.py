"""The SHA-256 of every output file, taken while the files are written."""

import hashlib
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from mmap import MAP_PRIVATE, PROT_READ, mmap

from ..store.layout import OutFile
from ..store.writer import ShardWriter

CHUNK = 1 << 24
"""Bytes mapped at a time."""


class Hasher:
    """Follows the writers: hashes each file from its beginning as its tensors become whole."""

    def __init__(self, writer: ShardWriter, finished: set[str], threads: int) -> None:
        """Begin; `finished` names tensors that an earlier run wrote."""
        self._writer = writer
        self._done = set(finished)
        self._changed = threading.Condition()
        self._stopped = False
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="sha256")
        self._hashes: dict[str, Future[str]] = {f.name: self._pool.submit(self._hash, f) for f in writer.layout.files}

    def written(self, name: str) -> None:
        """A tensor is whole."""
        with self._changed:
            self._done.add(name)
            self._changed.notify_all()

    def join(self) -> dict[str, str]:
        """Wait for all hashes and return them by file."""
        return {name: future.result() for name, future in self._hashes.items()}

    def stop(self) -> None:
        """Give up what is not hashed yet, and end the threads."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _hash(self, file: OutFile) -> str:
        digest = hashlib.sha256(file.header)
        with self._writer.path(file).open("rb") as opened:
            for tensor in file.tensors:
                self._wait_for(tensor.name)
                begin, end = file.begins[tensor.name], file.begins[tensor.name] + tensor.nbytes
                for at in range(begin // CHUNK * CHUNK, end, CHUNK):
                    _update(digest, opened.fileno(), at, max(begin, at), min(at + CHUNK, end))
        return digest.hexdigest()

    def _wait_for(self, name: str) -> None:
        with self._changed:
            while name not in self._done:
                if self._stopped:
                    raise InterruptedError(f"stopped before '{name}' was written")
                self._changed.wait(0.5)


def _update(digest: "hashlib._Hash", number: int, at: int, begin: int, end: int) -> None:
    """Hash bytes `begin` … `end` of a file through a map of them alone, from `at` on; nothing stays mapped."""
    if end > begin:
        mapped = mmap(number, end - at, flags=MAP_PRIVATE, prot=PROT_READ, offset=at)
        with mapped, memoryview(mapped) as view, view[begin - at :] as part:
            digest.update(part)
