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
"""Bytes of a slice's rows: near what a core's second-level cache holds, and long enough to pay for its handling."""

STANDING = 150_000_000
"""Anonymous bytes of the interpreter, numpy, numba and this package before any slice (measured: 120 MB)."""

LARGEST = 1 << 18
SMALLEST_BINS = 1 << 12
WHOLE_MODEL = ""
"""The group of tensors whose statistics are taken over the whole model."""


@dataclass(frozen=True)
class Budget:
    """Entries a slice, threads, bins a histogram, and the anonymous memory this will take at most."""

    slice: int
    threads: int
    bins: int
    peak: int
    limit: int


def make_budget(
    needs: Needs, tasks: int, units: Sequence["Unit"], limit: int, threads: int | None, slice_: int
) -> Budget:
    """Choose slices that fit the cache, then as many threads as the memory allows.

    Raises:
        RecipeError: even one thread with the smallest slice needs more than `limit`.
    """
    threads = max(1, threads or len(os.sched_getaffinity(0)))
    width = 8 if any(u.work == "F64" for u in units) else 4
    widest = max((u.count for u in units if u.merged), default=1)
    fits = LARGEST if needs.coefficients else CACHE // (width * (tasks + 2)) // BLOCK * BLOCK
    size = slice_ or max(BLOCK, min(LARGEST, fits))
    size = -(-size // BLOCK) * BLOCK
    if needs.scope == "tensor":
        size = -(-max(1, widest) // BLOCK) * BLOCK
    each = _bytes(min(size, -(-widest // BLOCK) * BLOCK), tasks, width)
    room = limit - STANDING
    whole_model = any(u.merged and u.group == WHOLE_MODEL for u in units)
    histograms = tasks * _ranks(needs) * (1 if whole_model else threads + 1)
    bins = _bins(histograms, room // 3)
    searching = histograms * bins * 20  # a histogram, as many patterns as it has bins, and counts of half as many
    fitting = (room - searching) // each
    if fitting < 1:
        raise RecipeError(
            f"the merge needs {(STANDING + searching + each) / 1e6:.0f} MB at its widest tensor and 'memory' is "
            f"{limit / 1e6:.0f} MB. Type e.g. --memory {(STANDING + searching + 2 * each) / 1e6:.0f}MB."
        )
    threads = min(threads, fitting)
    return Budget(size, threads, bins, STANDING + searching + threads * each, limit)


def _bytes(size: int, tasks: int, width: int) -> int:
    """A slice's rows, two more copies that methods make of them, random words, and single rows around them."""
    return size * (3 * tasks * width + 2 * tasks + 8 * width)


def _ranks(needs: Needs) -> int:
    """Histograms a task: a search of magnitudes keeps one for each rank, two at most."""
    return 2 if any(isinstance(s, Magnitudes) for s in needs.statistics.values()) else 0


def _bins(histograms: int, room: int) -> int:
    bins = MAX_BINS
    while bins > SMALLEST_BINS and histograms * bins * 20 > room:
        bins //= 2
    return bins
