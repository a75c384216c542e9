"""How much is in hand at once, so that memory stays under a number the user gives."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import RecipeError
from ..merge import Needs
from ..merge.statistics import Magnitudes
from ..ops.gram import BLOCK
from ..ops.select import MAX_BINS

if TYPE_CHECKING:
    from .plan import Unit

CACHE = 3_000_000
"""Bytes of a slice's rows where a method holds rows: near what a core's second-level cache holds."""

STANDING = 150_000_000
"""Anonymous bytes of the interpreter, numpy, numba and this package before any slice (measured: 120 MB)."""

LARGEST = 1 << 20
"""Entries a slice: long enough to pay for its handling."""

HISTOGRAM = 20
"""Bytes a bin: its count, its least and greatest pattern, and one pattern that waits to be counted."""

SMALLEST_BINS = 1 << 12
WHOLE_MODEL = ""
"""The group of tensors whose statistics are taken over the whole model."""


@dataclass(frozen=True)
class Budget:
    """Entries a slice, threads, bins a histogram, searches at once, and the anonymous memory this takes at most."""

    slice: int
    threads: int
    bins: int
    brackets: int
    peak: int
    limit: int


def make_budget(
    needs: Needs, tasks: int, units: Sequence["Unit"], limit: int, threads: int | None, slice_: int
) -> Budget:
    """Choose slices that are worth their handling and fit the memory; then as many threads as that allows.

    Raises:
        RecipeError: even one thread with the smallest slice needs more than `limit`.
    """
    threads = max(1, threads or len(os.sched_getaffinity(0)))
    width = 8 if any(u.work == "F64" for u in units) else 4
    widest = max((u.count for u in units if u.merged), default=1)
    room, brackets = limit - STANDING, tasks * _ranks(needs)
    whole_model = any(u.merged and u.group == WHOLE_MODEL for u in units)
    histograms = brackets * (1 if whole_model else threads + 1)
    bins = _bins(histograms, room // 3)
    searching = histograms * bins * HISTOGRAM
    size = _whole_blocks(slice_ or LARGEST)
    if needs.scope == "tensor":
        size = _whole_blocks(widest)
    elif not slice_:
        most = CACHE // (width * (tasks + 2)) if needs.blend is None else LARGEST
        while size > BLOCK and (size > most or threads * _bytes(size, tasks, width) > room - searching):
            size //= 2
    each = _bytes(min(size, _whole_blocks(widest)), tasks, width)
    fitting = (room - searching) // each
    if fitting < 1:
        raise RecipeError(
            f"the merge needs {(STANDING + searching + each) / 1e6:.0f} MB at its widest tensor and 'memory' is "
            f"{limit / 1e6:.0f} MB. Type e.g. --memory {(STANDING + searching + 2 * each) / 1e6:.0f}MB."
        )
    threads = min(threads, fitting)
    return Budget(size, threads, bins, brackets, STANDING + searching + threads * each, limit)


def _whole_blocks(count: int) -> int:
    return -(-max(1, count) // BLOCK) * BLOCK


def _bytes(size: int, tasks: int, width: int) -> int:
    """A slice's rows, two more copies that methods make of them, random words, and single rows around them."""
    return size * (3 * tasks * width + 2 * tasks + 8 * width)


def _ranks(needs: Needs) -> int:
    """Brackets a task: a search of magnitudes has one for each rank."""
    return sum(s.count for s in needs.statistics.values() if isinstance(s, Magnitudes))


def _bins(histograms: int, room: int) -> int:
    bins = MAX_BINS
    while bins > SMALLEST_BINS and histograms * bins * HISTOGRAM > room:
        bins //= 2
    return bins
