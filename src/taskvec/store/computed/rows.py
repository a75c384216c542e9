"""Rows gathered from other tensors: an embedding or a head in the order of another vocabulary."""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import numpy.typing as npt

from ...errors import MismatchError
from ...ops.floats import Raw, narrow, widen
from ..dtypes import BITS, is_float
from ..tensors import Files, Tensor, TensorInfo

Ints = npt.NDArray[np.int64]

ZERO, MEAN = -1, -2
BLOCK = 1 << 18
"""Entries that are gathered, converted or added up at a time."""

GAP = 1 << 16
"""Bytes between two wanted rows that are read along rather than skipped."""


@dataclass(frozen=True, eq=False)
class Picks:
    """Where each row comes from.

    source: for each row, which tensor it is copied from; or ZERO; or MEAN, of the rows that `means` lists.
    row: for each row, which row of that tensor.
    mean_at, mean_rows: the rows that are means, ascending, and for each the row of every tensor, -1 for none.
    size: rows in all. Those after `len(source)` are each the mean of all rows before them.
    """

    source: npt.NDArray[np.int32]
    row: Ints
    mean_at: Ints
    mean_rows: Ints
    size: int

    @property
    def count(self) -> int:
        """Rows that are not padding."""
        return len(self.source)

    @cached_property
    def digest(self) -> str:
        """A hash of all of it."""
        whole = hashlib.sha256(f"{self.count}/{self.size}/{self.mean_rows.shape}".encode())
        for part in (self.source, self.row, self.mean_at, self.mean_rows):
            whole.update(np.ascontiguousarray(part).tobytes())
        return whole.hexdigest()[:32]

    def without(self, absent: Sequence[int]) -> "Picks":
        """Return the same picks where some tensors do not exist: their rows are zero, and are left out of means."""
        if not absent:
            return self
        gone = np.isin(self.source, absent)
        source, means = np.where(gone, ZERO, self.source).astype(np.int32), self.mean_rows.copy()
        means[list(absent)] = -1
        source[self.mean_at[(means < 0).all(axis=0)]] = ZERO
        left = source[self.mean_at] == MEAN
        return Picks(source, self.row, self.mean_at[left], means[:, left], self.size)

    def keeps(self, source: int, rows: int) -> bool:
        """Tell whether these are the rows of one tensor with so many rows, all of them and in their order."""
        return self.size == self.count == rows and bool(
            (self.source == source).all() and (self.row == np.arange(rows)).all()
        )


class Rows(Tensor):
    """A tensor of one axis or more whose rows (entries that share a first index) come from others, or are means.

    Bits are moved as they are where all tensors are of one type; else everything is float32, or float64 where one is.
    Means are added up in float32 (float64) in the order of the tensors, and rounded to the type once.
    """

    def __init__(self, name: str, tensors: Sequence[Tensor | None], picks: Picks) -> None:
        """Take the tensors that `picks` numbers; None where there is none.

        Raises:
            MismatchError: rows of different lengths, or types that cannot be mixed or averaged.
        """
        picks = picks.without([i for i, tensor in enumerate(tensors) if tensor is None])
        used = {*np.unique(picks.source).tolist(), *np.flatnonzero((picks.mean_rows >= 0).any(axis=1)).tolist()}
        self.name, self.picks = name, picks
        self._tensors = {i: tensor for i, tensor in enumerate(tensors) if tensor is not None and i in used}
        first = next(tensor for tensor in (*self._tensors.values(), *tensors) if tensor is not None)
        for tensor in self._tensors.values():
            if tensor.shape[1:] != first.shape[1:]:
                raise MismatchError(
                    f"'{name}' has rows of {tensor.shape[1:]} in one model and of {first.shape[1:]} in another, "
                    f"so tokens cannot be taken from one to the other. Use models of one width."
                )
        self.dtype = self._common_type(first)
        self.shape = (picks.size, *first.shape[1:])
        self._width = prod(first.shape[1:])
        self.scratch = BITS[self.dtype].itemsize + max((t.scratch for t in self._tensors.values()), default=0.0)
        self._padding: Raw | None = None
        self._lock = threading.Lock()

    def _common_type(self, first: Tensor) -> str:
        codes = {tensor.dtype for tensor in self._tensors.values()} or {first.dtype}
        adds = self.picks.mean_at.size > 0 or self.picks.size > self.picks.count
        if (len(codes) > 1 or adds) and (wrong := [code for code in sorted(codes) if not is_float(code)]):
            raise MismatchError(
                f"'{self.name}' is {wrong[0]}, whose rows cannot be averaged or mixed with another type. "
                f"Convert that model to bfloat16 first."
            )
        return codes.pop() if len(codes) == 1 else "F64" if "F64" in codes else "F32"

    @property
    def on_disk(self) -> Sequence[TensorInfo]:
        """Every part of every tensor that a row comes from."""
        return tuple(dict.fromkeys(part for tensor in self._tensors.values() for part in tensor.on_disk))

    @property
    def formula(self) -> str:
        """The picks, and the formulas of the tensors behind."""
        parts = [f"{i}:{t.name}:{t.dtype}:{t.shape}:{t.formula}" for i, t in self._tensors.items()]
        return f"rows:{self.picks.digest}:{self.dtype}({';'.join(parts)})"

    def read(self, files: Files, start: int, stop: int) -> Raw:
        """Return a view of one tensor where a slice is a run of its rows; else gather whole rows and cut them."""
        if stop <= start:
            return np.empty(0, BITS[self.dtype])
        first, last = start // self._width, -(-stop // self._width)
        skip = start - first * self._width
        if run := self._run(first, last):
            at = run[1] * self._width + skip
            return files.raw(run[0], at, at + stop - start)
        out = np.zeros((last - first, self._width), BITS[self.dtype])
        for step in range(first, last, self._step):
            end = min(step + self._step, last)
            self._gather(files, step, min(end, self.picks.count), out[step - first :])
        if last > self.picks.count:
            out[max(0, self.picks.count - first) :] = self._mean_of_all(files)
        return out.reshape(-1)[skip : skip + stop - start]

    @property
    def _step(self) -> int:
        return max(1, BLOCK // self._width)

    def _run(self, first: int, last: int) -> tuple[Tensor, int] | None:
        """Return the tensor and row where rows `first` … `last` lie one after the other, as they are; or None."""
        source = self.picks.source[first:last]
        if last > self.picks.count or source[0] < 0 or (source != source[0]).any():
            return None
        tensor, row = self._tensors[int(source[0])], self.picks.row[first:last]
        if tensor.dtype != self.dtype or not _consecutive(row):
            return None
        return tensor, int(row[0])

    def _gather(self, files: Files, first: int, last: int, out: Raw) -> None:
        """Fill the first rows of `out` with rows `first` … `last`, none of them padding."""
        source, row = self.picks.source[first:last], self.picks.row[first:last]
        for i in np.unique(source).tolist():
            if i == MEAN:
                self._means(files, first, last, out)
            elif i != ZERO:
                at = np.flatnonzero(source == i)
                taken = self._take(files, self._tensors[i], row[at])
                out[at] = taken if self._tensors[i].dtype == self.dtype else self._widen(taken, i)

    def _widen(self, taken: Raw, i: int) -> Raw:
        kind = np.float64 if self.dtype == "F64" else np.float32
        return widen(taken.reshape(-1), self._tensors[i].dtype, kind).reshape(taken.shape)

    def _means(self, files: Files, first: int, last: int, out: Raw) -> None:
        here = slice(*np.searchsorted(self.picks.mean_at, (first, last)))
        at, rows = self.picks.mean_at[here] - first, self.picks.mean_rows[:, here]
        kind = np.float64 if self.dtype == "F64" else np.float32
        total = np.zeros((len(at), self._width), kind)
        for i, tensor in self._tensors.items():
            if (has := np.flatnonzero(rows[i] >= 0)).size:
                total[has] += self._widen(self._take(files, tensor, rows[i, has]), i)
        total /= (rows >= 0).sum(axis=0, dtype=kind)[:, None]
        out[at] = narrow(total.reshape(-1), self.dtype).reshape(total.shape)

    def _take(self, files: Files, tensor: Tensor, rows: Ints) -> Raw:
        """Return some rows of a tensor: a view where they lie one after the other."""
        width = self._width
        if _consecutive(rows):
            return files.raw(tensor, int(rows[0]) * width, (int(rows[-1]) + 1) * width).reshape(len(rows), width)
        if isinstance(tensor, TensorInfo) and tensor.begin % tensor.itemsize == 0:
            gathered: Raw = files.raw(tensor).reshape(-1, width)[rows]
            return gathered
        out = np.empty((len(rows), width), BITS[tensor.dtype])
        for begin, end in _spans(rows, 0):
            there = np.flatnonzero((rows >= begin) & (rows < end))
            out[there] = files.raw(tensor, begin * width, end * width).reshape(-1, width)[rows[there] - begin]
        return out

    def _mean_of_all(self, files: Files) -> Raw:
        """Return the mean of all rows that are not padding; found once, in one order, however slices are cut."""
        with self._lock:
            if self._padding is None:
                total = np.zeros(self._width, np.float64)
                for first in range(0, self.picks.count, self._step):
                    last = min(first + self._step, self.picks.count)
                    rows = self.read(files, first * self._width, last * self._width)
                    total += widen(rows, self.dtype, np.float64).reshape(-1, self._width).sum(axis=0)
                self._padding = narrow(total / max(1, self.picks.count), self.dtype)
            return self._padding

    def ranges(self, start: int, stop: int) -> Sequence[tuple[TensorInfo, int, int]]:
        """Return the parts behind the rows that a slice touches; rows that lie near each other are one range."""
        if stop <= start:
            return []
        first, last = start // self._width, -(-stop // self._width)
        if last > self.picks.count:
            return super().ranges(start, stop)
        if run := self._run(first, last):
            at = run[1] * self._width + start - first * self._width
            return list(run[0].ranges(at, at + stop - start))
        return [part for i, rows in self._wanted(first, last) for part in self._ranges_of(i, rows)]

    def _wanted(self, first: int, last: int) -> Iterator[tuple[int, Ints]]:
        source, row = self.picks.source[first:last], self.picks.row[first:last]
        here = slice(*np.searchsorted(self.picks.mean_at, (first, last)))
        for i in self._tensors:
            added = self.picks.mean_rows[i, here]
            rows = np.concatenate([row[source == i], added[added >= 0]])
            if rows.size:
                yield i, rows

    def _ranges_of(self, i: int, rows: Ints) -> Iterator[tuple[TensorInfo, int, int]]:
        tensor, width = self._tensors[i], self._width
        spans = _spans(rows, GAP // (width * tensor.itemsize))
        if isinstance(tensor, TensorInfo):
            yield from ((tensor, begin * width, end * width) for begin, end in spans)
        else:
            for begin, end in spans:
                yield from tensor.ranges(begin * width, end * width)


def _consecutive(rows: Ints) -> bool:
    return int(rows[-1]) - int(rows[0]) == len(rows) - 1 and bool((np.diff(rows) == 1).all())


def _spans(rows: Ints, gap: int) -> Iterator[tuple[int, int]]:
    """Yield ranges that cover the rows, over gaps of at most `gap` rows."""
    rows = np.unique(rows)
    cuts = np.flatnonzero(np.diff(rows) > gap + 1)
    yield from zip(rows[np.r_[0, cuts + 1]].tolist(), (rows[np.r_[cuts, len(rows) - 1]] + 1).tolist(), strict=True)
