"""Opening a file, packed with gzip or not."""

import gzip
import io
import zlib
from pathlib import Path
from typing import BinaryIO

from ...errors import FormatError, StoreError


def opened(path: Path) -> BinaryIO:
    """Open a file for reading; what a `.gz` holds is unpacked in memory.

    Raises:
        StoreError: it does not exist or cannot be read.
        FormatError: it is called .gz and is no whole gzip file.
    """
    try:
        return io.BytesIO(gzip.decompress(path.read_bytes())) if path.suffix == ".gz" else path.open("rb")
    except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
        raise FormatError(f"{path} is no whole gzip file ({exc}). Fetch or pack it again.") from exc
    except FileNotFoundError as exc:
        raise StoreError(f"{path} does not exist.") from exc
    except OSError as exc:
        raise StoreError(f"{path} cannot be read: {exc.strerror}.") from exc


def opened_text(path: Path) -> io.TextIOWrapper:
    """Open a file of UTF-8, with or without a byte order mark; lines keep their own endings."""
    return io.TextIOWrapper(opened(path), encoding="utf-8-sig", newline="")


def bare(path: Path) -> str:
    """Return a file's ending, without the `.gz` around it.

    >>> bare(Path("a/b.tsv.gz")), bare(Path("b.NPZ")), bare(Path("b"))
    ('.tsv', '.npz', '')
    """
    inner = path.with_suffix("") if path.suffix == ".gz" else path
    return inner.suffix.lower()
