"""Statistics as methods take them: diagonals slice by slice, and whole metrics one task at a time."""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import NumbersError
from ..merge.curvature import Measured
from ..ops.metric import Diagonal, Kronecker, Metric, Rotated
from ..store.statistics import GRADIENT
from .curved import Known, Sides

if TYPE_CHECKING:
    import torch

    from .planned import Plan
    from .units import Unit

Rows = npt.NDArray[np.floating]


def diagonals(sides: Sides, unit: "Unit", start: int, stop: int) -> tuple[Rows, Rows | None]:
    """Return entries `start` … `stop` of each task's diagonal as (task, n), and of the base's, in the unit's precision.

    Raises:
        NumbersError: NaN, Inf or a number below 0.
    """
    out = np.empty((len(sides.tasks), stop - start), unit.numpy)
    for row, known in zip(out, sides.tasks, strict=True):
        row[:] = _diagonal(known, start, stop)
    base = np.array(_diagonal(sides.base, start, stop), unit.numpy) if sides.base else None
    return out, base


def _diagonal(known: Known, start: int, stop: int) -> Rows:
    values = _read(known, "", start, stop)
    if values.size and not values.min() >= 0:
        raise NumbersError(_wrong(known, "numbers below 0"))
    return values


def _read(known: Known, part: str, start: int = 0, stop: int | None = None) -> Rows:
    tensor = known.statistics.tensor(known.name, part)
    stop = tensor.count if stop is None else stop
    known.files.load(tensor, start, stop)
    values = known.statistics.read(known.name, part, start, stop)
    if not np.isfinite(values).all():
        raise NumbersError(_wrong(known, "NaN or Inf"))
    return values


def _wrong(known: Known, what: str) -> str:
    return f"the statistics {known.statistics.path} hold {what} at '{known.name}'. Measure again."


class Measures(Sequence[Measured]):
    """What was measured of one tensor (or piece of it) in each model; read anew whenever one is asked for."""

    def __init__(self, sides: Sides, unit: "Unit", start: int) -> None:
        """Take the statistics of a tensor, and the entry that a piece begins with."""
        self._sides, self._unit, self._start = sides, unit, start

    def __len__(self) -> int:
        return len(self._sides.tasks)

    def __getitem__(self, task: Any) -> Any:
        """Read what was measured in one model."""
        if not 0 <= task < len(self):
            raise IndexError(task)
        return measured(self._sides.tasks[task], self._unit, self._start)


def measured(known: Known, unit: "Unit", start: int = 0) -> Measured:
    """Return what one model's statistics say of a tensor, or of the piece of it that begins with an entry.

    Raises:
        NumbersError: NaN, Inf, or a number below 0 where there can be none.
    """
    import torch

    def tensor(values: Rows, shape: tuple[int, ...]) -> "torch.Tensor":
        return torch.from_numpy(np.array(values, unit.numpy)).reshape(shape)

    def whole(part: str) -> "torch.Tensor":
        return tensor(_read(known, part), known.statistics.shapes(known.name)[part])

    stop = start + prod(unit.piece)
    kind = known.statistics.kind_of(known.name)
    if kind == "diagonal":
        metric: Metric = Diagonal(tensor(_diagonal(known, start, stop), unit.piece))
    elif kind == "eigen":
        metric = _rotated(whole("output_vectors"), whole("input_vectors"), whole("eigenvalues"), unit)
    else:
        metric = _kronecker(whole("output") if kind == "kronecker" else None, whole("input"), unit)
    gradient = tensor(_read(known, GRADIENT, start, stop), unit.piece) if known.gradient else None
    return Measured(metric, known.statistics.total, gradient)


def _kronecker(outer: Any, inner: Any, unit: "Unit") -> Kronecker:
    """Return B ⊗ A on a weight as it is stored: a layer that is stored (in, out) has them the other way round."""
    return Kronecker(inner, outer) if unit.role == "turned" else Kronecker(outer, inner)


def _rotated(outer: Any, inner: Any, values: Any, unit: "Unit") -> Rotated:
    return Rotated(inner, outer, values.T) if unit.role == "turned" else Rotated(outer, inner, values)


def given(plan: "Plan", unit: "Unit", start: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the keyword arguments of statistics that a method gets with a slice, whole rows, or a whole tensor.

    Args:
        plan: what is merged.
        unit: a tensor of the output.
        start: the first entry of the slice.
        shape: in which the method is shown it.
    """
    needs = plan.method.needs
    names = [*(["curvature"] if needs.curvature else []), *(["base_curvature"] if needs.base_curvature else [])]
    sides = plan.curvature.get(unit.name)
    values: tuple[Any, ...] = (None, None)
    if sides and unit.whole:
        values = (Measures(sides, unit, start), measured(sides.base, unit, start) if sides.base else None)
    elif sides:
        own, base = diagonals(sides, unit, start, start + prod(shape))
        values = (own.reshape(len(own), *shape), None if base is None else base.reshape(shape))
    return dict(zip(names, values, strict=False))
