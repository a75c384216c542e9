"""Searching a catalogue: all of it by sketches, then the nearest exactly."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...errors import FormatError, MismatchError, RecipeError
from ...ops.sketch import cosines_from
from ..taskvector import TaskVector
from .entry import Entry
from .found import DEVIATIONS, Findings, Found
from .index import sketch_rows
from .known import checked_products, load, products_of
from .products import sketch_of

if TYPE_CHECKING:
    from .catalog import Catalog

F64 = npt.NDArray[np.float64]
Told = Callable[[int], None] | None

ROUNDING = 1e-6
"""By how much a cosine may be above one."""

CANCELLED = 1e-6
"""A mean of unit vectors that is shorter than this is what rounding left of them."""


@dataclass(frozen=True)
class Target:
    """What is searched for.

    name, sha: of a catalogued vector, else empty. members: hashes of the vectors that it is the mean of.
    """

    vector: TaskVector
    sketch: F64
    norm: float
    name: str = ""
    sha: str = ""
    members: tuple[str, ...] = ()


def of_entry(catalog: "Catalog", entry: Entry) -> Target:
    """Search for what is like an entry."""
    return Target(catalog.vector(entry.name), _sketches(catalog, [entry])[0], entry.norm, entry.name, entry.sha)


def of_vector(catalog: "Catalog", vector: TaskVector, told: Told) -> Target:
    """Search for what is like a vector; it is read once.

    Raises:
        RecipeError: it is zero.
    """
    sketch, norm = sketch_of(vector, catalog.hashing, told)
    if not math.isfinite(norm) or norm == 0:
        what = "zero" if norm == 0 else "not finite"
        raise RecipeError(f"{vector.history[-1]!r} is {what} and has no direction. Give another vector.")
    return Target(vector, sketch, norm)


def of_tag(catalog: "Catalog", tag: str) -> Target:
    """Search for what is like the mean direction of the vectors that carry a tag: Σ τ_i / |τ_i|.

    Raises:
        RecipeError: no entry carries it, or those that do cancel each other.
        MismatchError: vectors of several bases do.
    """
    members = catalog.entries(tags=[tag])
    if not members:
        known = ", ".join(sorted({t for e in catalog.entries() for t in e.tags})) or "none"
        raise RecipeError(f"no entry of {catalog.folder} has the tag '{tag}'. Tags: {known}.")
    if len({(e.base, e.space) for e in members}) > 1:
        raise MismatchError(f"vectors of different bases carry the tag '{tag}'; they have no mean. Give a vector.")
    terms = [catalog.vector(e.name) * (1 / e.norm) for e in members]
    vector = terms[0]
    for term in terms[1:]:
        vector = vector + term
    scaled = [row / e.norm for row, e in zip(_sketches(catalog, members), members, strict=True)]
    sketch = np.stack(scaled).sum(axis=0)
    if np.linalg.norm(sketch) <= CANCELLED * len(members):
        raise RecipeError(
            f"the {len(members)} vectors with the tag '{tag}' cancel each other, so their mean has no direction. "
            f"Search for one of them: {', '.join(e.name for e in members[:3])}."
        )
    return Target(vector, sketch, float(np.linalg.norm(sketch)), members=tuple(dict.fromkeys(e.sha for e in members)))


def _sketches(catalog: "Catalog", entries: Sequence[Entry]) -> F64:
    with catalog.index.read() as db:
        rows = [part for _, part in sketch_rows(db, [e.sha for e in entries], catalog.hashing.width, catalog.folder)]
    return np.concatenate(rows).astype(np.float64)


def search(catalog: "Catalog", target: Target, top: int, exact: bool, tags: Sequence[str], told: Told) -> Findings:
    """Rank the entries that can be compared with the target, all by sketches and the first `top` exactly."""
    asked = [entry for entry in catalog.entries(tags=tags) if entry.name != target.name]
    mine, others = _comparable(target, asked)
    estimates, errors = _estimates(catalog, target, mine)
    order = np.argsort(-estimates, kind="stable")
    first = [mine[i] for i in order[:top]]
    cosines = _exact(catalog, target, first, told) if exact and first else estimates[order[:top]]
    listed = [
        Found(entry, float(c), 0.0 if exact else float(errors[i]), float(estimates[i]))
        for entry, c, i in zip(first, cosines, order, strict=False)
    ]
    listed.sort(key=lambda f: (-f.cosine, f.entry.name))
    rest = order[top:]
    near = int((estimates[rest] + errors[rest] > listed[-1].cosine).sum()) if listed else 0
    return Findings(tuple(listed), len(mine), others, near)


def _comparable(target: Target, entries: Sequence[Entry]) -> tuple[list[Entry], dict[str, int]]:
    """Return the entries of the target's base and space, and how many are not, by the reason."""
    base, space = target.vector.base, target.vector.space
    mine = [e for e in entries if (e.base, e.space) == (base, space)]
    reasons = Counter(
        "in another space" if e.space != space else "of another base"
        for e in entries
        if (e.base, e.space) != (base, space)
    )
    return mine, dict(reasons)


def _estimates(catalog: "Catalog", target: Target, entries: Sequence[Entry]) -> tuple[F64, F64]:
    norm = {entry.sha: entry.norm for entry in entries}
    found: dict[str, tuple[float, float]] = {}
    with catalog.index.read() as db:
        for shas, rows in sketch_rows(db, list(norm), catalog.hashing.width, catalog.folder):
            cosines, errors = cosines_from(target.sketch, target.norm, rows, [norm[sha] for sha in shas])
            found |= dict(zip(shas, zip(cosines.tolist(), errors.tolist(), strict=True), strict=True))
    table = np.array([found[entry.sha] for entry in entries]).reshape(-1, 2)
    return table[:, 0], DEVIATIONS * table[:, 1]


def _exact(catalog: "Catalog", target: Target, entries: Sequence[Entry], told: Told) -> F64:
    norms = np.array([entry.norm for entry in entries])
    if target.sha:
        found = products_of(catalog, [(target.sha, entry.sha) for entry in entries], told)
        inner = np.array([math.fsum(found[target.sha, entry.sha]) for entry in entries])
        return _within(catalog, inner / norms / target.norm)
    shas = [entry.sha for entry in entries]
    shas += [sha for sha in target.members if sha not in set(shas)]  # read within the target: they must be whole, too
    vectors = [target.vector, *(load(catalog, sha) for sha in shas)]
    pairs = [(0, i) for i in range(1 + len(entries))]
    by_tensor = list(checked_products(catalog, vectors, ["", *shas], pairs, told).values())
    own, *inner_of = [math.fsum(x[i] for x in by_tensor) for i in range(len(pairs))]
    return _within(catalog, np.array(inner_of) / norms / math.sqrt(own))


def _within(catalog: "Catalog", cosines: F64) -> F64:
    """Return cosines, none of which rounding makes larger than one.

    Raises:
        FormatError: one is larger by more than that, or no number.
    """
    if not (np.abs(cosines) <= 1 + ROUNDING).all():
        raise FormatError(
            f"the inner products in the index of {catalog.folder} are damaged: they give cosines above 1. Type: "
            f"taskvec catalog rebuild -C {catalog.folder}."
        )
    return np.minimum(np.maximum(cosines, -1.0), 1.0)
