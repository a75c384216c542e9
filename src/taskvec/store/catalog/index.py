"""The index of a catalogue: SQLite tables of entries, vectors, sketches, and inner products that were found once.

Everything but the inner products can be found again: from the notes beside it and from the vectors.
"""

import json
import sqlite3
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import FormatError, StoreError
from ...ops.sketch import Hashing
from .entry import Entry
from .measured import Measured
from .place import VERSION, check_version

OURS = int.from_bytes(b"tvct", "big")
"""SQLite's application_id of the index."""

PATIENCE = 60.0
"""Seconds to wait for others who write."""

PAGE = 1 << 16
"""Bytes of a page: a sketch fits one, which makes reading thousands of them several times as fast."""

F64 = npt.NDArray[np.float64]

TABLES = """
create table vectors (
    sha text primary key, space text not null, base text not null, dtype text not null, count integer not null,
    size integer not null, norm real not null, energies text not null
) strict;
create table sketches (sha text primary key, sketch blob not null) strict;
create table entries (
    name text primary key, sha text not null, base_name text not null, tags text not null, metrics text not null,
    licence text not null, lineage text not null, lost real not null, created text not null
) strict;
create table products (one text not null, other text not null, by_tensor blob not null, primary key (one, other))
    strict, without rowid;
"""

COLUMNS = (
    "e.name, e.sha, v.space, v.base, e.base_name, v.dtype, v.count, v.size, v.norm, e.tags, e.metrics, e.licence, "
    "e.lineage, e.lost, e.created"
)


@dataclass(frozen=True)
class Index:
    """The file."""

    path: Path

    def make(self, hashing: Hashing) -> None:
        """Write an empty index."""
        with self._connected() as db:
            db.execute(f"pragma page_size = {PAGE}")
            db.executescript(f"begin;\n{TABLES}\npragma application_id = {OURS};\npragma user_version = {VERSION};\n"
                             "commit;")  # fmt: skip
            put_hashing(db, hashing)

    def whole(self) -> bool:
        """Tell whether there is an index that can be read.

        Raises:
            FormatError: it is of a newer version.
        """
        if not self.path.is_file() or not _as_long_as_it_says(self.path):
            return False
        try:
            with self._connected() as db:
                ours = bool(db.execute("pragma application_id").fetchone()[0] == OURS)
                version = int(db.execute("pragma user_version").fetchone()[0])
                if ours:
                    check_version(self.path.parent, version)
                tables = {name for (name,) in db.execute("select name from sqlite_master where type = 'table'")}
        except sqlite3.OperationalError as exc:
            raise StoreError(f"{self.path} cannot be used: {exc}.") from exc
        except sqlite3.DatabaseError:
            return False
        return ours and {"vectors", "sketches", "entries", "products"} <= tables

    def hashing(self) -> Hashing | None:
        """Return how the sketches are made, where there is an index that can be read and says so."""
        if not self.whole():
            return None
        with self.read() as db:
            if not db.execute("select 1 from sqlite_master where name = 'hashing'").fetchone():
                return None
            row = db.execute("select seed, width from hashing").fetchone()
        return Hashing(int(row[0]), int(row[1])) if row else None

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection.

        Raises:
            FormatError: the index is damaged.
            StoreError: it cannot be read, or others hold it for too long.
        """
        try:
            with self._connected() as db:
                yield db
        except sqlite3.OperationalError as exc:
            raise StoreError(f"{self.path} cannot be used: {exc}.") from exc
        except sqlite3.DatabaseError as exc:
            raise FormatError(
                f"{self.path} is damaged ({exc}). Type: taskvec catalog rebuild -C {self.path.parent}."
            ) from exc

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection within a transaction that others wait for: all of it happens, or nothing.

        Raises:
            FormatError: the index is damaged.
            StoreError: it cannot be written, or others hold it for too long.
        """
        with self.read() as db:
            db.execute("begin immediate")
            try:
                yield db
            except BaseException:
                db.execute("rollback")
                raise
            db.execute("commit")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
        try:
            yield db
        finally:
            db.close()


def _as_long_as_it_says(path: Path) -> bool:
    """Tell whether a file is not shorter than the header of SQLite says; one with a journal is SQLite's to mend."""
    if path.with_name(f"{path.name}-journal").exists():
        return True
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
        return False
    (page,), (pages,) = struct.unpack(">H", header[16:18]), struct.unpack(">I", header[28:32])
    return bool(path.stat().st_size >= (65536 if page == 1 else page) * pages)


def put_hashing(db: sqlite3.Connection, hashing: Hashing) -> None:
    """Enter how sketches are made, unless it is there: the folder's own file that says so may be lost."""
    db.execute("create table if not exists hashing (seed text primary key, width integer not null) strict")
    db.execute("insert or ignore into hashing values (?, ?)", (str(hashing.seed), hashing.width))


def put_vector(db: sqlite3.Connection, measured: Measured, space: str, base: str, dtype: str, size: int) -> None:
    """Enter a vector and its sketch, unless they are there."""
    energies = json.dumps(dict(sorted(measured.energies.items())))
    db.execute(
        "insert or ignore into vectors values (?, ?, ?, ?, ?, ?, ?, ?)",
        (measured.sha, space, base, dtype, measured.count, size, measured.norm, energies),
    )
    sketch = np.ascontiguousarray(measured.sketch, "<f4").tobytes()
    db.execute("insert or ignore into sketches values (?, ?)", (measured.sha, sketch))


def put_entry(db: sqlite3.Connection, facts: Mapping[str, Any]) -> None:
    """Enter what a note says, in place of what an entry of that name said."""
    row = [facts["name"], facts["sha"], facts["base_name"], json.dumps(list(facts["tags"])),
           json.dumps(dict(facts["metrics"])), facts["licence"], json.dumps(dict(facts["lineage"])),
           float(facts["lost"]), facts["created"]]  # fmt: skip
    db.execute("insert or replace into entries values (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


def entries_of(db: sqlite3.Connection, where: str = "", values: Sequence[object] = ()) -> list[Entry]:
    """Return entries by name."""
    rows = db.execute(
        f"select {COLUMNS} from entries e join vectors v on v.sha = e.sha {where} order by e.name", values
    )
    return [_entry(*row) for row in rows]


def _entry(*row: Any) -> Entry:
    name, sha, space, base, base_name, dtype, count, size, norm, tags, metrics, licence, lineage, lost, created = row
    return Entry(name, sha, space, base, base_name, dtype, count, size, norm, tuple(json.loads(tags)),
                 json.loads(metrics), licence, json.loads(lineage), lost, created)  # fmt: skip


def entry_of(db: sqlite3.Connection, name: str) -> Entry | None:
    """Return the entry of that name, if there is one."""
    return next(iter(entries_of(db, "where e.name = ?", (name,))), None)


def names_of(db: sqlite3.Connection, sha: str) -> list[str]:
    """Return the names of the entries that have a vector."""
    return [name for (name,) in db.execute("select name from entries where sha = ? order by name", (sha,))]


def forget_products(db: sqlite3.Connection, sha: str) -> None:
    """Forget the inner products of a vector, which its file may have been damaged for."""
    db.execute("delete from products where one = ? or other = ?", (sha, sha))


def energies_of(db: sqlite3.Connection, sha: str) -> dict[str, float]:
    """Return Σ x² of each tensor of a vector."""
    return dict(json.loads(db.execute("select energies from vectors where sha = ?", (sha,)).fetchone()[0]))


def sketch_rows(
    db: sqlite3.Connection, shas: Sequence[str], width: int, folder: Path, some: int = 512
) -> Iterator[tuple[Sequence[str], npt.NDArray[np.float32]]]:
    """Yield sketches, some at a time.

    Raises:
        FormatError: one is missing, or of another width.
    """
    for at in range(0, len(shas), some):
        part = shas[at : at + some]
        marks = ", ".join("?" * len(part))
        found = dict(db.execute(f"select sha, sketch from sketches where sha in ({marks})", part).fetchall())
        if any(len(found.get(sha, b"")) != 4 * width for sha in part):
            raise FormatError(
                f"the index of {folder} lacks sketches of width {width}. Type: taskvec catalog rebuild -C {folder}."
            )
        yield part, np.frombuffer(b"".join(found[sha] for sha in part), "<f4").reshape(len(part), width)


def known_products(
    db: sqlite3.Connection, pairs: Sequence[tuple[str, str]], tensors: int
) -> dict[tuple[str, str], F64]:
    """Return what is known of the inner products of pairs of vectors, by tensor in order of name."""
    out = {}
    for one, other in pairs:
        row = db.execute("select by_tensor from products where one = ? and other = ?", (one, other)).fetchone()
        if row and len(row[0]) == 8 * tensors:
            out[one, other] = np.frombuffer(row[0], "<f8")
    return out


def put_products(db: sqlite3.Connection, found: Mapping[tuple[str, str], F64]) -> None:
    """Keep inner products, by tensor in order of name."""
    rows = [(one, other, np.ascontiguousarray(x, "<f8").tobytes()) for (one, other), x in found.items()]
    db.executemany("insert or replace into products values (?, ?, ?)", rows)
