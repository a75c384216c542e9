"""What is kept between runs: whole or absent, and only while what determined it is unchanged."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NOTE = ".demo.json"
"""Beside the files that are kept: the key they were made under, and what was noted about the making."""


def key_of(**parts: Any) -> str:
    """Return a hash of everything named; anything that JSON can write may be a part.

    >>> key_of(seed=0) == key_of(seed=0), key_of(seed=0) == key_of(seed=1)
    (True, False)
    """
    written = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(written.encode()).hexdigest()[:16]


def source_of(*files: str) -> str:
    """Return a hash of files of the demo, so that a changed training loop does not find old models."""
    here = Path(__file__).parent
    return hashlib.sha256(b"".join((here / file).read_bytes() for file in files)).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Return what `write_json` wrote, or an empty dict where there is nothing or it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_text(path: Path, text: str) -> None:
    """Write `path` beside its place and rename it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` to `path`, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def note_of(folder: Path, key: str) -> dict[str, Any] | None:
    """Return what was noted when `folder` was made under `key`, or None if it was not."""
    note = read_json(folder / NOTE)
    return note if note.get("key") == key and note.get("files") == _sizes(folder) else None


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.name != NOTE}


@contextmanager
def made_whole(folder: Path, key: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Give an empty folder to fill and a note to write in; put both in place of `folder` at the end.

    After an exception or a crash, `folder` is as it was: the rename comes last.
    """
    beside = folder.with_name(folder.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    note: dict[str, Any] = {"key": key}
    yield beside, note
    note["files"] = _sizes(beside)
    write_json(beside / NOTE, note)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(beside, folder)
