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

    settled: bool

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
    """What a method may ask for."""

    def wanted(self, settings: Settings) -> bool:
        """Whether these settings need it; if not, its search is settled from the start."""

    def search(
        self, tasks: int, total: int, dtype: np.dtype, settings: Settings, sample: Sample, max_bins: int = MAX_BINS
    ) -> Any:
        """Begin. `sample` gives some entries of each task if asked: a hint, without effect on the value."""


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

    def wanted(self, settings: Settings) -> bool:
        """See `Statistic`."""
        del settings
        return True

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
        rows = np.asarray(stack).reshape(stack.shape[0], -1)
        return np.array(
            [
                [kth_largest(row[None], k)[0] for k in self.ranks(settings, t, rows.shape[1])]
                for t, row in enumerate(rows)
            ]
        )


@dataclass
class MagnitudeSearch:
    """A search a task and rank."""

    searches: list[list[KthLargest]]
    drop: Drop | None = None

    @property
    def settled(self) -> bool:
        """Whether all searches are."""
        return all(s.settled for row in self.searches for s in row)

    @property
    def _open(self) -> list[tuple[int, KthLargest]]:
        return [(task, s) for task, row in enumerate(self.searches) for s in row if not s.settled]

    def look(self, part: Slice) -> tuple[bool, list[Seen]]:
        """See `Search`."""
        return survey(part, self.drop, [(task, s.low, s.high) for task, s in self._open])

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
        """(task, rank)."""
        return np.array([[s.value for s in row] for row in self.searches], dtype=np.float64)


@dataclass(frozen=True)
class Gram:
    """All inner products of the inputs, in float64, the same bits however they were sliced."""

    def wanted(self, settings: Settings) -> bool:
        """See `Statistic`."""
        del settings
        return True

    def search(
        self, tasks: int, total: int, dtype: np.dtype, settings: Settings, sample: Sample, max_bins: int = MAX_BINS
    ) -> "GramSearch":
        """See `Statistic`."""
        del total, dtype, settings, sample, max_bins
        return GramSearch(tasks)


class GramSearch:
    """Partial Gram matrices, a block each."""

    def __init__(self, tasks: int) -> None:
        """Begin with none."""
        self.settled = False
        self.parts: list[npt.NDArray[np.float64]] = [np.zeros((tasks, tasks))]

    def look(self, part: Slice) -> tuple[bool, list[npt.NDArray[np.float64]]]:
        """See `Search`."""
        return inner_products(part)

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
