"""What an inspection does with statistics: which tensors it sees whole, and what is found under their curvature."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from ..diagnose.examining import examined_entries, examined_matrix, examined_tensor, holds
from ..diagnose.mergeability import Examined, Mergeability
from ..errors import RecipeError
from ..merge import Method, find
from ..merge.matrices import TAKEN_APART
from ..ops.merge_sums import MergeSums
from .arithmetic import Arithmetic, Scratch
from .curved_slices import Measures, diagonals
from .planned import Plan
from .schema import Recipe
from .units import Unit
from .whole import Listed, Tasks

KINDS = ("diagonal", "kronecker", "eigen")
"""Statistics that say how a loss bends; Gram matrices of inputs do not."""

Normalise = Literal["model", "none"]
"""By what each task's curvature is divided: its trace over the whole model, or nothing."""

Order = npt.NDArray[np.int64]
"""For each model, as listed, which of a tensor's tasks it is."""


def method_of(recipe: Recipe) -> Method:
    """Return what stands for a merge while models are compared: with statistics, a method that can use any of them."""
    method = find(recipe.method)
    if not any(entry.statistics for entry in recipe.models):
        return method
    needs = replace(method.needs, curvature=KINDS, blend=None)
    return Method("inspect --stats", _compared, needs, method.paper, ())


def _compared(deltas: Any, weights: Any, *, curvature: Any = None) -> Any:
    """Stand where a merge would be; an inspection merges nothing."""
    del weights, curvature
    return deltas[0]


def check_statistics(models: int, statistics: int, rank: int, normalise: str) -> None:
    """Refuse another number of statistics than of models, a rank that is none, and other words for normalising.

    Raises:
        RecipeError: see above.
    """
    if statistics not in (0, models):
        raise RecipeError(
            f"each model has statistics of its own: got {models} models and {statistics} folders of statistics. "
            f"Give one a model, in their order."
        )
    if normalise not in get_args(Normalise):
        raise RecipeError(f"'normalise' must be one of {', '.join(get_args(Normalise))}, got {normalise!r}.")
    if rank < 0:
        raise RecipeError(f"'rank' is how many directions each task keeps of a matrix, got {rank}.")
    if rank and not statistics:
        raise RecipeError("'rank' is of the subspaces in which curvature is looked at. Give statistics, or remove it.")


def is_matrix(plan: Plan, unit: Unit) -> bool:
    """Tell whether a tensor is looked at in a subspace: linear layers, and all whose curvature is no diagonal."""
    sides = plan.curvature.get(unit.name)
    if not unit.merged or sides is None or len(unit.shape) != 2:
        return False
    kinds = {known.statistics.kind_of(known.name) for known in sides.tasks}
    return unit.role in TAKEN_APART["matrices"] or kinds != {"diagonal"}


def held(plan: Plan, tasks: int, rows: int, columns: int, rank: int) -> int:
    """Return how many float32 numbers are held while a matrix is looked at."""
    kinds = {m.curved.statistics.kind for m in plan.listed if m.curved}
    factors = rows * columns if kinds == {"diagonal"} else rows * rows + columns * columns + rows * columns
    # The mean of rotated metrics holds those of all tasks; other means are one metric, and one more is in hand.
    return holds(tasks, rows, columns, rank) + (tasks + 2 if kinds == {"eigen"} else 3) * factors


@dataclass
class Curvatures:
    """What is found of each tensor while its slices come in from many threads."""

    plan: Plan
    rank: int = 0
    normalise: Normalise = "model"
    found: dict[str, Examined] = field(default_factory=dict)
    parts: dict[str, dict[int, MergeSums]] = field(default_factory=dict)

    @cached_property
    def units(self) -> npt.NDArray[np.float64]:
        """By what each model's curvature is divided: its trace over the whole model, or 1."""
        totals = [model.curved.statistics.total if model.curved else 1.0 for model in self.plan.listed]
        return np.array([total if self.normalise == "model" and total > 0 else 1.0 for total in totals])

    def look(self, arithmetic: Arithmetic, unit: Unit, start: int, stop: int, order: Order, scratch: Scratch) -> None:
        """Look at some entries of a tensor that is not seen whole."""
        sides = self.plan.curvature.get(unit.name)
        if sides is None or start == stop:
            return
        _, rows, _ = arithmetic.part(unit, start, stop, scratch).gather()
        curvature, _ = diagonals(sides, unit, start, stop)
        # Sums are of slices, and kept by their place: added in order, they do not depend on who came first.
        scaled = curvature[order] / self.units[:, None].astype(curvature.dtype)
        self.parts.setdefault(unit.name, {})[start] = examined_entries(rows[order], scaled)

    def take_apart(self, unit: Unit, tasks: Tasks, order: Order) -> None:
        """Look at a matrix in the subspace of its tasks."""
        sides = self.plan.curvature[unit.name]
        metrics = Metrics(Measures(sides, unit, 0), order, self.units)
        self.found[unit.name] = examined_matrix(unit.name, Listed(tasks, order), metrics, self.rank)

    def verdict(self, models: Sequence[str]) -> Mergeability:
        """Return what was found of all tensors, in the order of the plan."""
        merged = [unit for unit in self.plan.units if unit.merged]
        tensors = [found for unit in merged if (found := self._of(unit))]
        known = [m.curved.statistics for m in self.plan.listed if m.curved]
        examples = tuple(int(s.facts.get("data", {}).get("examples") or 0) for s in known)
        unknown = tuple(u.name for u in merged if u.count and u.name not in self.plan.curvature)
        units = tuple(self.units.tolist())
        return Mergeability(tuple(models), known[0].estimator, self.rank, tuple(tensors), unknown, examples, units)

    def _of(self, unit: Unit) -> Examined | None:
        if unit.name in self.found:
            return self.found[unit.name]
        if parts := self.parts.get(unit.name):
            return examined_tensor(unit.name, unit.shape, [parts[at] for at in sorted(parts)])
        return None


class Metrics:
    """The metrics of a tensor in the order in which the models are listed."""

    def __init__(self, measures: Measures, order: Order, units: npt.NDArray[np.float64]) -> None:
        """Take what reads them, which of them each model is, and by what each is divided."""
        self._measures, self._order, self._units = measures, order, units

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, task: int) -> Any:
        return self._measures[int(self._order[task])].metric.times(1 / float(self._units[task]))


def with_statistics(data: Mapping[str, Any], statistics: Sequence[Any]) -> dict[str, Any]:
    """Return a recipe's data with a folder of statistics under each model, in their order."""
    entries = [dict(entry) if isinstance(entry, Mapping) else {"model": entry} for entry in data["models"]]
    given = [{**entry, "statistics": str(folder)} for entry, folder in zip(entries, statistics, strict=True)]
    return {**data, "models": given}
