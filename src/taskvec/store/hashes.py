"""SHA-256 of files, and where a file's hash is already known."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

CHUNK = 1 << 22


def sha256(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """Return a file's SHA-256."""
    digest = hashlib.sha256()
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while read := file.readinto(buffer):
            digest.update(view[:read])
            if progress:
                progress(read)
    return digest.hexdigest()


def known_hashes(files: list[Path]) -> dict[Path, str]:
    """Return the SHA-256 that each file should have, where something says so.

    A `receipt.json` beside the file, or above its folder, says it (a merge of ours), or the name of the blob that a
    file in the Hugging Face cache links to.
    """
    known = {}
    for path in files:
        stated = _from_receipt(path) or _from_cache_link(path)
        if stated:
            known[path] = stated
    return known


def _from_receipt(path: Path) -> str | None:
    for folder in path.parents[:2]:  # a component of a pipeline lies one deeper
        try:
            data = json.loads((folder / "receipt.json").read_text("utf-8"))
            return str(data["files"][str(path.relative_to(folder))]["sha256"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            continue  # none, or another tool's; it states nothing about this file
    return None


def _from_cache_link(path: Path) -> str | None:
    if not path.is_symlink():
        return None
    name = path.resolve().name
    return name if re.fullmatch(r"[0-9a-f]{64}", name) else None
