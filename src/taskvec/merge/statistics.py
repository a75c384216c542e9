"""Numbers about whole tensors that a method needs before it can work on slices.

A method names them in `Needs.statistics`. Called directly on whole tensors it computes them itself; in the stream a
first pass over the slices finds them, exactly and to the same bits.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..ops import gram
from ..ops.arrays import Array
from ..ops.blend import Drop
from ..ops.gram import ExactSum, Over, grams_of
from ..ops.select import MAX_BINS, KthLargest, kth_largest
from ..ops.slices import Seen, Slice, inner_products, survey

Rows = npt.NDArray[np.floating]
Settings = Mapping[str, Any]
Sample = Callable[[], Rows]

MOST_PARTS = 1 << 12
"""Partial Gram matrices that are kept before they are added up, so that memory does not grow with the model."""


class Search(Protocol):
    """A statistic on its way: blocks in, passes ended, a value out."""

    @property
    def settled(self) -> bool:
        """Whether the value is known."""

    def look(self, part: Slice) -> tuple[bool, Any]:
        """Return whether a slice is finite, and what it contributes. Called by many threads at once."""

    def add(self, at: int, seen: Any) -> None:
        """Add what `look` returned for the block at entry `at`. Called by one thread at a time."""

    def end_pass(self) -> None:
        """After a whole pass: settle, or ask for another one."""

    @property
    def value(self) -> npt.NDArray[np.floating]:
        """The statistic, once settled."""


@dataclass(frozen=True)
class Question:
    """What a search is asked: of how many tasks, entries of each, in which precision, with which settings.

    sample: gives some entries of each task: a hint, without effect on the answer.
    max_bins: how many bins a histogram may have.
    columns: the entries a row of the one tensor that is looked at; 0 says that all is one row.
    """

    tasks: int
    total: int
    dtype: np.dtype
    settings: Settings
    sample: Sample
    max_bins: int = MAX_BINS
    columns: int = 0

    def kth(self, k: int, hint: Rows) -> KthLargest:
        """Return a search for the k-th largest magnitude."""
        return KthLargest(k, self.total, self.dtype, hint, self.max_bins)


class Statistic(Protocol):
    """What a method may ask for. `count`: how many magnitudes of each task are searched for at once."""

    @property
    def count(self) -> int:
        """See above."""
        return 0

    def wanted(self, settings: Settings) -> bool:
        """Whether these settings need it; if not, its search is settled from the start."""
        del settings
        return True

    def passes(self, settings: Settings) -> int:
        """Return how many passes find it, if none has to be repeated."""
        del settings
        return 1

    def gathers(self, settings: Settings) -> bool:
        """Return whether its search works on rows. A method that is no blend with some settings has one that does."""
        del settings
        return False

    def holds(self, tasks: int, total: int, columns: int, settings: Settings) -> int:
        """Return how many bytes a search holds that grow with the tensor."""
        del tasks, total, columns, settings
        return 0

    def search(self, asked: Question) -> Any:
        """Begin."""

    def example(self, tasks: int) -> npt.NDArray[np.floating]:
        """Return a value that a method can be tried with, before anything is read."""

    def whole(self, stack: Array, settings: Settings) -> npt.NDArray[np.floating]:
        """Return the statistic of whole tensors in memory."""


@dataclass(frozen=True)
class Magnitudes(Statistic):
    """The k-th largest magnitudes of each task, for the ranks k that the settings ask for.

    ranks: (settings, task, number of entries) → ranks, counted from 1.
    drop: settings → what is dropped before; nothing by default.
    count: how many ranks.
    """

    ranks: Callable[[Settings, int, int], tuple[int, ...]]
    drop: Callable[[Settings], Drop] | None = None
    count: int = 1

    def search(self, asked: Question) -> "MagnitudeSearch":
        """See `Statistic`."""
        drop = self.drop(asked.settings) if self.drop else None
        ranks = [self.ranks(asked.settings, task, asked.total) for task in range(asked.tasks)]
        if any(len(row) != self.count for row in ranks):
            raise ValueError(f"{self.count} ranks were announced, {len(ranks[0])} are asked for")
        hint = np.zeros((asked.tasks, 0), asked.dtype)
        if any(1 <= k <= asked.total for row in ranks for k in row):
            hint = drop(asked.sample(), None) if drop else asked.sample()
        return MagnitudeSearch([[asked.kth(k, few) for k in row] for row, few in zip(ranks, hint, strict=True)], drop)

    def example(self, tasks: int) -> npt.NDArray[np.floating]:
        """See `Statistic`."""
        return np.ones((tasks, self.count))

    def whole(self, stack: Array, settings: Settings) -> npt.NDArray[np.floating]:
        """Return the magnitudes (task, rank) of whole tensors in memory."""
        rows = flat(stack)
        return np.array(
            [
                [kth_largest(row[None], k)[0] for k in self.ranks(settings, t, rows.shape[1])]
                for t, row in enumerate(rows)
            ]
        )


@dataclass
class MagnitudeSearch:
    """A search a row and rank. The rows are the tasks or, with `derive`: (rows, slice) → rows, made from them."""

    searches: list[list[KthLargest]]
    drop: Drop | None = None
    derive: Callable[[Rows, Slice], Rows] | None = None

    @property
    def settled(self) -> bool:
        """Whether all searches are."""
        return all(s.settled for row in self.searches for s in row)

    @property
    def _open(self) -> list[tuple[int, KthLargest]]:
        return [(task, s) for task, row in enumerate(self.searches) for s in row if not s.settled]

    def look(self, part: Slice) -> tuple[bool, list[Seen]]:
        """See `Search`."""
        brackets = [(task, s.low, s.high) for task, s in self._open]
        if not self.derive:
            return survey(part, self.drop, brackets)
        finite, rows, _ = part.gather()
        return finite, survey(Slice.of(self.derive(rows, part)), None, brackets)[1]

    def add(self, at: int, seen: list[Seen]) -> None:
        """See `Search`."""
        del at
        for (_, search), part in zip(self._open, seen, strict=True):
            search.add(*part)

    def end_pass(self) -> None:
        """See `Search`."""
        for _, search in self._open:
            search.end_pass()

    @property
    def value(self) -> npt.NDArray[np.floating]:
        """(row, rank)."""
        return np.array([[s.value for s in row] for row in self.searches], dtype=np.float64)


@dataclass(frozen=True)
class Sums(Statistic):
    """Sums over all entries, correctly rounded, so that they are the same bits however the entries were sliced.

    parts: (rows, settings) → what each block of `gram.BLOCK` entries adds; any slices will do where that is counts.
    shape: tasks → the shape of a part.
    """

    parts: Callable[[Rows, Settings], list[npt.NDArray[np.float64]]]
    shape: Callable[[int], tuple[int, ...]]

    def gathers(self, settings: Settings) -> bool:
        """See `Statistic`."""
        del settings
        return True

    def search(self, asked: Question) -> "SumSearch":
        """See `Statistic`."""

        def look(part: Slice) -> tuple[bool, list[npt.NDArray[np.float64]]]:
            finite, rows, _ = part.gather()
            return finite, self.parts(rows, asked.settings)

        return SumSearch(look, self.shape(asked.tasks))

    def example(self, tasks: int) -> npt.NDArray[np.float64]:
        """See `Statistic`."""
        return np.ones(self.shape(tasks))

    def whole(self, stack: Array, settings: Settings) -> npt.NDArray[np.float64]:
        """Return the sums over whole tensors in memory."""
        rows = flat(stack)
        return gram.total([np.zeros(self.shape(len(rows))), *self.parts(rows, settings)])


@dataclass(frozen=True)
class Gram(Statistic):
    """All inner products of the inputs, in float64, the same bits however they were sliced.

    over: settings → what is one vector. Where it is given, the value is (part, task, task), a matrix a vector;
        without it all is one vector, and the value is its (task, task). A tensor of one row is one vector.
    """

    over: Callable[[Settings], Over] | None = None

    def gathers(self, settings: Settings) -> bool:
        """See `Statistic`."""
        return self.over is not None and self.over(settings) != "tensor"

    def holds(self, tasks: int, total: int, columns: int, settings: Settings) -> int:
        """See `Statistic`: the sums with what they carry, and their value twice while it is turned around."""
        return 6 * 8 * tasks * tasks * self._parts(total, columns, settings)

    def _parts(self, total: int, columns: int, settings: Settings) -> int:
        """Return of how many vectors a tensor is made; 0: all is one."""
        over = self.over(settings) if self.over else "tensor"
        if over == "tensor" or total == 0 or columns in (0, total):
            return 0
        return total // columns if over == "row" else columns

    def search(self, asked: Question) -> "SumSearch | PartsSearch":
        """See `Statistic`."""
        parts = self._parts(asked.total, asked.columns, asked.settings)
        if self.over and parts:
            return PartsSearch(asked.tasks, parts, asked.columns, self.over(asked.settings))
        return SumSearch(inner_products, (asked.tasks, asked.tasks), in_parts=self.over is not None)

    def example(self, tasks: int) -> npt.NDArray[np.float64]:
        """See `Statistic`."""
        return np.eye(tasks)[None] if self.over else np.eye(tasks)

    def whole(self, stack: Array, settings: Settings) -> npt.NDArray[np.float64]:
        """Return the inner products of whole tensors in memory."""
        rows = np.asarray(stack).reshape(len(stack), -1)
        columns = math.prod(stack.shape[2:]) if stack.ndim > 2 else 0
        search = self.search(Question(*rows.shape, rows.dtype, settings, lambda: rows[:, :0], columns=columns))
        if isinstance(search, SumSearch):
            search.add(0, gram.gram_parts(rows))
        else:
            search.add(0, search.parts_of(rows, 0))
        search.end_pass()
        return search.value


class SumSearch:
    """Partial sums, a block each; settled after one pass."""

    def __init__(
        self,
        look: Callable[[Slice], tuple[bool, list[npt.NDArray[np.float64]]]],
        shape: tuple[int, ...],
        in_parts: bool = False,
    ) -> None:
        """Begin with none. `look` gives a slice's parts, of the shape given. `in_parts`: the value is a list of one."""
        self.look = look
        self.settled = False
        self.in_parts = in_parts
        self.parts: list[npt.NDArray[np.float64]] = [np.zeros(shape)]

    def add(self, at: int, seen: list[npt.NDArray[np.float64]]) -> None:
        """See `Search`."""
        del at
        self.parts.extend(seen)
        if len(self.parts) > MOST_PARTS:
            self.parts = gram.fold(self.parts)

    def end_pass(self) -> None:
        """See `Search`."""
        self.parts = [gram.total(self.parts)]
        self.settled = True

    @property
    def value(self) -> npt.NDArray[np.float64]:
        """The sums."""
        return self.parts[0][None] if self.in_parts else self.parts[0]


class PartsSearch:
    """Gram matrices of all rows or columns."""

    def __init__(self, tasks: int, parts: int, columns: int, over: Over) -> None:
        """Begin with zeros."""
        self.settled = False
        self.columns, self.over = columns, over
        self.sum = ExactSum(tasks, tasks, parts)
        self.value: npt.NDArray[np.float64] = np.zeros((parts, tasks, tasks))

    def parts_of(self, rows: Rows, start: int) -> list[tuple[int, npt.NDArray[np.float64]]]:
        """Return what rows that begin at an offset contribute."""
        return list(grams_of(rows, start, self.columns, self.over))

    def look(self, part: Slice) -> tuple[bool, list[tuple[int, npt.NDArray[np.float64]]]]:
        """See `Search`."""
        finite, rows, _ = part.gather()
        return finite, self.parts_of(rows, part.start)

    def add(self, at: int, seen: list[tuple[int, npt.NDArray[np.float64]]]) -> None:
        """See `Search`."""
        del at
        for first, term in seen:
            self.sum.add(first, term)

    def end_pass(self) -> None:
        """See `Search`."""
        self.value = np.ascontiguousarray(np.moveaxis(self.sum.value, -1, 0))
        self.sum, self.settled = ExactSum(0), True


class Stages:
    """Searches that follow each other, because what one looks for depends on what those before it have found."""

    def __init__(
        self,
        count: int,
        begin: Callable[[list[npt.NDArray[np.floating]]], Search],
        join: Callable[[list[npt.NDArray[np.floating]]], npt.NDArray[np.floating]],
    ) -> None:
        """`begin` gives the next of `count` searches for the values found so far, `join` makes one array of all."""
        self._count, self._begin, self._join = count, begin, join
        self._found: list[npt.NDArray[np.floating]] = []
        self._go_on(begin([]))

    def _go_on(self, search: Any) -> None:
        """Make a search the present one, or the next that is not settled from the start."""
        self._now: Any = search
        while self._now.settled and not self.settled:
            self._found.append(self._now.value)
            if not self.settled:
                self._now = self._begin(self._found)

    @property
    def settled(self) -> bool:
        """Whether all of them are."""
        return len(self._found) == self._count

    def look(self, part: Slice) -> tuple[bool, Any]:
        """See `Search`."""
        seen: tuple[bool, Any] = self._now.look(part)
        return seen

    def add(self, at: int, seen: Any) -> None:
        """See `Search`."""
        self._now.add(at, seen)

    def end_pass(self) -> None:
        """See `Search`."""
        self._now.end_pass()
        self._go_on(self._now)

    @property
    def value(self) -> npt.NDArray[np.floating]:
        """What all of them have found, as one array."""
        return self._join(self._found)


def flat(stack: Array) -> Rows:
    """Return tensors in memory as contiguous rows, one a task."""
    return np.ascontiguousarray(np.asarray(stack).reshape(stack.shape[0], -1))
