"""What is done, written down after it is safe, so that an interrupted run continues where it was."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..store.json_lines import whole_lines

NAME = "journal.jsonl"


class Journal:
    """One JSON line a finished tensor, after a first line that names the plan.

    A line is written only once the tensor's bytes are on the disk. What a power loss tore is dropped.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        """Open the journal in a folder, or begin one.

        Raises:
            OutputError: the folder holds the unfinished work of another plan, or is being written at this moment.
        """
        self.path = folder / NAME
        self.finished: dict[str, dict[str, Any]] = {}
        self.resumed = self.path.exists()
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            _lock(self._fd, folder, fcntl.LOCK_EX)
            if self.resumed:
                self._read(digest)
            if not self.resumed:
                self._append([{"plan": digest}])
        except BaseException:
            self.close()
            raise

    def _read(self, digest: str) -> None:
        lines, size = whole_lines(self.path)
        if size < self.path.stat().st_size:
            os.truncate(self.path, size)
        self.resumed = bool(lines)
        self.finished = _of_plan(lines, digest, self.path.parent)

    def add(self, lines: list[dict[str, Any]]) -> None:
        """Write down finished tensors; their bytes must be on the disk already."""
        self._append(lines)
        self.finished |= {line["unit"]: line for line in lines}

    def _append(self, lines: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(line) + "\n" for line in lines).encode()
        while text:
            text = text[os.write(self._fd, text) :]
        os.fsync(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def finished_in(folder: Path, digest: str) -> int:
    """Return how many tensors an interrupted run of the same plan has finished in a folder; nothing is changed.

    Raises:
        OutputError: see `Journal`.
    """
    path = folder / NAME
    if not path.is_file():
        return 0
    fd = os.open(path, os.O_RDONLY)
    try:
        _lock(fd, folder, fcntl.LOCK_SH)
    finally:
        os.close(fd)
    return len(_of_plan(whole_lines(path)[0], digest, folder))


def _lock(fd: int, folder: Path, how: int) -> None:
    """Hold the journal against a second run into the same output; the system lets go when this process ends."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise OutputError(
            f"{folder} is being written by another run. Wait for it, or choose another output folder."
        ) from exc
    except OSError:
        return  # a file system without locks


def _of_plan(lines: list[dict[str, Any]], digest: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Return the lines of finished tensors by name, if they are this plan's."""
    if lines and lines[0].get("plan") != digest:
        raise OutputError(
            f"{folder} holds an unfinished merge of another recipe, or of inputs that have changed. "
            f"Finish that one with its own command, or type --restart to begin anew."
        )
    return {line["unit"]: line for line in lines[1:]}
