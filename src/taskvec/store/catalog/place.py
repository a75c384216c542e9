"""Where things lie in the folder of a catalogue, who may change it now, and what its entries may be called."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import FormatError, OutputError, RecipeError, StoreError
from ...ops.sketch import Hashing
from ..catalogued import MARKER
from ..writer import output_error, sync_folder, write_whole

INDEX = "index.sqlite"
VERSION = 1

LONGEST = 200
TAGGED = "tag:"


def check_name(name: str) -> None:
    """Refuse what cannot be the name of an entry.

    Raises:
        RecipeError: it holds '/', '#' or control characters, begins with '.' or 'tag:', or is too long.
    """
    odd = not name or set(name) & set("/#\\") or not name.isprintable() or name[0] == "." or name.startswith(TAGGED)
    if odd or len(name.encode()) > LONGEST:
        raise RecipeError(
            f"{name!r} cannot be the name of an entry: it may take {LONGEST} bytes, not hold '/', '\\' or '#', and "
            f"begin neither with '.' nor with '{TAGGED}'. Type another with --name."
        )


@dataclass(frozen=True)
class Place:
    """The folder of a catalogue."""

    folder: Path

    @property
    def index(self) -> Path:
        """The index."""
        return self.folder / INDEX

    @property
    def vectors(self) -> Path:
        """The folder of vectors."""
        return self.folder / "vectors"

    @property
    def entries(self) -> Path:
        """The folder of notes, one an entry."""
        return self.folder / "entries"

    def vector(self, sha: str) -> Path:
        """Return where a vector lies."""
        return self.vectors / f"{sha}.safetensors"

    def note(self, name: str) -> Path:
        """Return where an entry's note lies."""
        return self.entries / f"{name}.json"

    def make(self, hashing: Hashing) -> None:
        """Make an empty catalogue here, unless there is one.

        Raises:
            FormatError: the folder holds other things.
            OutputError: it cannot be written.
        """
        if (self.folder / MARKER).exists():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.held(alone=True):
                if (self.folder / MARKER).exists():
                    return
                if others := self._others():
                    raise FormatError(
                        f"{self.folder} is not a catalogue and not empty (it has '{others[0]}'). "
                        f"Give a folder that does not exist yet."
                    )
                self.vectors.mkdir(exist_ok=True)
                self.entries.mkdir(exist_ok=True)
                self.mark(hashing)
        except StoreError:
            raise
        except OSError as exc:
            raise output_error(self.folder / MARKER, exc) from exc

    def _others(self) -> list[str]:
        """Return what else is here, beside what making a catalogue leaves when it is killed."""
        begun = {self.vectors, self.entries}
        return sorted(
            path.name
            for path in self.folder.iterdir()
            if path.name not in (".lock", f".{MARKER}.partial")
            and not (path in begun and path.is_dir() and not any(path.iterdir()))
        )

    def mark(self, hashing: Hashing) -> None:
        """Write the file by which the folder is a catalogue; it is held alone."""
        facts = {"format": VERSION, "sketch": {"seed": hashing.seed, "width": hashing.width}}
        write_whole(self.folder / MARKER, json.dumps(facts) + "\n")
        sync_folder(self.folder)

    def read(self) -> Hashing:
        """Return how the catalogue's sketches are made.

        Raises:
            StoreError: nothing there.
            FormatError: not a catalogue, a damaged one, or one of a newer version.
        """
        marker = self.folder / MARKER
        if not self.folder.exists():
            raise StoreError(f"{self.folder} does not exist. Make a catalogue: taskvec catalog add -C {self.folder} …")
        if not marker.is_file():
            raise FormatError(
                f"{self.folder} is not a catalogue: it has no {MARKER}. Make one: taskvec catalog add -C FOLDER …"
            )
        try:
            facts: dict[str, Any] = json.loads(marker.read_text("utf-8"))
            check_version(self.folder, int(facts["format"]))
            return Hashing(int(facts["sketch"]["seed"]), int(facts["sketch"]["width"]))
        except StoreError:
            raise
        except (ValueError, KeyError, TypeError) as exc:
            raise FormatError(
                f"{marker} is damaged: a format and a sketch's seed and width were expected ({exc})."
            ) from exc

    @property
    def writable(self) -> bool:
        """Whether this process may change it."""
        return os.access(self.folder, os.W_OK)

    @contextmanager
    def held(self, *, alone: bool = False, wait: bool = True) -> Iterator[None]:
        """Hold the catalogue while it is changed: with others, or alone. The system lets go of it for a killed process.

        Raises:
            StoreError: not to be waited for, and others change it.
            OutputError: the folder cannot be written.
        """
        try:
            lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as exc:
            raise OutputError(f"{self.folder} cannot be written: {exc.strerror}.") from exc
        try:
            self._lock(lock, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
            yield
        finally:
            os.close(lock)

    def _lock(self, lock: int, how: int) -> None:
        try:
            fcntl.flock(lock, how)
        except BlockingIOError as exc:
            raise StoreError(
                f"{self.folder} is being changed by another process. Type it again when that is done."
            ) from exc


def check_version(folder: Path, version: int) -> None:
    """Refuse a catalogue of a newer version.

    Raises:
        FormatError: it is.
    """
    if version > VERSION:
        raise FormatError(
            f"{folder} is a catalogue of version {version}; this taskvec reads up to {VERSION}. Install a newer one."
        )
