"""Inner products of task vectors, tensor by tensor, from one pass over all of them in bounded memory."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod

import numpy as np
import numpy.typing as npt

from ...errors import MismatchError
from ...ops.gram import BLOCK, ExactSum, pair_parts
from ...ops.sketch import STEP, Hashing, Sketching
from ..taskvector import TaskVector

F64 = npt.NDArray[np.float64]
Pairs = Sequence[tuple[int, int]]
Span = tuple[str, int, int]

HELD = 1 << 24
"""Entries that are in memory at a time."""

MOST = 256
"""Vectors that one pass reads; of more, those that all have to do with are read again in each."""


def pair_products(
    vectors: Sequence[TaskVector], pairs: Pairs, told: Callable[[int], None] | None = None
) -> dict[str, F64]:
    """Return ⟨τ_i, τ_j⟩ of chosen pairs for every tensor, from one pass over up to `MOST` vectors.

    Exact up to one rounding of the sums over blocks of entries, so that neither the order of the vectors nor threads
    change a bit.

    Args:
        vectors: of one base and one space.
        pairs: places in `vectors`.
        told: the entries done, after each slice.

    Shape: tensor → (pair,).

    Raises:
        MismatchError: of different bases, spaces or shapes.
    """
    check_comparable(vectors)
    parts = [_one_pass([vectors[i] for i in needed], some, told) for needed, some in _passes(pairs)]
    return {name: np.concatenate([np.zeros(0), *(part[name] for part in parts)]) for name in vectors[0].shapes}


def _passes(pairs: Pairs) -> Iterator[tuple[list[int], Pairs]]:
    """Yield the vectors of each pass, and pairs of places among these."""
    needed: dict[int, int] = {}
    some: list[tuple[int, int]] = []
    for pair in pairs:
        if len(needed.keys() | set(pair)) > MOST:
            yield list(needed), some
            needed, some = {}, []
        one, other = (needed.setdefault(i, len(needed)) for i in pair)
        some.append((one, other))
    if some:
        yield list(needed), some


def _one_pass(vectors: Sequence[TaskVector], pairs: Pairs, told: Callable[[int], None] | None) -> dict[str, F64]:
    left, right = (np.array(side, np.int64) for side in zip(*pairs, strict=True))
    workers = min(4, os.cpu_count() or 1)
    step = min(STEP, max(1, HELD // (BLOCK * workers * max(1, len(vectors)))) * BLOCK)

    def part(span: Span) -> F64:
        rows = np.stack([vector.entries(*span) for vector in vectors])
        return pair_parts(rows, left, right)

    shapes = vectors[0].shapes
    sums = {name: ExactSum(len(pairs)) for name in shapes}
    spans, done = list(spans_of(shapes, step)), 0
    with ThreadPoolExecutor(workers) as pool:
        for (name, start, stop), found in zip(spans, pool.map(part, spans), strict=True):
            for block in found:
                sums[name].add(0, block)
            done += stop - start
            if told:
                told(done)
    return {name: total.value for name, total in sums.items()}


def sketch_of(vector: TaskVector, hashing: Hashing, told: Callable[[int], None] | None = None) -> tuple[F64, float]:
    """Return the sketch of a vector that lies anywhere, and its norm."""
    making, total = Sketching(hashing), ExactSum(1)

    def part(span: Span) -> F64:
        entries = vector.entries(*span)
        making.add(span[0], span[1], entries)
        none = np.zeros(1, np.int64)
        return pair_parts(np.ascontiguousarray(entries)[None], none, none)

    spans, done = list(spans_of(vector.shapes, STEP)), 0
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for (_, start, stop), found in zip(spans, pool.map(part, spans), strict=True):
            for block in found:
                total.add(0, block)
            done += stop - start
            if told:
                told(done)
    return making.value, float(np.sqrt(total.value[0]))


def spans_of(shapes: dict[str, tuple[int, ...]], step: int) -> Iterable[Span]:
    """Yield the ranges of entries that tensors are worked on in."""
    for name, shape in shapes.items():
        for start in range(0, prod(shape), step):
            yield name, start, min(start + step, prod(shape))


def check_comparable(vectors: Sequence[TaskVector]) -> None:
    """Refuse vectors whose inner products mean nothing.

    Raises:
        MismatchError: they are of different bases, spaces or shapes.
    """
    first = vectors[0]
    for other in vectors[1:]:
        if (other.base, other.space) != (first.base, first.space):
            raise MismatchError(
                f"{other.history[-1]!r} is a vector in the space of {other.space} of the base {other.base}, but "
                f"{first.history[-1]!r} is one in that of {first.space} of {first.base}; they have no inner product."
            )
        if other.shapes != first.shapes:
            odd = min(name for name, _ in set(other.shapes.items()) ^ set(first.shapes.items()))
            raise MismatchError(f"'{odd}' of {other.history[-1]!r} is not what it is in {first.history[-1]!r}.")
