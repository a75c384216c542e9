"""The index, made anew from the vectors and the notes beside it; and what nobody refers to, removed."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection

from ...errors import FormatError, NumbersError, RecipeError, StoreError
from ...ops.sketch import Hashing
from ..dtypes import LONG_NAMES
from ..taskvector import TaskVector
from ..writer import sync_folder, write_whole
from .entry import read_note
from .index import Index, entries_of, put_entry, put_vector
from .measured import measure
from .place import Place


@dataclass(frozen=True)
class Rebuilt:
    """What was found.

    entries, vectors: how many the index has. lost: a sentence for each entry or vector that it cannot have.
    """

    entries: int
    vectors: int
    lost: tuple[str, ...]


@dataclass(frozen=True)
class Collected:
    """What was removed: files, and their bytes; and the names of notes that were kept though their vector is lost."""

    files: tuple[str, ...]
    size: int
    kept: tuple[str, ...] = ()


def rebuild(place: Place, hashing: Hashing, told: Callable[[int], None]) -> Rebuilt:
    """Read every vector, compare it with its hash, and write the index anew. The catalogue is held alone."""
    beside = Index(place.index.with_name("index.rebuilt.sqlite"))
    beside.path.unlink(missing_ok=True)
    beside.make(hashing)
    lost: list[str] = []
    with beside.change() as db:
        whole = _enter_vectors(db, place, hashing, told, lost)
        kept = _enter_notes(db, place, whole, lost)
    _replace(place, beside.path)
    return Rebuilt(kept, len(whole), tuple(lost))


def _enter_vectors(
    db: Connection, place: Place, hashing: Hashing, told: Callable[[int], None], lost: list[str]
) -> set[str]:
    """Enter the vectors that are what their names say, and return their hashes."""
    whole, before = set(), 0
    for path in _vectors(place):
        try:
            vector = TaskVector.load(path)
            measured = measure(vector, hashing, path.name, lambda done, before=before: told(before + done))  # type: ignore[misc]
            if measured.sha != path.stem:
                raise FormatError(f"{path} is damaged: its content is not what its name says.")
        except (StoreError, NumbersError, RecipeError) as exc:
            lost.append(str(exc))
            continue
        size = path.stat().st_size
        before += size
        whole.add(measured.sha)
        put_vector(db, measured, vector.space, vector.base, LONG_NAMES[measured.code], size)
        vector.terms[0][1].checkpoint.close()
    return whole


def _enter_notes(db: Connection, place: Place, whole: set[str], lost: list[str]) -> int:
    """Enter the entries whose vectors are there, and return how many."""
    kept = 0
    for note in sorted(place.entries.glob("*.json")):
        try:
            facts = read_note(note.read_text("utf-8"), str(note))
        except (FormatError, RecipeError, UnicodeDecodeError) as exc:
            lost.append(str(exc))
            continue
        if facts["sha"] not in whole:
            lost.append(
                f"'{facts['name']}' is lost: its vector {facts['sha'][:12]}… is not there, or damaged. Its note is "
                f"kept: add the vector again, by any --name, and rebuild."
            )
            continue
        put_entry(db, facts)
        kept += 1
    return kept


def _vectors(place: Place) -> list[Path]:
    return sorted(path for path in place.vectors.glob("*.safetensors") if len(path.stem) == 64)


def stored_bytes(place: Place) -> int:
    """Return the bytes that a rebuild reads."""
    return sum(path.stat().st_size for path in _vectors(place))


def _replace(place: Place, beside: Path) -> None:
    """Put the new index in the old one's place; the old one's journal would be taken for its own."""
    for ending in ("-journal", "-wal", "-shm"):
        place.index.with_name(place.index.name + ending).unlink(missing_ok=True)
    os.replace(beside, place.index)
    sync_folder(place.folder)


def collect(place: Place, index: Index, hashing: Hashing, lost: bool) -> Collected:
    """Remove what no entry refers to, and make the notes those of the index; the catalogue is held alone.

    A note whose vector is lost stays, unless `lost` says so: with its vector it makes the entry anew.
    """
    with index.change() as db:
        entries = {entry.name: entry for entry in entries_of(db)}
        live = {entry.sha for entry in entries.values()}
        for name, entry in entries.items():
            note = place.note(name)
            if not note.is_file() or note.read_text("utf-8", "replace") != entry.note:
                write_whole(note, entry.note)
        notes = {place.note(name).name for name in entries}
        dead = [path for path in place.entries.iterdir() if path.is_file() and path.name not in notes]
        kept = [] if lost else [path for path in dead if _is_of_the_lost(path, place, live, hashing)]
        marks = ", ".join("?" * len(live))
        for table, column in (("vectors", "sha"), ("sketches", "sha"), ("products", "one"), ("products", "other")):
            db.execute(f"delete from {table} where {column} not in ({marks})", list(live))
    dead = [path for path in dead if path not in kept]
    vectors = {place.vector(sha).name for sha in live}
    dead += [path for path in place.vectors.iterdir() if path.is_file() and path.name not in vectors]
    size = sum(path.stat().st_size for path in dead)
    for path in dead:
        path.unlink()
    return Collected(tuple(sorted(path.name for path in dead)), size, tuple(sorted(path.stem for path in kept)))


def _is_of_the_lost(note: Path, place: Place, live: set[str], hashing: Hashing) -> bool:
    """Tell a note whose vector was lost, or that was damaged itself, from what an interrupted add left.

    An add writes the note after its whole vector, so then that is there.
    """
    if note.suffix != ".json":
        return False
    try:
        sha = read_note(note.read_text("utf-8"), str(note))["sha"]
        return sha not in live and not _is_whole(place.vector(sha), hashing)
    except (FormatError, RecipeError, UnicodeDecodeError):
        return True


def _is_whole(path: Path, hashing: Hashing) -> bool:
    """Tell whether a vector is there, and what its name says."""
    try:
        return measure(TaskVector.load(path), hashing, path.name, lambda done: None).sha == path.stem
    except (StoreError, NumbersError, RecipeError):
        return False
