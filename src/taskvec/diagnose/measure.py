"""The sums of one tensor, added up over its slices, and the group they make."""

from threading import Lock

import numpy as np
import numpy.typing as npt

from ..ops.gram import BLOCK, fold, total
from ..ops.meeting import Meeting, measure
from ..ops.shapes import Float, Int64
from ..ops.slices import Slice
from ..store.layers import layer_of
from .kinds import kind_of
from .report import Counts, Group, Matrix, Rounding

LOOKED_AT = (1 << 20) // BLOCK
"""Blocks of a tensor that are looked at entry by entry, spread evenly over it; all of it where it has no more."""

MOST_PARTS = 1 << 10
"""Blocks whose sums are held before they are added up."""


class Tally:
    """The sums of one tensor. Slices come in any order, from many threads, and the sums do not depend on it."""

    def __init__(self, count: int, least: Float[np.ndarray, " task"], code: str) -> None:
        """Begin with none.

        Args:
            count: entries of the tensor.
            least: from which magnitude an entry is among the largest of its task.
            code: the type of the output.
        """
        self.entries, self.tasks = count, len(least)
        self._least, self._code = least, code
        self._blocks = max(1, -(-count // BLOCK))
        self._lock = Lock()
        self._sums: list[npt.NDArray[np.float64]] = []
        self._counts: list[npt.NDArray[np.int64]] = [np.zeros((4, self.tasks, self.tasks), np.int64)]
        self._stays = np.zeros((2, self.tasks + 1), np.int64)
        self._largest = np.zeros(self.tasks)
        self.seen = self.sampled = 0
        self.finite = True

    def look(self, part: Slice) -> None:
        """Add a slice; `finite` tells whether anything so far held NaN or Inf."""
        seen = looked_at(part.start // BLOCK, max(1, -(-part.count // BLOCK)), self._blocks)
        found = measure(part, seen, self._least, self._code)
        rows = _in_a_row(found, seen)
        with self._lock:
            self.finite &= found.finite
            self.seen += part.count
            self.sampled += found.sampled
            self._sums.extend(rows)
            if self.whole:
                self._sums = [total(self._sums)]  # a model has thousands of tensors, and all stay until the end
            elif len(self._sums) > MOST_PARTS:
                self._sums = fold(self._sums)
            self._counts[0] += np.stack([found.nonzero, found.opposite, found.kept, found.kept_opposite])
            self._stays += np.stack([found.gone, found.changed])
            self._largest = np.maximum(self._largest, found.largest)

    @property
    def whole(self) -> bool:
        """Whether all of the tensor was seen."""
        return self.seen >= self.entries

    @property
    def parts(self) -> int:
        """How many partial sums are held: one where all of the tensor was seen."""
        return len(self._sums)

    def group(
        self, name: str, shape: tuple[int, ...], order: Int64[np.ndarray, " task"], matrices: tuple[Matrix, ...] = ()
    ) -> Group:
        """Return the sums as a group of one tensor, its tasks in another order: task t is number order[t] here."""
        sums, tasks = total(self._sums), self.tasks
        pairs = tasks * (tasks + 1) // 2
        gram = np.zeros((tasks, tasks))
        gram[np.tril_indices(tasks)] = sums[:pairs]
        gram = np.where(np.tri(tasks, dtype=bool), gram, gram.T)
        both, each = np.ix_(order, order), np.append(order, tasks)
        lost, energy = sums[pairs + 1 : pairs + tasks + 2], sums[pairs + tasks + 2 :]
        counts = Counts(self.sampled, *(c[both] for c in self._counts[0]))
        rounding = Rounding(energy[each], lost[each], *(s[each] for s in self._stays))
        stack, layer = layer_of(name) or ("", None)
        kind, largest = kind_of(name, shape), self._largest[order]
        base = float(sums[pairs])
        return Group(stack, layer, kind, 1, self.entries, base, gram[both], largest, counts, rounding, matrices)


def looked_at(first: int, blocks: int, among: int) -> npt.NDArray[np.bool_]:
    """Tell which of some blocks are looked at entry by entry: `LOOKED_AT` of all, at even distances.

    >>> looked_at(0, 3, 3).tolist(), int(looked_at(0, 1000, 1000).sum())
    ([True, True, True], 64)
    """
    edges = np.arange(first, first + blocks + 1) * min(LOOKED_AT, among) // among
    seen: npt.NDArray[np.bool_] = edges[1:] != edges[:-1]
    return seen


def least_of(rows: Float[np.ndarray, "task n"], kept: float) -> Float[np.ndarray, " task"]:
    """Return the magnitude that a share `kept` of each task's entries reaches; zeros do not count where it is 0.

    >>> least_of(np.array([[1.0, -4.0, 3.0, 2.0]]), 0.5).tolist()
    [3.0]
    """
    if not rows.shape[1]:
        return np.zeros(len(rows), rows.dtype)
    rank = rows.shape[1] - max(1, round(kept * rows.shape[1]))
    least: Float[np.ndarray, " task"] = np.partition(np.abs(rows), rank, axis=1)[:, rank]
    return least


def _in_a_row(found: Meeting, seen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return all that is said of each block: (block, number). Half of each Gram matrix says all of it."""
    tasks = found.grams.shape[1]
    half = found.grams[(slice(None), *np.tril_indices(tasks))]
    energy = np.diagonal(found.grams, axis1=1, axis2=2) * seen[:, None]
    return np.concatenate([half, found.base[:, None], found.lost, energy, found.mean[:, None]], axis=1)
