"""Choose entries by magnitude: masks, ranks, and an exact k-th largest found in streaming passes."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .arrays import Array, namespace, per_task
from .kernels import fused_for
from .shapes import Float

MAX_BINS = 1 << 21


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


def ends_of_band(density: float, gamma: float, total: int) -> tuple[int, int]:
    """Return the ranks of the largest and the smallest magnitude kept, where the share `gamma` above them is dropped.

    At least one entry stays, and where the shares together exceed all entries the outliers go first.

    >>> ends_of_band(0.5, 0.25, 8)
    (3, 6)
    """
    outliers = min(count_of(gamma, total), total - 1)
    kept = max(1, min(count_of(density, total), total - outliers))
    return outliers + 1, outliers + kept


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


def sift(block: Float[np.ndarray, " n"], low: int, high: int) -> tuple[int, int, npt.NDArray[np.unsignedinteger]]:
    """Return how many magnitudes lie above a bracket of bit patterns, how many at its low end, and those between.

    The low end is only counted: it is where many entries tie, the zeros of frozen tensors above all.
    """
    patterns = magnitude_bits(block)
    kind = patterns.dtype.type
    between = (patterns > kind(low)) & (patterns <= kind(high))
    above, equal = np.count_nonzero(patterns > kind(high)), np.count_nonzero(patterns == kind(low))
    return int(above), int(equal), patterns[between]


class Bins:
    """Counts of bit patterns from `low` on, 2^shift patterns a bin; and each bin's least and greatest pattern."""

    def __init__(self, low: int, high: int, shift: int, kind: type[np.unsignedinteger]) -> None:
        """Begin with nothing seen."""
        size = ((high - low) >> shift) + 1
        self.low, self.shift = low, shift
        self.counts = np.zeros(size, np.int64)
        # A bin of one pattern needs no bounds.
        self.least = np.full(size if shift else 0, np.iinfo(kind).max, kind)
        self.greatest = np.zeros(size if shift else 0, kind)

    def add(self, patterns: npt.NDArray[np.unsignedinteger]) -> None:
        """Count patterns, which must lie within the bins."""
        if patterns.dtype == np.uint32 and (fused := fused_for()):
            fused.tally(patterns, self.low, self.shift, self.counts, self.least, self.greatest)
            return
        kind = patterns.dtype.type
        places = ((patterns - kind(self.low)) >> kind(self.shift)).astype(np.intp)
        np.add.at(self.counts, places, 1)
        if not self.shift:
            return
        np.minimum.at(self.least, places, patterns)
        np.maximum.at(self.greatest, places, patterns)

    def holding(self, rank: int) -> tuple[int, int]:
        """Return the least and the greatest pattern of the bin that holds the rank-th largest, counted from 1."""
        place = self.counts.size - 1 - int(np.searchsorted(np.cumsum(self.counts[::-1]), rank))
        if not self.shift:
            return self.low + place, self.low + place
        return int(self.least[place]), int(self.greatest[place])


@dataclass
class KthLargest:
    """Find the k-th largest magnitude of numbers that arrive in blocks, exactly, in few passes and little memory.

    Magnitudes of floats are ordered as their bit patterns. A pass counts the blocks' entries above a bracket of
    patterns and makes a histogram of those inside; where the answer's bin saw one pattern only it is exact. A sample,
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
    equal: int = 0
    bins: Bins | None = None
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
        self.low, self.high, self.above, self.equal = low, high, 0, 0
        self.shift = max(0, (high - low).bit_length() - self.max_bins.bit_length() + 1)
        self.bins, self.inside, self.held = None, [], 0

    def look(self, block: Float[np.ndarray, " n"]) -> tuple[int, int, npt.NDArray[np.unsignedinteger]]:
        """Return what `sift` finds in a block."""
        return sift(block, self.low, self.high)

    def add(self, above: int, equal: int, inside: npt.NDArray[np.unsignedinteger]) -> None:
        """Add what `look` saw; the order of blocks does not matter. Not for several threads at once."""
        self.above += above
        self.equal += equal
        if inside.size:
            self.inside.append(inside)
            self.held += inside.size
        if self.held > self.max_bins:
            self._tally()

    def _tally(self) -> None:
        """Keep counts instead of the patterns themselves."""
        self.bins = self.bins or Bins(self.low, self.high, self.shift, self.kind)
        for patterns in self.inside:
            self.bins.add(patterns)
        self.inside, self.held = [], 0

    def end_pass(self) -> None:
        """Settle on the answer, or set the bracket for another pass over the same blocks."""
        wanted = self.k - self.above
        between = self.held + (int(self.bins.counts.sum()) if self.bins else 0)
        if between < wanted <= between + self.equal:
            self._settle(self.low)
        elif not 1 <= wanted <= between:
            self.misses += 1
            low, high = self._known
            self._known = (self.high + 1, high) if wanted < 1 else (low, self.low - 1)
            self._set(*self._bracket())
        elif not self.bins:
            patterns = np.concatenate(self.inside)
            self._settle(int(np.partition(patterns, patterns.size - wanted)[patterns.size - wanted]))
        else:
            self._tally()
            low, high = self.bins.holding(wanted)
            if low == high:
                self._settle(low)
            else:
                self._known = (low, high)
                self._set(low, high)

    def _settle(self, pattern: int) -> None:
        self.value, self.settled = float(np.array(pattern, self.kind).view(self.dtype)), True
        self.bins, self.inside, self._patterns = None, [], self._patterns[:0]
