"""One slice: from the stored bits of every input to the stored bits of the result."""

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from ..errors import NumbersError
from ..merge.statistics import Search
from ..ops import floats
from ..ops.chance import Chance, words
from ..ops.slices import Finished, Slice, Stored, blend_stored, finish, gather
from ..store.dtypes import BITS, LONG_NAMES
from ..store.tensors import Tensor, TensorInfo
from .budget import LARGEST, Budget
from .curved_slices import given as given_curvature
from .inputs import Input
from .planned import Plan
from .units import Unit
from .whole import Tasks, no_decomposition

Rows = npt.NDArray[np.floating]

STORED_RUN, COMPUTED_RUN = 32, 1024
"""Entries of a run in a sample; a computed tensor is cheaper in long runs."""

FORGOTTEN = 1 << 25
"""Bytes of an input that are let go of together."""


class Scratch:
    """A thread's buffers, made once and used again for every slice. What is not touched takes no memory."""

    def __init__(self, tasks: int, budget: Budget) -> None:
        """Room for a result; and for rows and a reference, or for the patterns that a search sees."""
        self.tasks, self._with_rows, self._most = tasks, budget.rows, budget.slice
        self._out = np.empty(8 * budget.slice, np.uint8)
        self._space = np.empty(budget.slice * max(8 * (tasks + 1) * budget.rows, 4 * budget.brackets), np.uint8)

    def out(self, count: int) -> npt.NDArray[np.uint8] | None:
        """Return room for so many entries of a result; none for a tensor that is longer than a slice."""
        return self._out if count <= self._most else None

    @property
    def room(self) -> npt.NDArray[np.uint32]:
        """All of the space, for bit patterns."""
        return self._space.view(np.uint32)

    def rows(self, unit: Unit, count: int) -> tuple[Rows, Rows] | tuple[None, None]:
        """Return (task, count) rows and one more, as contiguous arrays in the unit's precision; or none."""
        if not self._with_rows or count > self._most:
            return None, None
        entries = self._space.view(unit.numpy)
        return entries[: self.tasks * count].reshape(self.tasks, count), entries[self.tasks * count :][:count]


class Arithmetic:
    """The maths of a plan, on slices. Called by many threads, each with its own scratch."""

    keeps: bool = False
    """Whether pages that were read stay mapped, because they will be read again soon."""

    asks: bool = True
    """Whether the method's statistics are needed, those that a pass finds and those measured on data."""

    mending: str = "Mend that model, or type 'nonfinite: pass' to merge them as they are."
    """What can be done about NaN and Inf in an input."""

    def __init__(self, plan: Plan, keeps: bool = False) -> None:
        """Take the plan, and look up once where every tensor lies."""
        self.plan, self.keeps = plan, keeps
        self.on_base = plan.space == "delta"
        self.careful = plan.recipe.nonfinite == "refuse"

    def stored_slice(self, source: tuple[Input, Tensor], start: int, stop: int) -> Stored:
        """Return a slice of an input, read into memory; a view of the file where it is stored as it is."""
        model, tensor = source
        model.checkpoint.files.load(tensor, start, stop)
        return Stored(model.checkpoint.files.raw(tensor, start, stop), tensor.dtype, model.kind == "delta")

    def doing(self, unit: Unit) -> str:
        """Return what is done to a unit, for messages."""
        return f"merging '{unit.name}' by '{self.plan.method.name}'"

    def forget(self, unit: Unit, start: int, stop: int) -> None:
        """Let go of the pages behind a slice, many at a time: the system maps files in pieces of megabytes."""
        for files, tensor in self.plan.files(unit) if not self.keeps else ():
            step = FORGOTTEN // tensor.itemsize
            end = stop if stop == unit.count else stop // step * step
            if tensor.count == unit.count:
                files.forget(tensor, start // step * step, end)
            elif stop == unit.count:  # a factor, which every piece needs
                files.forget(tensor, 0, tensor.count)

    def part(self, unit: Unit, start: int, stop: int, scratch: Scratch) -> Slice:
        """Return a slice of every input, read into memory."""
        inputs = [self.stored_slice(source, start, stop) for source in self.plan.sources(unit)]
        base = self.stored_slice(self.plan.origin(unit), start, stop) if self.on_base else None
        rows, reference = scratch.rows(unit, stop - start)
        columns = unit.columns if self.plan.method.needs.scope == "row" else 0
        chance = self.chance(unit, start)
        return Slice(inputs, base, unit.numpy, chance, rows, reference, scratch.room, columns)

    def look(self, unit: Unit, start: int, stop: int, search: Search, scratch: Scratch) -> Any:
        """Return what a slice contributes to a statistic.

        Raises:
            NumbersError: NaN or Inf in an input, unless they may pass.
        """
        finite, seen = search.look(self.part(unit, start, stop, scratch))
        if not finite and self.careful:
            self.blame(unit)
        return seen

    def sample(self, unit: Unit, wanted: int) -> Rows:
        """Return about `wanted` entries of each task, in short runs spread evenly over the tensor."""
        stored = all(isinstance(tensor, TensorInfo) for _, tensor in self.plan.read(unit))
        run = STORED_RUN if stored else COMPUTED_RUN
        inputs = [_spread(source, wanted, run) for source in self.plan.sources(unit)]
        base = _spread(self.plan.origin(unit), wanted, run) if self.on_base else None
        count = inputs[0].raw.size
        rows, reference = np.empty((len(inputs), count), unit.numpy), np.empty(count, unit.numpy)
        gather(inputs, base, rows, reference)
        self.forget(unit, 0, unit.count)
        return rows

    def chance(self, unit: Unit, start: int) -> Chance:
        """Return the random words of a slice."""
        # Models of equal content share their random words, so what names a model is its content.
        keys = tuple(self.plan.models[number].fingerprint for number, _ in unit.sources)
        return Chance(self.plan.recipe.seed, keys, unit.name, start)

    def merge(self, unit: Unit, start: int, stop: int, statistics: Mapping[str, Any], scratch: Scratch) -> Finished:
        """Return the stored bits of a merged slice (in the scratch), and what rounding cost.

        Raises:
            NumbersError: NaN or Inf in an input, or a result that the stored type cannot hold.
        """
        if unit.whole:
            return self.finished(unit, start, self.merged_whole(unit, start, statistics))
        needs = self.plan.method.needs
        scale = unit.scale if self.on_base else None
        drawn = self.rounding_words(unit, start, stop)
        weights = np.array(unit.weights)
        part = self.part(unit, start, stop, scratch)
        given = self._given(unit, statistics)
        out = scratch.out(stop - start)
        if needs.blend and (how := needs.blend(weights, **given)):
            done = blend_stored(part, how, scale, unit.dtype, drawn, out)
        else:
            finite, rows, reference = part.gather()
            merged = self._by_function(unit, part, rows, given)
            done = replace(finish(merged, reference, scale, unit.dtype, drawn, out), finite=finite)
        if self.careful and not done.finite:
            self.blame(unit)
        if self.careful and not np.isfinite(done.lost + done.moved):
            self.overflow(unit, done.raw)
        return done

    def merged_whole(self, unit: Unit, start: int, statistics: Mapping[str, Any]) -> Rows:
        """Return what a method makes of a whole tensor, or of the piece of it that begins with an entry.

        It is flat, before it is scaled or stored. Tasks are read in turn.

        Where NaN and Inf may pass, a matrix with one of them has no decomposition, and all of it is NaN.

        Raises:
            NumbersError: NaN or Inf in an input, or products that overflow.
        """

        def read(task: int) -> Rows:
            return self._task(unit, task, start)

        tasks = Tasks(read, len(unit.sources), unit.piece, unit.numpy)
        extra: dict[str, Any] = {"chance": self.chance(unit, start)} if self.plan.method.needs.chance else {}
        extra |= given_curvature(self.plan, unit, start, unit.piece)
        weights, given = np.array(unit.weights), self._given(unit, statistics)
        try:
            merged = self.plan.method.function(tasks, weights, **given, **extra)
        except no_decomposition() as exc:
            if self.careful:
                raise NumbersError(
                    f"'{unit.name}' cannot be decomposed: its products overflow {unit.numpy.name}. Type smaller "
                    f"weights, or an override with 'spectral: none' for it."
                ) from exc
            return np.full(self.plan.slice_of(unit), np.nan, unit.numpy)
        return np.asarray(merged.cpu().numpy(), unit.numpy).reshape(-1)

    def _task(self, unit: Unit, task: int, first: int) -> Rows:
        """Return one task's vector (or weights), flat: one row of what `gather` gives, made slice by slice."""
        out = np.empty(prod(unit.piece), unit.numpy)
        for at in range(0, out.size, LARGEST):
            row = out[None, at : at + LARGEST]
            start, stop = first + at, first + at + row.shape[1]
            stored = self.stored_slice(self.plan.sources(unit)[task], start, stop)
            base = self.stored_slice(self.plan.origin(unit), start, stop) if self.on_base else None
            finite = gather([stored], base, row, np.empty(row.shape[1], unit.numpy))
            if self.careful and not finite:
                self.blame(unit)
        return out

    def finished(self, unit: Unit, first: int, merged: Rows) -> Finished:
        """Return a whole tensor or piece as stored: base + scale · merged, slice by slice, and what rounding cost."""
        scale, kind, parts = unit.scale if self.on_base else None, BITS[unit.dtype], []
        raw = np.empty(merged.size, kind)
        for at in range(0, merged.size, LARGEST):
            end = min(at + LARGEST, merged.size)
            start, stop = first + at, first + end
            stored = self.stored_slice(self.plan.origin(unit), start, stop)
            reference = floats.widen(stored.raw, stored.code, unit.numpy)
            words = self.rounding_words(unit, start, stop)
            done = finish(merged[at:end], reference, scale, unit.dtype, words)
            raw[at:end] = done.raw
            parts.append(done)
        whole = Finished(raw, sum(p.lost for p in parts), sum(p.moved for p in parts))
        if self.careful and not np.isfinite(whole.lost + whole.moved):
            self.overflow(unit, raw)
        return whole

    def delta(self, unit: Unit, part: Slice, rows: Rows, statistics: Mapping[str, Any], scratch: Scratch) -> Rows:
        """Return what a method makes of the gathered rows of a slice, before it is scaled or stored."""
        if unit.whole:
            return self.merged_whole(unit, part.start, statistics)
        given = self._given(unit, statistics)
        needs = self.plan.method.needs
        if not needs.blend or not (how := needs.blend(np.array(unit.weights), **given)):
            return self._by_function(unit, part, rows, given)
        code = "F32" if unit.numpy == np.float32 else "F64"
        whole = Slice.of(rows, part.chance, part.columns)
        return np.asarray(blend_stored(whole, how, None, code, None, scratch.out(part.count)).raw)

    def _given(self, unit: Unit, statistics: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments that a method gets beside its weights."""
        needs = self.plan.method.needs
        depth = {"depth": unit.depth} if needs.depth else {}
        return {**unit.settings, **statistics, **depth, **({"role": unit.role} if needs.role else {})}

    def _by_function(self, unit: Unit, part: Slice, rows: Rows, given: Mapping[str, Any]) -> Rows:
        """Return what a method's own function makes of gathered rows, flat."""
        needs = self.plan.method.needs
        extra: dict[str, Any] = {"chance": part.chance} if needs.chance else {}
        extra |= {"place": (part.start, unit.columns)} if needs.place else {}
        shape = self._shape(unit, part.count)
        extra |= given_curvature(self.plan, unit, part.start, shape)
        stack = rows.reshape(len(rows), *shape)
        merged = self.plan.method.function(stack, np.array(unit.weights), **given, **extra)
        return np.asarray(merged, dtype=unit.numpy).reshape(-1)

    def _shape(self, unit: Unit, count: int) -> tuple[int, ...]:
        """Return the shape in which the method is shown a slice."""
        scope = self.plan.method.needs.scope
        if scope == "row":
            return (count // unit.columns if unit.columns else 0, unit.columns)
        return unit.piece if unit.whole else (count,)

    def rounding_words(self, unit: Unit, start: int, stop: int) -> npt.NDArray[np.uint16] | None:
        """Return the random words that a slice is rounded by; none where it is rounded to nearest."""
        if self.plan.recipe.rounding == "nearest":
            return None
        return words(f"{self.plan.recipe.seed}\0rounding\0{unit.name}", start, stop - start)

    def overflow(self, unit: Unit, raw: floats.Raw) -> None:
        """Find out why a sum of squares is not finite: an input, the stored type, or only the sum is too large.

        Raises:
            NumbersError: in the first two cases.
        """
        over = floats.nonfinite(floats.widen(raw, unit.dtype, np.float64))
        if not over:
            return
        self._blame_an_input(unit)
        raise NumbersError(
            f"{over} entries of '{unit.name}' exceed what {LONG_NAMES[unit.dtype]} can hold. "
            f"Type 'dtype: bfloat16' or 'dtype: float32', or smaller weights."
        )

    def blame(self, unit: Unit) -> NoReturn:
        """Say which input holds NaN or Inf in a tensor, and how many."""
        self._blame_an_input(unit)
        raise NumbersError(f"merging '{unit.name}' overflows {unit.numpy.name}, though every input is finite.")

    def _blame_an_input(self, unit: Unit) -> None:
        for model, tensor in self.plan.read(unit):
            bad, step = 0, 1 << 20
            for start in range(0, tensor.count, step):
                raw = model.checkpoint.files.raw(tensor, start, min(start + step, tensor.count))
                bad += floats.nonfinite(floats.widen(raw, tensor.dtype, unit.numpy))
            if bad:
                raise NumbersError(
                    f"'{tensor.name}' in {model.name} holds {bad} NaN or Inf among {tensor.count} entries. "
                    f"{self.mending}"
                )


def _spread(source: tuple[Input, Tensor], wanted: int, run: int) -> Stored:
    model, tensor = source
    number = max(1, round(wanted / run))
    step = tensor.count // number
    files = model.checkpoint.files
    raw = tensor.runs(files, run, step, number) if step > run else files.raw(tensor)
    return Stored(raw, tensor.dtype, model.kind == "delta")
