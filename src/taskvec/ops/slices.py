"""A slice of a merge from stored bits to stored bits: gather the inputs, blend them, finish the result.

`blend_stored` is the whole way at once for methods that are a blend; `gather` and `finish` are the two ends of the way
for the others. Fused kernels do each in one pass when inputs and output are bf16, float16 or float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType

import numpy as np
import numpy.typing as npt

from . import floats
from .arrays import columns_of
from .blend import Blend, Drop, blend
from .chance import Chance
from .combine import add_scaled
from .floats import Raw
from .gram import BLOCK, gram_parts
from .kernels import fused_for
from .select import sift
from .shapes import Float, Float64, UInt16


@dataclass(frozen=True, slots=True)
class Stored:
    """Flat stored bits, the code of their type, and whether they are a task vector already."""

    raw: Raw
    code: str
    delta: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """A result as stored, Σ (stored - merged)² and Σ (merged - reference)².

    `finite` is False when an input was seen to hold NaN or Inf; a weighted sum need not look, its `moved` tells.
    """

    raw: Raw
    lost: float
    moved: float
    finite: bool = True


Bracket = tuple[int, int, int]
"""A task, and the lowest and the highest bit pattern of magnitudes that are looked for in it."""

Seen = tuple[int, int, npt.NDArray[np.unsignedinteger]]
"""How many magnitudes of a slice are above a bracket, how many at its low end, and the patterns of those between."""

Rows = Float[np.ndarray, "task n"]
FUSED_CODES = ("BF16", "F32", "F16")


@dataclass(frozen=True)
class Slice:
    """The same entries of every input, as stored, and room to work in (made when it is needed and not given).

    columns: entries a row, where the slice is whole rows; 0: all of it is one.
    """

    inputs: Sequence[Stored]
    base: Stored | None
    dtype: np.dtype
    chance: Chance = field(default_factory=Chance)
    rows: Rows | None = None
    reference: Float[np.ndarray, " n"] | None = None
    room: npt.NDArray[np.uint32] | None = None
    columns: int = 0

    @classmethod
    def of(
        cls, stack: Float[np.ndarray, " task *shape"], chance: Chance | None = None, columns: int | None = None
    ) -> "Slice":
        """Return tensors in memory as a slice."""
        code, rows = "F32" if stack.dtype == np.float32 else "F64", stack.reshape(len(stack), -1)
        columns = columns_of(stack.shape[1:]) if columns is None else columns
        return cls([Stored(row, code) for row in rows], None, stack.dtype, chance or Chance(), columns=columns)

    @property
    def start(self) -> int:
        """The offset of its first entry in the tensor."""
        return self.chance.start

    @property
    def count(self) -> int:
        """Entries of each input."""
        return int(self.inputs[0].raw.size)

    def gather(self) -> tuple[bool, Rows, Float[np.ndarray, " n"]]:
        """Return whether all is finite, the rows and the reference; see `gather`."""
        rows = np.empty((len(self.inputs), self.count), self.dtype) if self.rows is None else self.rows
        reference = np.empty(self.count, self.dtype) if self.reference is None else self.reference
        return gather(self.inputs, self.base, rows, reference), rows, reference


def gather(inputs: Sequence[Stored], base: Stored | None, rows: Rows, reference: Float[np.ndarray, " n"]) -> bool:
    """Widen every input into `rows`; with a base, subtract it from those that are not task vectors yet.

    `reference` becomes the base or, without one, the first input. Returns whether all of `rows` is finite.
    """
    if (fused := fused_for(rows, reference)) and _fusable([*inputs, *([base] if base else [])]):
        return bool(fused.gather(inputs, base, rows, reference))
    if base:
        floats.widen(base.raw, base.code, rows.dtype, reference)
    for row, stored in zip(rows, inputs, strict=True):
        if base and not stored.delta:
            floats.subtract(stored.raw, stored.code, reference, row)
        else:
            floats.widen(stored.raw, stored.code, rows.dtype, row)
    if not base:
        reference[:] = rows[0]
    return floats.nonfinite(rows.reshape(-1)) == 0


def finish(
    merged: Float[np.ndarray, " n"],
    reference: Float[np.ndarray, " n"],
    scale: float | None,
    code: str,
    words: UInt16[np.ndarray, " n"] | None = None,
    out: Raw | None = None,
) -> Finished:
    """Add a merged task vector to the base (with `scale`; None: it is the weights already), and round for storing.

    `out` is a buffer of bytes that the result may be put in.
    """
    if words is None and code in FUSED_CODES and (fused := fused_for(merged, reference)):
        out = _room(code, merged.size, out)
        return Finished(out, *fused.finish(merged, reference, scale, code, out))
    result = merged if scale is None else add_scaled(reference, merged, scale)
    raw = floats.narrow(result, code, words)
    return Finished(raw, floats.lost(result, raw, code), floats.moved(result, reference))


def blend_stored(
    part: Slice,
    how: Blend,
    scale: float | None,
    code: str,
    words: UInt16[np.ndarray, " n"] | None = None,
    out: Raw | None = None,
) -> Finished:
    """Return what `gather`, `blend` and `finish` give together, without storing anything in between."""
    how.check(len(part.inputs))
    if part.columns and part.count % part.columns:
        raise ValueError(f"{part.count} entries are not whole rows of {part.columns}")
    usual = words is None and code in FUSED_CODES and (part.base is None) == (scale is None)
    if usual and (fused := _fused_for(part)):
        out = _room(code, part.count, out)
        terms = how.terms(part.chance, part.columns or part.count)
        finite, lost, moved = fused.blend(part.inputs, part.base, *terms, scale, code, out)
        return Finished(out, lost, moved, finite)
    finite, rows, reference = part.gather()
    stack = rows.reshape(len(rows), -1, part.columns) if part.columns else rows
    done = finish(blend(stack, how, part.chance).reshape(-1), reference, scale, code, words)
    return replace(done, finite=finite)


def survey(part: Slice, drop: Drop | None, brackets: Sequence[Bracket]) -> tuple[bool, list[Seen]]:
    """Return whether all is finite, and what `gather`, `drop` and `select.sift` give together for each bracket."""
    if brackets and (fused := _fused_for(part)):
        odds = drop.odds(part.chance, len(part.inputs)) if drop else None
        wanted = len(brackets) * part.count
        room = np.empty(wanted, np.uint32) if part.room is None else part.room[:wanted]
        seen: tuple[bool, list[Seen]] = fused.survey(part.inputs, part.base, odds, brackets, room)
        return seen
    finite, rows, _ = part.gather()
    rows = drop(rows, part.chance) if drop else rows
    return finite, [sift(rows[task], low, high) for task, low, high in brackets]


def inner_products(part: Slice) -> tuple[bool, list[Float64[np.ndarray, "task task"]]]:
    """Return whether all is finite, and the Gram matrix of each block; see `gram.gram_parts`."""
    if fused := _fused_for(part):
        finite, parts = fused.grams(part.inputs, part.base, BLOCK)
        return finite, list(parts)
    finite, rows, _ = part.gather()
    return finite, gram_parts(rows)


def _room(code: str, count: int, out: Raw | None) -> Raw:
    """Return where to store `count` entries: the beginning of `out` if it is given, as bytes."""
    kind = np.dtype({"F32": np.float32, "F16": np.float16, "BF16": np.uint16}[code])
    return np.empty(count, kind) if out is None else out[: count * kind.itemsize].view(kind)


def _fused_for(part: Slice) -> ModuleType | None:
    stored = [*part.inputs, *([part.base] if part.base else [])]
    if any(s.raw.size != part.count for s in stored):  # kernels do not check bounds
        raise ValueError(f"slices of {sorted({s.raw.size for s in stored})} entries do not belong together")
    return fused_for() if part.dtype == np.float32 and _fusable(stored) else None


def _fusable(stored: Sequence[Stored]) -> bool:
    return all(s.code in FUSED_CODES and s.raw.flags.c_contiguous for s in stored)
