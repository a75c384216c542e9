"""How much is in hand at once, so that memory stays under a number the user gives."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import RecipeError
from ..merge import Needs
from ..ops.gram import BLOCK
from ..ops.kernels import in_use
from ..ops.select import MAX_BINS

if TYPE_CHECKING:
    from .units import Unit

CACHE = 7_000_000
"""Bytes of a slice's rows where a method holds rows: near what a core's second-level cache holds."""

STANDING = 150_000_000
"""Anonymous bytes of the interpreter, numpy, numba and this package before any slice (measured: 120 MB)."""

TORCH = 150_000_000
"""Anonymous bytes of torch beside those (measured: 145 MB), where methods work on whole matrices."""

LARGEST = 1 << 20
"""Entries a slice: long enough to pay for its handling."""

SMALLEST_BINS = 1 << 12
WHOLE_MODEL = ""
"""The group of tensors whose statistics are taken over the whole model."""


@dataclass(frozen=True)
class Budget:
    """Entries a slice, threads, bins a histogram, searches at once, and the anonymous memory this takes at most.

    `rows`: slices are gathered into rows, because no fused kernel does the whole way.
    """

    slice: int
    threads: int
    bins: int
    brackets: int
    rows: bool
    peak: int
    limit: int


NO_BUDGET = Budget(0, 0, 0, 0, False, 0, 0)
"""What a plan has before its memory is planned."""


def make_budget(
    needs: Needs,
    tasks: int,
    units: Sequence["Unit"],
    limit: int,
    threads: int | None,
    slice_: int,
    rounding: str = "nearest",
    reading: float = 0.0,
    gathers: bool = False,
    what: str = "the merge",
) -> Budget:
    """Choose slices that are worth their handling and fit the memory; then as many threads as that allows.

    `what` is what messages call the run. With `gathers` there is room for the rows of a slice, whether the method
    needs them or not.

    Raises:
        RecipeError: even one thread with the smallest slice needs more than `limit`.
    """
    threads = max(1, threads or len(os.sched_getaffinity(0)))
    width = 8 if any(u.work == "F64" for u in units) else 4
    plain = rounding != "nearest" or width == 8 or in_use() == "plain"
    rows = plain or gathers or needs.blend is None or any(needs.gathers(u.settings) for u in units if u.merged)
    widest = _whole_blocks(max((u.count for u in units if u.merged and not u.whole), default=1))
    room, brackets = limit - STANDING, tasks * _ranks(needs)
    whole_model = any(u.merged and u.group == WHOLE_MODEL for u in units)
    histograms = brackets * (1 if whole_model else threads + 1)
    bins = _bins(histograms * (8 + 3 * width), room // 3)
    searching = histograms * (8 + 3 * width) * bins + _holds(needs, units, threads + 1)
    entry = _bytes(tasks, brackets, width, rows) + math.ceil(reading)
    entry += _ranking_bytes(tasks, rows) if needs.scope == "row" else 0
    entry += _curved_bytes(needs, tasks, width)
    size = min(widest, _whole_blocks(slice_ or LARGEST))
    least_size = BLOCK
    if needs.scope == "row":
        least_size = _whole_blocks(max((u.columns for u in units if u.merged), default=1))
        size = max(size, least_size)
    if not slice_:
        beside = tasks + 1 if needs.curvature else 0
        most = CACHE // (width * (tasks + 2 + beside)) if rows else LARGEST
        while size // 2 >= least_size and size > BLOCK and (size > most or threads * entry * size > room - searching):
            size = _whole_blocks(size // 2)
    each = entry * size + max((_whole_bytes(needs, u, gathers) for u in units if u.merged), default=0)
    standing = STANDING + (TORCH if any(u.whole for u in units) else 0)
    fitting = (limit - standing - searching) // each
    if fitting < 1:
        least = standing + searching + each
        raise RecipeError(
            f"{what} needs {least / 1e6:.0f} MB at its widest tensor and 'memory' is {limit / 1e6:.0f} MB. "
            f"Type e.g. --memory {(least + each) / 1e6:.0f}MB."
        )
    threads = min(threads, fitting)
    return Budget(size, threads, bins, brackets, rows, standing + searching + threads * each, limit)


def _whole_bytes(needs: Needs, unit: "Unit", gathers: bool) -> int:
    """Bytes that a method holds to merge a tensor that it must see as a whole; with `gathers` all inputs, too."""
    if not unit.whole:
        return 0
    count = math.prod(unit.piece)
    columns = math.prod(unit.piece[1:]) if len(unit.piece) > 1 else count
    held = needs.holds(len(unit.sources), count // max(1, columns), columns, unit.settings)
    inputs = len(unit.sources) + 2 if gathers else 0
    return unit.numpy.itemsize * (held + (2 + inputs) * count)


def _whole_blocks(count: int) -> int:
    return -(-max(1, count) // BLOCK) * BLOCK


def _bytes(tasks: int, brackets: int, width: int, rows: bool) -> int:
    """Bytes an entry of a slice takes: the result, patterns that searches see and copies of them; or rows.

    With rows: these, three copies that steps make of them, random words and masks, and single rows around them.
    """
    return 8 + (4 * tasks * width + 3 * tasks + 8 * width if rows else 8 * brackets)


def _ranking_bytes(tasks: int, rows: bool) -> int:
    """Bytes an entry takes while it is ranked within its row: itself, with its place and again, what comes of it.

    By the plain operations: the sorted row, its order, ranks from both ends; for each task chances and their divisors.
    """
    return 20 + 2 * tasks + (60 + 14 * tasks if rows else 0)


def _curved_bytes(needs: Needs, tasks: int, width: int) -> int:
    """Bytes an entry of a slice takes of the tasks' diagonals and the base's: themselves, and products with them."""
    return 2 * (tasks + 1) * width if needs.curvature and needs.scope != "tensor" else 0


def _holds(needs: Needs, units: Sequence["Unit"], groups: int) -> int:
    """Bytes of what searches hold a number of for each row or column, where the largest are at work together."""
    given = [(len(u.sources), u.count, u.columns, u.settings) for u in units if u.merged]
    held = sorted(sum(s.holds(*unit) for s in needs.statistics.values()) for unit in given)
    return sum(held[-groups:])


def _ranks(needs: Needs) -> int:
    """Brackets a task: a search of magnitudes has one for each rank."""
    return sum(s.count for s in needs.statistics.values())


def _bins(width: int, room: int) -> int:
    """Return how many bins there may be, where one takes `width` bytes in all histograms together.

    A bin is a count, its least and greatest pattern, and one pattern that waits to be counted.
    """
    bins = MAX_BINS
    while bins > SMALLEST_BINS and width * bins > room:
        bins //= 2
    return bins
