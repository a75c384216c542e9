"""Numbers about whole tensors that a method needs before it can work on slices.

A method names them in `Needs.statistics`. Called directly on whole tensors it computes them itself; in the stream a
first pass over the slices finds them, exactly and to the same bits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..ops import gram
from ..ops.arrays import Array
from ..ops.blend import Drop
from ..ops.select import MAX_BINS, KthLargest, kth_largest
from ..ops.slices import Seen, Slice, inner_products, survey

Rows = npt.NDArray[np.floating]
Settings = Mapping[str, Any]
Sample = Callable[[], Rows]


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


class Statistic(Protocol):
    """What a method may ask for. `count`: how many magnitudes of each task are searched for at once."""

    @property
    def count(self) -> int:
        """See above."""

    def search(
        self, tasks: int, total: int, dtype: np.dtype, settings: Settings, sample: Sample, max_bins: int = MAX_BINS
    ) -> Any:
        """Begin. `sample` gives some entries of each task if asked: a hint, without effect on the value."""

    def whole(self, stack: Array, settings: Settings) -> npt.NDArray[np.floating]:
        """Return the statistic of whole tensors in memory."""


@dataclass(frozen=True)
class Magnitudes:
    """The k-th largest magnitudes of each task, for the ranks k that the settings ask for.

    ranks: (settings, task, number of entries) → ranks, counted from 1.
    drop: settings → what is dropped before; nothing by default.
    count: how many ranks.
    """

    ranks: Callable[[Settings, int, int], tuple[int, ...]]
    drop: Callable[[Settings], Drop] | None = None
    count: int = 1

    def search(
        self, tasks: int, total: int, dtype: np.dtype, settings: Settings, sample: Sample, max_bins: int = MAX_BINS
    ) -> "MagnitudeSearch":
        """See `Statistic`."""
        drop = self.drop(settings) if self.drop else None
        ranks = [self.ranks(settings, task, total) for task in range(tasks)]
        if any(len(row) != self.count for row in ranks):
            raise ValueError(f"{self.count} ranks were announced, {len(ranks[0])} are asked for")
        hint = np.zeros((tasks, 0), dtype)
        if any(1 <= k <= total for row in ranks for k in row):
            hint = drop(sample(), None) if drop else sample()
        searches = [[KthLargest(k, total, dtype, hint[t], max_bins) for k in row] for t, row in enumerate(ranks)]
        return MagnitudeSearch(searches, drop)

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
    """A search a row and rank. The rows are the tasks or, with `derive`: (rows, columns) → rows, made from them."""

    searches: list[list[KthLargest]]
    drop: Drop | None = None
    derive: Callable[[Rows, int], Rows] | None = None

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
        return finite, survey(Slice.of(self.derive(rows, part.columns)), None, brackets)[1]

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
class Sums:
    """Sums over all entries, correctly rounded, so that they are the same bits however the entries were sliced.

    parts: (rows, settings) → what each block of `gram.BLOCK` entries adds; any slices will do where that is counts.
    shape: tasks → the shape of a part.
    """

    parts: Callable[[Rows, Settings], list[npt.NDArray[np.float64]]]
    shape: Callable[[int], tuple[int, ...]]
    count: int = 0

    def search(
        self, tasks: int, total: int, dtype: np.dtype, settings: Settings, sample: Sample, max_bins: int = MAX_BINS
    ) -> "SumSearch":
        """See `Statistic`."""
        del total, dtype, sample, max_bins

        def look(part: Slice) -> tuple[bool, list[npt.NDArray[np.float64]]]:
            finite, rows, _ = part.gather()
            return finite, self.parts(rows, settings)

        return SumSearch(look, self.shape(tasks))

    def whole(self, stack: Array, settings: Settings) -> npt.NDArray[np.float64]:
        """Return the sums over whole tensors in memory."""
        rows = flat(stack)
        return gram.total([np.zeros(self.shape(len(rows))), *self.parts(rows, settings)])


@dataclass(frozen=True)
class Gram:
    """All inner products of the inputs, in float64, the same bits however they were sliced."""

    count: int = 0

    def search(
        self, tasks: int, total: int, dtype: np.dtype, settings: Settings, sample: Sample, max_bins: int = MAX_BINS
    ) -> "SumSearch":
        """See `Statistic`."""
        del total, dtype, settings, sample, max_bins
        return SumSearch(inner_products, (tasks, tasks))

    def whole(self, stack: Array, settings: Settings) -> npt.NDArray[np.float64]:
        """Return the inner products (task, task) of whole tensors in memory."""
        del settings
        return gram.gram(stack)


class SumSearch:
    """Partial sums, a block each; settled after one pass."""

    def __init__(
        self, look: Callable[[Slice], tuple[bool, list[npt.NDArray[np.float64]]]], shape: tuple[int, ...]
    ) -> None:
        """Begin with none. `look` gives a slice's parts, of the shape given."""
        self.look = look
        self.settled = False
        self.parts: list[npt.NDArray[np.float64]] = [np.zeros(shape)]

    def add(self, at: int, seen: list[npt.NDArray[np.float64]]) -> None:
        """See `Search`."""
        del at
        self.parts.extend(seen)

    def end_pass(self) -> None:
        """See `Search`."""
        self.parts = [gram.total(self.parts)]
        self.settled = True

    @property
    def value(self) -> npt.NDArray[np.float64]:
        """The sums."""
        return self.parts[0]


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
