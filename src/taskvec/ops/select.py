"""Choose entries by magnitude: masks, ranks, and an exact k-th largest found in streaming passes."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from .arrays import Array, namespace, per_task
from .kernels import fused_for

MAX_BINS = 1 << 20


def keep_between(
    stack: Float[Array, " task *shape"],
    low: Float[Array, " task"],
    high: Float[Array, " task"] | None = None,
) -> Float[Array, " task *shape"]:
    """Keep the entries whose magnitude lies in [low_t, high_t]; the others become 0. No `high`: no upper end.

    Both ends are kept, so entries of equal magnitude share one fate, whatever their order.

    >>> keep_between(np.array([[3.0, -1.0, 0.5]]), np.array([1.0]), np.array([2.0]))
    array([[ 0., -1.,  0.]])
    """
    low = np.asarray(low, dtype=np.float64)
    high = np.full_like(low, np.inf) if high is None else np.asarray(high, dtype=np.float64)
    if fused := fused_for(stack):
        return fused.keep_between(stack, low, high)
    xp = namespace(stack)
    size = xp.abs(stack)
    kept = (size >= per_task(low, stack)) & (size <= per_task(high, stack))
    return xp.where(kept, stack, xp.zeros_like(stack))


def count_of(share: float, total: int) -> int:
    """Turn a share of entries into a number of them: the nearest whole number, halves rounded up.

    >>> count_of(0.2, 1000), count_of(0.01, 64), count_of(0.29, 100)
    (200, 1, 29)
    """
    return min(total, int(share * total + 0.5))


def kth_largest(stack: Float[Array, " task *shape"], k: int) -> Float[np.ndarray, " task"]:
    """Return the k-th largest magnitude of each task's tensor (k from 1), found by selection, not by sorting.

    Edge: k < 1 gives +inf (keep nothing), k beyond the number of entries gives 0 (keep everything).

    >>> kth_largest(np.array([[3.0, -1.0, 2.0]]), 2)
    array([2.])
    """
    rows = np.abs(np.asarray(stack).reshape(stack.shape[0], -1))
    if k < 1:
        return np.full(len(rows), np.inf, dtype=rows.dtype)
    if k > rows.shape[1]:
        return np.zeros(len(rows), dtype=rows.dtype)
    at = rows.shape[1] - k
    return np.partition(rows, at, axis=1)[:, at]


def magnitude_bits(x: Float[np.ndarray, "*shape"]) -> npt.NDArray[np.unsignedinteger]:
    """Return the bits of |x|, which are ordered as the magnitudes are."""
    kind: type[np.unsignedinteger] = np.uint32 if x.dtype == np.float32 else np.uint64
    bits: npt.NDArray[np.unsignedinteger] = x.view(kind) & kind(np.iinfo(kind).max >> 1)
    return bits


@dataclass
class KthLargest:
    """Find the k-th largest magnitude of numbers that arrive in blocks, exactly, in few passes and little memory.

    Magnitudes of floats are ordered as their bit patterns. A pass counts the blocks' entries above a bracket of
    patterns and makes a histogram of those inside; when each bin is one pattern the answer is exact. A sample,
    if given, places the first bracket so that one pass nearly always does; without one, or if it misleads,
    a further pass follows. Ties cost nothing: they share a bin.

    >>> search = KthLargest(k=2, total=3, dtype=np.dtype("f4"))
    >>> while not search.settled:
    ...     search.add(*search.look(np.array([3.0, -1.0, 2.0], dtype="f4")))
    ...     search.end_pass()
    >>> search.value
    2.0
    """

    k: int
    total: int
    dtype: np.dtype
    sample: npt.NDArray[np.floating] | None = None
    max_bins: int = MAX_BINS
    value: float = 0.0
    settled: bool = False
    low: int = 0
    high: int = 0
    shift: int = 0
    above: int = 0
    bins: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    misses: int = 0
    inside: list[npt.NDArray[np.unsignedinteger]] = field(default_factory=list)
    held: int = 0

    def __post_init__(self) -> None:
        """Answer at once where there is nothing to look for, else place the first bracket."""
        self.kind: type[np.unsignedinteger] = np.uint32 if self.dtype == np.float32 else np.uint64
        if self.k < 1 or self.k > self.total:
            self.value, self.settled = (np.inf if self.k < 1 else 0.0), True
            return
        empty: npt.NDArray[np.floating] = np.zeros(0, self.dtype)
        given = empty if self.sample is None else self.sample
        self._patterns = np.sort(magnitude_bits(np.ascontiguousarray(given, dtype=self.dtype)))
        self._known = (0, int(np.iinfo(self.kind).max >> 1))
        self._set(*self._bracket())

    def _bracket(self) -> tuple[int, int]:
        """Return patterns that hold the answer unless the sample misleads, wider after each time that it did.

        Eight standard errors on each side: entries that lie side by side are alike, so a sample of short runs
        says less than its size.
        """
        low, high = self._known
        share, m = self.k / self.total, self._patterns.size
        if m == 0 or self.misses > 2:
            return low, high
        at = m - share * m
        reach = 0 if m >= self.total else 8 ** (1 + self.misses) * (m * share * (1 - share)) ** 0.5 + 8
        first, last = int(np.floor(at - reach)), int(np.ceil(at + reach))
        below = int(self._patterns[first]) if first >= 0 else low
        over = int(self._patterns[last]) if last < m else high
        return (max(low, below), min(high, over)) if below <= high and over >= low else (low, high)

    def _set(self, low: int, high: int) -> None:
        self.low, self.high, self.above = low, high, 0
        self.shift = max(0, (high - low).bit_length() - self.max_bins.bit_length() + 1)
        self.bins, self.inside, self.held = self.bins[:0], [], 0
        self.kinds: npt.NDArray[np.unsignedinteger] = np.zeros(0, self.kind)
        self.counts = np.zeros(0, np.int64)

    def look(self, block: Float[np.ndarray, " n"]) -> tuple[int, npt.NDArray[np.unsignedinteger]]:
        """Return how many entries of a block lie above the bracket, and the patterns of those inside."""
        if fused := fused_for(block):
            seen: tuple[int, npt.NDArray[np.unsignedinteger]] = fused.look(block, self.low, self.high)
            return seen
        patterns = magnitude_bits(block)
        inside = (patterns >= self.kind(self.low)) & (patterns <= self.kind(self.high))
        return int(np.count_nonzero(patterns > self.kind(self.high))), patterns[inside]

    def add(self, above: int, inside: npt.NDArray[np.unsignedinteger]) -> None:
        """Add what `look` saw; the order of blocks does not matter. Not for several threads at once."""
        self.above += above
        if inside.size:
            self.inside.append(inside)
            self.held += inside.size
        if self.held > self.max_bins:
            self._compact()

    def _compact(self) -> None:
        """Keep a count for each pattern instead of the patterns themselves; too many kinds go to a histogram."""
        kinds, counts = np.unique(np.concatenate(self.inside), return_counts=True)
        self.inside, self.held = [], 0
        if not self.bins.size:
            together = np.concatenate([self.kinds, kinds])
            self.kinds, where = np.unique(together, return_inverse=True)
            counts = np.concatenate([self.counts, counts])
            self.counts = np.bincount(where, weights=counts, minlength=self.kinds.size).astype(np.int64)
            if self.kinds.size <= self.max_bins // 2:
                return
            kinds, counts = self.kinds, self.counts
            self.kinds, self.counts = self.kinds[:0], self.counts[:0]
            self.bins = np.zeros(((self.high - self.low) >> self.shift) + 1, np.int64)
        np.add.at(self.bins, ((kinds - self.kind(self.low)) >> self.kind(self.shift)).astype(np.intp), counts)

    def end_pass(self) -> None:
        """Settle on the answer, or set the bracket for another pass over the same blocks."""
        wanted = self.k - self.above
        if not 1 <= wanted <= self.held + int(self.counts.sum()) + int(self.bins.sum()):
            self.misses += 1
            low, high = self._known
            self._known = (self.high + 1, high) if wanted < 1 else (low, self.low - 1)
            self._set(*self._bracket())
        elif not (self.counts.size or self.bins.size):
            patterns = np.concatenate(self.inside)
            self._settle(int(np.partition(patterns, patterns.size - wanted)[patterns.size - wanted]))
        else:
            if self.inside:
                self._compact()
            self._end_counted(wanted)

    def _end_counted(self, wanted: int) -> None:
        counts = self.bins if self.bins.size else self.counts
        place = counts.size - 1 - int(np.searchsorted(np.cumsum(counts[::-1]), wanted))
        low = self.low + (place << self.shift) if self.bins.size else int(self.kinds[place])
        if self.shift == 0 or not self.bins.size:
            self._settle(low)
        else:
            self._known = (low, min(self.high, low + (1 << self.shift) - 1))
            self._set(*self._known)

    def _settle(self, pattern: int) -> None:
        self.value, self.settled = float(np.array(pattern, self.kind).view(self.dtype)), True
        self.bins, self.inside, self._patterns = self.bins[:0], [], self._patterns[:0]
        self.kinds, self.counts = self.kinds[:0], self.counts[:0]
