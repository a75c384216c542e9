"""Writing tensors at their final place in files that do not look finished until they are."""

import errno
import os
import shutil
from pathlib import Path
from types import TracebackType

import numpy as np

from ..errors import OutputError
from ..ops.floats import Raw
from .layout import Layout, OutFile

PARTIAL = ".partial"


class ShardWriter:
    """Preallocated files of a layout, written at any offset by any thread, and named only when whole.

    Until `finish`, each file carries the ending `.partial`. Leaving the `with` after an error leaves them so.
    """

    def __init__(self, folder: Path, layout: Layout, *, resume: bool = False) -> None:
        """Create (or reopen) the files and claim all the space they will need.

        With `resume`, files that an interrupted `finish` has named already are taken up again; without it, a file of
        that name is another one, which stays until `finish` replaces it.

        Raises:
            OutputError: the disk is full, or the folder cannot be written.
        """
        self.folder = folder
        self.layout = layout
        self._file_of = {t.name: f for f in layout.files for t in f.tensors}
        self._fds: dict[str, int] = {}
        try:
            for file in layout.files:
                if resume and (folder / file.name).exists():
                    os.replace(folder / file.name, self.path(file))
                self._fds[file.name] = self._open(file)
        except BaseException:
            self.close()
            raise

    def path(self, file: OutFile) -> Path:
        """Return where a file lies while it is written."""
        return self.folder / (file.name + PARTIAL)

    def _open(self, file: OutFile) -> int:
        path = self.path(file)
        try:
            path.parent.mkdir(exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as exc:
            raise output_error(path, exc) from exc
        try:
            os.ftruncate(fd, min(os.fstat(fd).st_size, file.nbytes))  # what an earlier run left may be longer
            os.posix_fallocate(fd, 0, file.nbytes)
            os.pwrite(fd, file.header, 0)
        except OSError as exc:
            os.close(fd)
            if exc.errno == errno.EFBIG:
                raise OutputError(
                    f"{path} may not grow to {file.nbytes} bytes here. Type a smaller shard size."
                ) from exc
            raise output_error(path, exc) from exc
        return fd

    def write(self, name: str, start: int, raw: Raw) -> None:
        """Write entries of a tensor, from entry `start` on."""
        file = self._file_of[name]
        data = np.ascontiguousarray(raw).view(np.uint8).data
        at = file.begins[name] + start * raw.itemsize
        try:
            while data:
                done = os.pwrite(self._fds[file.name], data, at)
                data, at = data[done:], at + done
        except OSError as exc:
            raise output_error(self.path(file), exc) from exc

    def sync(self) -> None:
        """Return when everything written so far is on the disk."""
        for name, fd in self._fds.items():
            try:
                os.fdatasync(fd)
            except OSError as exc:
                raise output_error(self.folder / (name + PARTIAL), exc) from exc

    def finish(self) -> None:
        """Make everything durable and give the files their names."""
        self.sync()
        self.close()
        for file in self.layout.files:
            os.replace(self.path(file), self.folder / file.name)
        for folder in {self.path(file).parent for file in self.layout.files} - {self.folder}:
            sync_folder(folder)

    def close(self) -> None:
        """Close the files, finished or not."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def output_error(path: Path, exc: OSError) -> OutputError:
    """Return what to say when the system refuses to write a file."""
    reason = "the disk is full" if exc.errno in (errno.ENOSPC, errno.EDQUOT) else exc.strerror
    return OutputError(f"{path.parent} cannot be written: {reason}. Make room or choose another output folder.")


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are on the disk."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def put_in_place(staging: Path, out: Path) -> None:
    """Rename the finished folder; an output it replaces is moved aside first and removed last."""
    old = out.parent / f".{out.name}.replaced"
    _remove(old)
    if out.exists():
        os.rename(out, old)
    try:
        os.rename(staging, out)
    except OSError:
        if os.path.lexists(old):
            os.rename(old, out)
        raise
    sync_folder(out.parent)
    _remove(old)


def _remove(old: Path) -> None:
    """Remove a folder, or a link to one (and not what it points to)."""
    if old.is_symlink():
        old.unlink()
    elif old.exists():
        shutil.rmtree(old)


def room_for(path: Path) -> None:
    """Make the folder of a file that is to be written, before the work whose result it holds.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"{path} cannot be written: {exc.strerror}. Choose another output.") from exc


def write_whole(path: Path, text: str) -> None:
    """Write a small file so that it is there whole or not at all."""
    beside = path.with_name(f".{path.name}{PARTIAL}")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
