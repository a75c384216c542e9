"""A folder or file is written whole, or it is absent; and the one error of this room."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class PrepareError(Exception):
    """Something that preparing needs is not here; the text says what to type."""


@contextmanager
def made_whole(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to, and put it in place of `path` at the end.

    After an exception or a crash `path` is as it was: the rename comes last.
    """
    beside = path.with_name(path.name + ".part")
    discard(beside)
    beside.parent.mkdir(parents=True, exist_ok=True)
    yield beside
    discard(path)
    os.replace(beside, path)


def discard(path: Path) -> None:
    """Remove `path`, whether it is a folder, a file, a link or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
