"""One writer of an output at a time, also among processes."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputError
from .writer import output_error


@contextmanager
def only_writer(out: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock beside an output; the system lets it go when the process ends, however it ends.

    Args:
        out: the folder or file that will be written.
        wait: wait for who holds it.

    Raises:
        OutputError: another run holds it, unless `wait`; or the place cannot be written.
    """
    path = out.parent / f".{out.name}.lock"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        fd = _held(path, wait)
    except BlockingIOError as exc:
        raise OutputError(f"{out} is being written by another run. Wait for it, or choose another folder.") from exc
    except OSError as exc:
        raise output_error(path, exc) from exc
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(fd)


def _held(path: Path, wait: bool) -> int:
    while True:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _is(path, fd):
                return fd  # else who held it has removed the file, and the name is somebody else's
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _is(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False
