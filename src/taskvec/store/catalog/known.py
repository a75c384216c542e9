"""Inner products among the vectors of a catalogue: each pair is computed once and kept in the index."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...errors import FormatError, StoreError
from ..taskvector import TaskVector
from .index import energies_of, known_products, names_of, put_products
from .products import pair_products

if TYPE_CHECKING:
    from .catalog import Catalog

F64 = npt.NDArray[np.float64]
Pair = tuple[str, str]

AT_ONCE = 1 << 13
"""Pairs that one pass finds; of more, each pass takes those between two groups of vectors."""

GROUP = 64

ROUNDING = 1e-9
"""By how much of itself a sum of squares may differ from the indexed one: other kernels add in another order."""


def products_of(catalog: "Catalog", pairs: Sequence[Pair], told: Callable[[int], None] | None) -> dict[Pair, F64]:
    """Return the inner products of pairs of vectors (by hash), by tensor in order of name.

    What is not known yet is found in one pass over the vectors it takes, and kept.
    """
    shas = list(dict.fromkeys(sha for pair in pairs for sha in pair))
    with catalog.index.read() as db:
        energies = {sha: energies_of(db, sha) for sha in shas}
        wanted = list(dict.fromkeys(_ordered(pair) for pair in pairs if pair[0] != pair[1]))
        known = known_products(db, wanted, len(energies[shas[0]]))
    missing = [pair for pair in wanted if pair not in known]
    for some in _passes(missing):
        found = _found(catalog, some, told)
        if catalog.place.writable:
            with catalog.place.held(), catalog.index.change() as db:
                put_products(db, found)
        known |= found
    own = {(sha, sha): np.array([x for _, x in sorted(energies[sha].items())]) for sha in shas}
    return {pair: own[pair] if pair in own else known[_ordered(pair)] for pair in pairs}


def _found(catalog: "Catalog", pairs: Sequence[Pair], told: Callable[[int], None] | None) -> dict[Pair, F64]:
    shas = list(dict.fromkeys(sha for pair in pairs for sha in pair))
    place = {sha: i for i, sha in enumerate(shas)}
    vectors = [load(catalog, sha) for sha in shas]
    by_tensor = checked_products(catalog, vectors, shas, [(place[a], place[b]) for a, b in pairs], told)
    for vector in vectors:
        vector.terms[0][1].checkpoint.close()
    table = np.stack([by_tensor[name] for name in sorted(by_tensor)], axis=1)
    return dict(zip(pairs, table, strict=True))


def load(catalog: "Catalog", sha: str) -> TaskVector:
    """Return a vector of a catalogue by its hash; tensors are read when asked for.

    Raises:
        StoreError: its file is gone.
    """
    path = catalog.place.vector(sha)
    if not path.is_file():
        name = _name(catalog, sha)
        raise StoreError(
            f"{catalog.folder} has lost the vector of '{name}': {path} does not exist. Add it again: taskvec catalog "
            f"add … --name {name} --force -C {catalog.folder}; or type: "
            f"taskvec catalog remove {name} -C {catalog.folder}."
        )
    return TaskVector.load(path)


def _name(catalog: "Catalog", sha: str) -> str:
    """Return the name of an entry that has a vector."""
    with catalog.index.read() as db:
        return next(iter(names_of(db, sha)), sha)


def checked_products(
    catalog: "Catalog",
    vectors: Sequence[TaskVector],
    shas: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    told: Callable[[int], None] | None,
) -> dict[str, F64]:
    """Return what `pair_products` does; in the same pass every catalogued vector is compared with the index.

    Its Σ x² within each tensor must be the indexed one. That finds what changes an inner product grossly; a rebuild,
    which compares hashes, finds every bit.

    Args:
        catalog: that the vectors lie in.
        vectors: catalogued ones, and others.
        shas: of each vector, empty for one that lies elsewhere.
        pairs: places in `vectors`.
        told: the entries done, after each slice.

    Shape: tensor → (pair,).

    Raises:
        FormatError: a vector is damaged.
    """
    asked = list(_with_own(pairs, shas))
    found = pair_products(vectors, asked, told)
    at = {pair: i for i, pair in enumerate(asked)}
    with catalog.index.read() as db:
        energies = {i: energies_of(db, sha) for i, sha in enumerate(shas) if sha}
    for i, indexed in energies.items():
        for tensor, energy in indexed.items():
            if not abs(found[tensor][at[i, i]] - energy) <= ROUNDING * energy:  # NaN, too, is another number
                raise _damaged(catalog, shas[i], tensor)
    columns = [at[pair] for pair in pairs]
    return {tensor: row[columns] for tensor, row in found.items()}


def _with_own(pairs: Sequence[tuple[int, int]], shas: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield each pair once, and that of each catalogued vector with itself beside the first it has a part in."""
    own = [(i, i) for i, sha in enumerate(shas) if sha]
    beside = ((pair, *((i, i) for i in pair if shas[i])) for pair in pairs)
    yield from dict.fromkeys([pair for some in beside for pair in some] + own)


def _damaged(catalog: "Catalog", sha: str, tensor: str) -> FormatError:
    name = _name(catalog, sha)
    return FormatError(
        f"the vector of '{name}' is damaged: '{tensor}' in {catalog.place.vector(sha)} is not what was added. Add it "
        f"again: taskvec catalog add … --name {name} --force -C {catalog.folder}."
    )


def _passes(pairs: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
    """Yield the pairs of each pass: all of them, or those between two groups of vectors."""
    if len(pairs) <= AT_ONCE:
        if pairs:
            yield pairs
        return
    group = {sha: i // GROUP for i, sha in enumerate(sorted({sha for pair in pairs for sha in pair}))}
    tiles: dict[tuple[int, int], list[Pair]] = {}
    for one, other in pairs:
        tiles.setdefault((group[one], group[other]), []).append((one, other))
    yield from tiles.values()


def _ordered(pair: Pair) -> Pair:
    return (min(pair), max(pair))
