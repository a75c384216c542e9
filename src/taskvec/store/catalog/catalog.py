"""A catalogue of task vectors: a folder with an index, vectors stored by their content, and a note an entry."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace as changed
from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import combinations_with_replacement
from math import prod
from pathlib import Path
from sqlite3 import Connection
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from ...errors import MismatchError, RecipeError
from ...ops.sketch import Hashing
from ...progress import Progress, Silent
from ..adapter import open_model
from ..catalogued import MARKER, catalogued, folder_and_name
from ..dtypes import BITS, NAMES
from ..taskvector import TaskVector, check_base
from ..writer import sync_folder, write_whole
from . import rebuilt, search
from .entry import Entry, checked_metrics, checked_tags
from .found import Findings
from .index import Index, energies_of, entries_of, entry_of, forget_products, put_entry, put_hashing, put_vector
from .known import checked_products, load, products_of
from .measured import Measured, write
from .opening import STORED, Opened, check_related, open_source
from .place import TAGGED, Place, check_name

F64 = npt.NDArray[np.float64]
Told = Callable[[int], None]


class Catalog:
    """Task vectors by name, each stored once, found by what they are like.

    Any number of processes may read and write at a time. What `add` has returned is on the disk; an `add` that is
    killed leaves nothing but a file that `gc` removes. An index that is damaged or missing is made anew from the
    vectors; `notes` says so.
    """

    def __init__(
        self,
        folder: str | Path,
        create: bool = False,
        *,
        hashing: Hashing | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Open a catalogue, or with `create` make one where there is none; `hashing` is then how it sketches.

        Raises:
            StoreError: nothing there.
            FormatError: not a catalogue, or one of a newer version.
        """
        self.folder = Path(folder)
        self.place = Place(self.folder)
        self.progress = progress or Silent()
        self.notes: list[str] = []
        self.index = Index(self.place.index)
        self._mark_anew()
        if create:
            self.place.make(hashing or Hashing())
        self.hashing = self.place.read()
        if not self.index.whole():
            self._mend()

    def _mark_anew(self) -> None:
        """Write the file that makes the folder a catalogue, where it was lost and the index knows what it said."""
        marker = self.folder / MARKER
        if marker.exists() or not self.place.writable or (hashing := self.index.hashing()) is None:
            return
        with self.place.held(alone=True):
            if not marker.exists():
                self.place.mark(hashing)
                self.notes.append(f"{marker} was missing, and was made anew from {self.place.index}.")

    def _mend(self) -> None:
        with self.place.held(alone=True):
            if self.index.whole():
                return
            was = "was damaged" if self.place.index.exists() else "was missing"
            found = self._rebuild()
        if found.vectors or found.lost:
            self.notes += [f"{self.place.index} {was}, and was made anew from {found.vectors} vectors.", *found.lost]

    def add(
        self,
        source: TaskVector | str | Path,
        *,
        base: str | Path | None = None,
        name: str | None = None,
        tags: Iterable[str] = (),
        metrics: Mapping[str, float] | None = None,
        licence: str | None = None,
        base_name: str | None = None,
        dtype: str | None = None,
        replace: bool = False,
        allow: Sequence[str] = (),
    ) -> Entry:
        """Add a vector: streamed once, slice by slice, into the store; there whole or not at all.

        Args:
            source: a task vector; the path of a saved one, of a fine-tuned model, an adapter, 'x.pack#task', or
                'catalogue#name'.
            base: the model it was made from; not needed for a task vector.
            name: what it is called; by default what its file or folder is.
            tags: words to choose entries by.
            metrics: numbers to remember, such as an accuracy.
            licence: by default what the model card says.
            base_name: what the base is called; by default its folder's name.
            dtype: what it is stored as, float32 or bfloat16; by default what a saved one is, else float32.
            replace: an entry of that name is replaced.
            allow: 'unrelated' takes a model that does not look like a fine-tune of the base.

        Raises:
            RecipeError: a name that is taken, a vector of zeros, a model without a base.
            MismatchError: a vector of another base, or a model that is no relative of its base.
            NumbersError: NaN or Inf.
            StoreError: what cannot be read or written.
        """
        opened = open_any(source, base)
        name = name if name is not None else opened.name
        check_name(name)
        tags, metrics = checked_tags(tags), checked_metrics(metrics or {})
        dtype = dtype or opened.dtype
        if dtype not in STORED.values():
            raise RecipeError(f"a vector is stored as {', '.join(STORED.values())}, not as {dtype!r}.")
        check_related(opened, allow)
        with self.place.held():
            self._check_free(name, replace)
            measured, size = self._store(opened, name, dtype)
            entry = _entry_of(opened, measured, name, dtype, size)
            entry = changed(
                entry,
                tags=tags,
                metrics=metrics,
                base_name=base_name or entry.base_name,
                licence=entry.licence if licence is None else licence,
            )
            self._enter(entry, measured, replace)
        return self.entry(name)

    def _check_free(self, name: str, replace: bool) -> None:
        if not replace and name in self:
            raise RecipeError(
                f"{self.folder} has an entry '{name}' already. Type another --name, or --force to replace it."
            )

    def _store(self, opened: Opened, name: str, dtype: str) -> tuple[Measured, int]:
        """Write a vector beside the others, and give it its name once its hash is known."""
        beside = self.place.vectors / f"adding-{uuid4().hex}.safetensors"
        total = sum(map(prod, opened.vector.shapes.values())) * BITS[NAMES[dtype]].itemsize
        try:
            with self._shown(f"adding {name}", total) as told:
                measured = write(opened.vector, beside, dtype, self.hashing, name, told)
            size = beside.stat().st_size
            os.replace(beside, self.place.vector(measured.sha))
            sync_folder(self.place.vectors)
        finally:
            beside.unlink(missing_ok=True)
            beside.with_name(beside.name + ".partial").unlink(missing_ok=True)
        return measured, size

    def _enter(self, entry: Entry, measured: Measured, replace: bool) -> None:
        with self.index.change() as db:
            if not replace and db.execute("select 1 from entries where name = ?", (entry.name,)).fetchone():
                raise RecipeError(f"another process has added '{entry.name}' to {self.folder} meanwhile. Name it anew.")
            put_hashing(db, self.hashing)
            forget_products(db, measured.sha)  # found, perhaps, from a file of it that was damaged
            put_vector(db, measured, entry.space, entry.base, entry.dtype, entry.size)
            self._note(db, entry)

    def _note(self, db: Connection, entry: Entry) -> None:
        """Write an entry into the index and its note beside it, before the transaction ends."""
        put_entry(db, entry.facts)
        write_whole(self.place.note(entry.name), entry.note)
        sync_folder(self.place.entries)

    def edit(
        self,
        name: str,
        *,
        tags: Iterable[str] = (),
        untag: Iterable[str] = (),
        metrics: Mapping[str, float] | None = None,
        licence: str | None = None,
    ) -> Entry:
        """Add tags to an entry, take others off, give metrics other values, or give it another licence.

        Raises:
            RecipeError: no such entry, or a tag to take off that it has not.
        """
        added, off, numbers = checked_tags(tags), checked_tags(untag), checked_metrics(metrics or {})
        with self.place.held(), self.index.change() as db:
            was = self._in(db, name)
            if absent := sorted(set(off) - set(was.tags)):
                raise RecipeError(f"'{name}' has no tag '{absent[0]}'. It has: {' '.join(was.tags) or 'none'}.")
            entry = changed(
                was,
                tags=tuple(sorted({*was.tags, *added} - set(off))),
                metrics=dict(sorted({**was.metrics, **numbers}.items())),
                licence=was.licence if licence is None else licence,
            )
            self._note(db, entry)
        return entry

    def entries(self, *, tags: Iterable[str] = (), space: str | None = None, base: str | None = None) -> list[Entry]:
        """Return the entries that carry all of some tags, by name.

        Args:
            tags: words.
            space: only of this space.
            base: only of the base with this fingerprint or name.
        """
        wanted = set(checked_tags(tags))
        with self.index.read() as db:
            found = entries_of(db)
        return [
            entry
            for entry in found
            if wanted <= set(entry.tags)
            and space in (None, entry.space)
            and base in (None, entry.base, entry.base_name)
        ]

    def entry(self, name: str) -> Entry:
        """Return the entry of that name.

        Raises:
            RecipeError: there is none.
        """
        with self.index.read() as db:
            return self._in(db, name)

    def _in(self, db: Connection, name: str) -> Entry:
        if entry := entry_of(db, name):
            return entry
        near = get_close_matches(name, [entry.name for entry in entries_of(db)], 1)
        hint = f"Did you mean '{near[0]}'?" if near else f"Type: taskvec catalog list -C {self.folder}."
        raise RecipeError(f"{self.folder} has no entry '{name}'. {hint}")

    def __len__(self) -> int:
        return len(self.entries())

    def __contains__(self, name: object) -> bool:
        with self.index.read() as db:
            return entry_of(db, str(name)) is not None

    def path(self, name: str) -> Path:
        """Return the file that an entry's vector lies in."""
        return self.place.vector(self.entry(name).sha)

    def vector(self, name: str) -> TaskVector:
        """Return an entry's vector; tensors are read when asked for.

        Raises:
            RecipeError: no such entry.
            StoreError: its file is gone.
        """
        loaded = load(self, self.entry(name).sha)
        return TaskVector(loaded.base, loaded.terms, (name,))

    def norms(self, name: str) -> dict[str, float]:
        """Return the norm of each tensor of an entry's vector."""
        sha = self.entry(name).sha
        with self.index.read() as db:
            return {tensor: math.sqrt(x) for tensor, x in energies_of(db, sha).items()}

    def gram(self, names: Sequence[str]) -> F64:
        """Return the inner products K_ij = ⟨τ_i, τ_j⟩ of catalogued vectors.

        Exact; each pair is computed once, in one pass over the vectors it takes, and kept in the index.

        Raises:
            RecipeError: no such entry.
            MismatchError: vectors of different bases or spaces.
            FormatError: a vector is damaged.
        """
        out = np.empty((len(names), len(names)))
        for (i, j), by_tensor in self._pairs(names).items():
            out[i, j] = out[j, i] = math.fsum(by_tensor)
        return out

    def grams(self, names: Sequence[str]) -> dict[str, F64]:
        """Return the inner products of catalogued vectors within each tensor; see `gram`.

        Shape: tensor → (task, task).
        """
        pairs = self._pairs(names)
        tensors = sorted(self.vector(names[0]).shapes) if names else []
        out = {tensor: np.empty((len(names), len(names))) for tensor in tensors}
        for (i, j), by_tensor in pairs.items():
            for tensor, inner in zip(tensors, by_tensor, strict=True):
                out[tensor][i, j] = out[tensor][j, i] = inner
        return out

    def _pairs(self, names: Sequence[str]) -> dict[tuple[int, int], F64]:
        entries = self._of_one_base(names)
        if not entries:
            return {}
        places = list(combinations_with_replacement(range(len(entries)), 2))
        of = {place: (entries[place[0]].sha, entries[place[1]].sha) for place in places}
        with self._shown("reading vectors", entries[0].count, "entries") as told:
            found = products_of(self, list(of.values()), told)
        return {place: found[pair] for place, pair in of.items()}

    def _of_one_base(self, names: Sequence[str]) -> list[Entry]:
        with self.index.read() as db:
            entries = [self._in(db, name) for name in names]
        for other in entries[1:]:
            if (other.base, other.space) != (entries[0].base, entries[0].space):
                raise MismatchError(
                    f"'{other.name}' belongs to the base {other.base_name or other.base}, '{entries[0].name}' to "
                    f"{entries[0].base_name or entries[0].base}; vectors of different bases have no inner product."
                )
        return entries

    def products(self, target: TaskVector | str, names: Sequence[str]) -> dict[str, F64]:
        """Return ⟨target, τ_i⟩ within each tensor, from one pass over the target and the vectors.

        Args:
            target: a vector, or the name of an entry, whose inner products are kept.
            names: of entries.

        Shape: tensor → (task,).

        Raises:
            MismatchError: vectors of different bases or spaces.
            FormatError: an entry's vector is damaged.
        """
        if not isinstance(target, TaskVector):
            first, *entries = self._of_one_base([target, *names])
            with self._shown("reading vectors", first.count, "entries") as told:
                found = products_of(self, [(first.sha, e.sha) for e in (first, *entries)], told)
            tensors = sorted(self.vector(target).shapes)
            return {t: np.array([found[first.sha, e.sha][k] for e in entries]) for k, t in enumerate(tensors)}
        vectors = [target, *(self.vector(name) for name in names)]
        with self._shown("reading vectors", sum(map(prod, target.shapes.values())), "entries") as told:
            shas = ["", *(self.entry(name).sha for name in names)]
            return checked_products(self, vectors, shas, [(0, i) for i in range(1, len(vectors))], told)

    def find(
        self,
        target: TaskVector | str | Path,
        *,
        base: str | Path | None = None,
        top: int = 10,
        exact: bool = True,
        tags: Iterable[str] = (),
    ) -> Findings:
        """Return the entries whose vectors have the largest cosines with a target.

        All are ranked by their sketches; the cosines of the first `top` are then computed exactly, in one pass over
        them and the target. Entries of another base or space are not compared, and counted.

        Args:
            target: a vector, the name of an entry (which is not found itself), 'tag:WORD' for the mean direction of
                the entries that carry it, or what `add` takes.
            base: of a target that is a model.
            top: how many.
            exact: without, cosines are the sketches' estimates, and `Found.error` how far off they may be.
            tags: only entries that carry all of these.

        Raises:
            RecipeError: no such entry or tag, or a target of zeros.
            FormatError: a vector whose cosine is computed exactly is damaged.
        """
        if top < 1:
            raise RecipeError(f"'top' must be at least 1, got {top}.")
        aim = self._target(target, base)
        with self._shown("reading vectors", sum(map(prod, aim.vector.shapes.values())), "entries") as told:
            return search.search(self, aim, top, exact, checked_tags(tags), told)

    def _target(self, target: TaskVector | str | Path, base: str | Path | None) -> search.Target:
        text = "" if isinstance(target, TaskVector) else str(target)
        if text.startswith(TAGGED):
            return search.of_tag(self, text.removeprefix(TAGGED))
        if text and not catalogued(text) and (text in self or (base is None and not Path(text).exists())):
            return search.of_entry(self, self.entry(text))
        vector = open_any(target, base).vector
        with self._shown("reading the target", sum(map(prod, vector.shapes.values())), "entries") as told:
            return search.of_vector(self, vector, told)

    def remove(self, name: str) -> Entry:
        """Take an entry out; `gc` then removes its vector from the disk, if no other entry has it."""
        with self.place.held(), self.index.change() as db:
            entry = self._in(db, name)
            db.execute("delete from entries where name = ?", (name,))
            self.place.note(name).unlink(missing_ok=True)
        return entry

    def gc(self, *, lost: bool = False) -> rebuilt.Collected:
        """Remove vectors that no entry has, and what interrupted adds left.

        Args:
            lost: also the notes that a rebuild could not enter, as their vectors are lost or they are damaged.

        Raises:
            StoreError: another process adds to the catalogue or changes it.
        """
        with self.place.held(alone=True, wait=False):
            return rebuilt.collect(self.place, self.index, self.hashing, lost)

    def rebuild(self) -> rebuilt.Rebuilt:
        """Read every vector, compare it with its hash, and make the index anew from the vectors and the notes."""
        with self.place.held(alone=True):
            return self._rebuild()

    def _rebuild(self) -> rebuilt.Rebuilt:
        with self._shown("reading vectors", rebuilt.stored_bytes(self.place)) as told:
            return rebuilt.rebuild(self.place, self.hashing, told)

    @contextmanager
    def _shown(self, what: str, total: int, unit: str = "B") -> Iterator[Told]:
        self.progress.begin(what, total, unit)
        try:
            yield self.progress.advance
        finally:
            self.progress.end()

    def __repr__(self) -> str:
        return f"Catalog({str(self.folder)!r}, {len(self)} entries)"


def open_any(source: TaskVector | str | Path, base: str | Path | None) -> Opened:
    """Open what `open_source` does, or an entry of any catalogue, 'folder#name', with what is known of it.

    Raises:
        RecipeError: no such entry, or a model without a base.
        StoreError: what cannot be read, or does not belong to the base.
    """
    if isinstance(source, TaskVector) or not catalogued(source):
        return open_source(source, base)
    folder, name = folder_and_name(source)
    other = Catalog(folder)
    entry, vector = other.entry(name), other.vector(name)
    if base is not None:
        check_base(vector.base, open_model(base), str(source))
    return Opened(vector, name, entry.base_name, entry.dtype, entry.licence, entry.lineage)


def _entry_of(opened: Opened, measured: Measured, name: str, dtype: str, size: int) -> Entry:
    """Return an entry by what was found of a vector."""
    return Entry(
        name=name,
        sha=measured.sha,
        space=opened.vector.space,
        base=opened.vector.base,
        base_name=opened.base_name,
        dtype=dtype,
        count=measured.count,
        size=size,
        norm=measured.norm,
        licence=opened.licence,
        lineage=opened.lineage,
        lost=measured.lost,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
