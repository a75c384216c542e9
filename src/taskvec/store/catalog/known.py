"""Inner products among the vectors of a catalogue: each pair is computed once and kept in the index."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..taskvector import TaskVector
from .index import energies_of, known_products, put_products
from .products import pair_products

if TYPE_CHECKING:
    from .catalog import Catalog

F64 = npt.NDArray[np.float64]
Pair = tuple[str, str]

AT_ONCE = 1 << 13
"""Pairs that one pass finds; of more, each pass takes those between two groups of vectors."""

GROUP = 64


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
    vectors = [TaskVector.load(catalog.place.vector(sha)) for sha in shas]
    by_tensor = pair_products(vectors, [(place[a], place[b]) for a, b in pairs], told)
    for vector in vectors:
        vector.terms[0][1].checkpoint.close()
    table = np.stack([by_tensor[name] for name in sorted(by_tensor)], axis=1)
    return dict(zip(pairs, table, strict=True))


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
