"""What is done, written down after it is safe, so that an interrupted run continues where it was."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from ..errors import OutputError

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
            self._lock()
            if self.resumed:
                self._read(digest)
            if not self.resumed:
                self._append([{"plan": digest}])
        except BaseException:
            self.close()
            raise

    def _lock(self) -> None:
        """Hold the journal against a second run into the same output; the system lets go when this process ends."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise OutputError(
                f"{self.path.parent} is being written by another run. Wait for it, or choose another output folder."
            ) from exc
        except OSError:
            return  # a file system without locks

    def _read(self, digest: str) -> None:
        lines: list[dict[str, Any]] = []
        size = 0
        for text in self.path.read_bytes().splitlines(keepends=True):
            try:
                line = json.loads(text) if text.endswith(b"\n") else None
            except ValueError:
                line = None
            if not isinstance(line, dict):
                os.truncate(self.path, size)
                break
            lines.append(line)
            size += len(text)
        if not lines:
            self.resumed = False
            return
        if lines[0].get("plan") != digest:
            raise OutputError(
                f"{self.path.parent} holds an unfinished merge of another recipe, or of inputs that have changed. "
                f"Finish that one with its own command, or type --restart to begin anew."
            )
        self.finished = {line["unit"]: line for line in lines[1:]}

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
