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
from ..ops.select import MAX_BINS, KthLargest, kth_largest

Rows = npt.NDArray[np.floating]
Settings = Mapping[str, Any]


class Search(Protocol):
    """A statistic on its way: blocks in, passes ended, a value out."""

    settled: bool

    def look(self, rows: Rows) -> Any:
        """Return what a block contributes. Called by many threads at once."""

    def add(self, at: int, seen: Any) -> None:
        """Add what `look` returned for the block at entry `at`. Called by one thread at a time."""

    def end_pass(self) -> None:
        """After a whole pass: settle, or ask for another one."""

    @property
    def value(self) -> npt.NDArray[np.floating]:
        """The statistic, once settled."""


class Statistic(Protocol):
    """What a method may ask for."""

    def search(
        self, tasks: int, total: int, dtype: np.dtype, settings: Settings, sample: Rows, max_bins: int = MAX_BINS
    ) -> Any:
        """Begin. `sample` holds some entries of each task: a hint, without effect on the value."""

    def prepare(self, rows: Rows, settings: Settings, chance: Any) -> Rows:
        """Return what the statistic is taken of, from a block of the method's input."""


@dataclass(frozen=True)
class Magnitudes:
    """The k-th largest magnitudes of each task, for the ranks k that the settings ask for.

    ranks: (settings, task, number of entries) → ranks, counted from 1.
    of: what is ranked, from (rows, settings, chance); the rows themselves by default.
    """

    ranks: Callable[[Settings, int, int], tuple[int, ...]]
    of: Callable[[Rows, Settings, Any], Array] | None = None

    def search(
        self, tasks: int, total: int, dtype: np.dtype, settings: Settings, sample: Rows, max_bins: int = MAX_BINS
    ) -> "MagnitudeSearch":
        """See `Statistic`."""
        return MagnitudeSearch(
            [
                [KthLargest(k, total, dtype, sample[t], max_bins) for k in self.ranks(settings, t, total)]
                for t in range(tasks)
            ]
        )

    def whole(self, stack: Array, settings: Settings) -> npt.NDArray[np.floating]:
        """Return the magnitudes (task, rank) of whole tensors in memory."""
        rows = np.asarray(stack).reshape(stack.shape[0], -1)
        return np.array(
            [
                [kth_largest(row[None], k)[0] for k in self.ranks(settings, t, rows.shape[1])]
                for t, row in enumerate(rows)
            ]
        )

    def prepare(self, rows: Rows, settings: Settings, chance: Any) -> Rows:
        """See `Statistic`."""
        return rows if self.of is None else np.ascontiguousarray(self.of(rows, settings, chance))


@dataclass
class MagnitudeSearch:
    """A search a task and rank."""

    searches: list[list[KthLargest]]

    @property
    def settled(self) -> bool:
        """Whether all searches are."""
        return all(s.settled for row in self.searches for s in row)

    def look(self, rows: Rows) -> list[Any]:
        """See `Search`."""
        return [[None if s.settled else s.look(x) for s in row] for x, row in zip(rows, self.searches, strict=True)]

    def add(self, at: int, seen: Any) -> None:
        """See `Search`."""
        del at
        for row, parts in zip(self.searches, seen, strict=True):
            for search, part in zip(row, parts, strict=True):
                if part is not None:
                    search.add(*part)

    def end_pass(self) -> None:
        """See `Search`."""
        for row in self.searches:
            for search in row:
                if not search.settled:
                    search.end_pass()

    @property
    def value(self) -> npt.NDArray[np.floating]:
        """(task, rank)."""
        return np.array([[s.value for s in row] for row in self.searches], dtype=np.float64)


@dataclass(frozen=True)
class Gram:
    """All inner products of the inputs, in float64, the same bits however they were sliced."""

    def search(
        self, tasks: int, total: int, dtype: np.dtype, settings: Settings, sample: Rows, max_bins: int = MAX_BINS
    ) -> "GramSearch":
        """See `Statistic`."""
        del total, dtype, settings, sample, max_bins
        return GramSearch(tasks)

    def prepare(self, rows: Rows, settings: Settings, chance: Any) -> Rows:
        """See `Statistic`."""
        del settings, chance
        return rows


class GramSearch:
    """Partial Gram matrices, a block each."""

    def __init__(self, tasks: int) -> None:
        """Begin with none."""
        self.settled = False
        self.parts: list[npt.NDArray[np.float64]] = [np.zeros((tasks, tasks))]

    def look(self, rows: Rows) -> list[npt.NDArray[np.float64]]:
        """See `Search`."""
        return gram.gram_parts(rows)

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
        """(task, task)."""
        return self.parts[0]
