"""One pass over a set of models that merges nothing and measures how they relate."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from ..diagnose import Group, Matrix, Report
from ..diagnose.measure import Tally, least_of
from ..diagnose.spectra import holds, spectra_of
from ..errors import RecipeError
from ..merge.matrices import TAKEN_APART
from ..ops.gram import BLOCK
from ..ops.slices import Finished
from ..progress import Progress, Silent
from ..store.dtypes import LONG_NAMES
from .arithmetic import Arithmetic, Scratch
from .budget import LARGEST, make_budget
from .curved_inspecting import Curvatures, Normalise, check_statistics, held, is_matrix, method_of, with_statistics
from .ground import lay_ground
from .plan import check_compared, check_request, plan_on
from .planned import Plan
from .run import stream
from .schema import Recipe
from .sinks import Nowhere
from .units import Unit, space_of
from .whole import Listed, Tasks

SAMPLE = 1 << 14
"""Entries of a tensor by which it is told from which magnitude an entry is among the largest."""

MEMORY, MEMORY_OF_MATRICES = 512_000_000, 4_000_000_000
"""Bytes that a pass may take where nobody says; spectra and curvature want whole matrices, and decompose them."""

KEPT = 0.2
"""The share of each tensor's entries that count as its largest: the default of methods that trim."""


def inspect(
    base: str | Path,
    models: Sequence[str | Path],
    *,
    dtype: str | None = None,
    kept: float = KEPT,
    spectra: int = 0,
    statistics: Sequence[str | Path] = (),
    rank: int = 0,
    normalise: Normalise = "model",
    ignore: Sequence[str] = (),
    allow: Sequence[str] = (),
    threads: int | None = None,
    memory: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure in one pass over the disk how a set of models relates.

    Args:
        base: the model that the others start from.
        models: whatever a merge takes: folders, files, adapters, task vectors, models in eight bits.
        dtype: the type that a merge would be stored as; each tensor's own type in the base when not given.
        kept: the share of each tensor's entries that count as its largest, in (0, 1].
        spectra: look at so many leading directions of each matrix, too; this takes much longer.
        statistics: a folder of statistics a model, in their order: tell what a merge is expected to cost, too.
        rank: with statistics, how many directions each task keeps of a matrix; 0: an equal share of them.
        normalise: by what each task's curvature is divided, so that no task decides by the unit of its loss: its trace
            over the whole "model", or "none".
        ignore: globs of tensors that are left out.
        allow: checks that may fail: "unrelated" models, differing "tokenizers".
        threads: threads to use; all cores when not given. The result is the same (but for spectra, by a rounding).
        memory: bytes of anonymous memory the pass may take; half a GB when not given, with spectra or
            statistics four.
        progress: told how far it is.

    Raises:
        RecipeError: fewer than two models, or numbers that are not allowed.
        StoreError: an input that cannot be read, or inputs that do not belong together.
        MismatchError: statistics of another model, or of other kinds than those of the others.
        NumbersError: NaN or Inf in an input.
    """
    check_statistics(len(models), len(statistics), rank, normalise)
    given: dict[str, Any] = {"base": str(base), "models": [str(m) for m in models], "dtype": dtype}
    given |= {"ignore": list(ignore), "allow": list(allow)}
    recipe = recipe_of(with_statistics(given, statistics) if statistics else given)
    return inspect_recipe(
        recipe,
        kept=kept,
        spectra=spectra,
        rank=rank,
        normalise=normalise,
        threads=threads,
        memory=memory,
        progress=progress,
    )


def recipe_of(data: Mapping[str, Any]) -> Recipe:
    """Return the recipe whose inputs are measured; the method is only there to say that there are task vectors.

    Raises:
        RecipeError: fewer than two models.
    """
    check_count(len(data["models"]))
    return Recipe.model_validate({"method": "task_arithmetic", **data})


def check_count(models: int) -> None:
    """Refuse fewer than two models.

    Raises:
        RecipeError: there are fewer.
    """
    if models < 2:
        raise RecipeError(f"how models relate takes two or more beside the base, got {models}. Name another model.")


def inspect_recipe(
    recipe: Recipe,
    *,
    kept: float = KEPT,
    spectra: int = 0,
    rank: int = 0,
    normalise: Normalise = "model",
    threads: int | None = None,
    memory: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure how the models of a recipe relate; see `inspect`. Of the recipe its inputs and `dtype` count."""
    if not 0 < kept <= 1:
        raise RecipeError(f"'kept' is a share of the entries in (0, 1], got {kept}.")
    if spectra < 0:
        raise RecipeError(f"'spectra' is how many directions of each matrix are looked at, got {spectra}.")
    began = time.monotonic()
    method = method_of(recipe)
    curved = bool(method.needs.curvature)
    memory = memory or (MEMORY_OF_MATRICES if spectra or curved else MEMORY)
    check_request(recipe, method)
    ground = lay_ground(recipe, space_of(method, recipe))
    plan = plan_on(ground, recipe, memory=memory, threads=threads, gathers=curved, what="inspect", method=method)
    check_compared(plan.units)
    if spectra or curved:
        plan = _with_whole_matrices(plan, spectra, rank, memory, threads)
    measured = Measured(plan, kept, spectra, Curvatures(plan, rank, normalise) if curved else None)
    state = stream(plan, Nowhere(), progress or Silent(), arithmetic=Inspecting(plan, measured), what="inspecting")
    return measured.report(state.bytes_read, time.monotonic() - began)


def _with_whole_matrices(plan: Plan, directions: int, rank: int, memory: int, threads: int | None) -> Plan:
    """Return a plan that looks at each matrix as a whole, and has the memory for its spectra and its curvature."""
    curved = bool(plan.curvature)
    units = tuple(replace(u, whole=(directions > 0 and _is_one_matrix(u)) or is_matrix(plan, u)) for u in plan.units)

    def holding(tasks: int, rows: int, columns: int, settings: Mapping[str, Any]) -> int:
        del settings
        spectra = holds(tasks, rows, columns, directions) if directions else 0
        return spectra + (held(plan, tasks, rows, columns, rank) if curved else 0)

    needs = replace(plan.method.needs, scope="tensor", holds=holding)
    tasks, reading = plan.widest()
    budget = make_budget(needs, tasks, units, memory, threads, 0, reading=reading, gathers=curved, what="inspect")
    return replace(plan, units=units, budget=budget)


def _is_one_matrix(unit: Unit) -> bool:
    return unit.merged and unit.pieces == 1 and unit.role in TAKEN_APART["matrices"]


class Measured:
    """What is known of each tensor of a plan, while its slices come in from many threads."""

    def __init__(self, plan: Plan, kept: float = KEPT, spectra: int = 0, curvatures: Curvatures | None = None) -> None:
        """Begin with nothing."""
        self.plan, self.kept, self.spectra, self.curvatures = plan, kept, spectra, curvatures
        self._tallies: dict[str, Tally] = {}
        self._matrices: dict[str, Matrix] = {}
        self._locks = {unit.name: Lock() for unit in plan.units if unit.merged}

    @property
    def missing(self) -> set[str]:
        """The tensors that were not seen as a whole."""
        return {name for name in self._locks if name not in self._tallies or not self._tallies[name].whole}

    def look(self, arithmetic: Arithmetic, unit: Unit, start: int, stop: int, scratch: Scratch) -> bool:
        """Look at some entries of a tensor; return whether all were finite.

        Methods of rows or matrices are given slices of any length, and sums are of whole blocks: those that begin here.
        """
        tally = self._tally(arithmetic, unit)
        first, last = (min(-(-at // BLOCK) * BLOCK, unit.count) for at in (start, stop))
        for at in range(first, last, LARGEST) if unit.count else (0,):
            tally.look(arithmetic.part(unit, at, min(at + LARGEST, last), scratch))
        if self.curvatures and tally.finite and not unit.whole:
            self.curvatures.look(arithmetic, unit, start, stop, self._order(unit), scratch)
        return tally.finite

    def take_apart(self, unit: Unit, tasks: Tasks) -> None:
        """Look at the spectra and the curvature of a tensor whose entries were all looked at."""
        if self.curvatures and unit.name in self.plan.curvature:
            self.curvatures.take_apart(unit, tasks, self._order(unit))
        if not self.spectra or not _is_one_matrix(unit):
            return
        energy = np.diagonal(self._group(unit).gram)
        listed = Listed(tasks, self._order(unit))
        self._matrices[unit.name] = spectra_of(unit.name, listed, unit.role, self.spectra, energy)

    def _tally(self, arithmetic: Arithmetic, unit: Unit) -> Tally:
        with self._locks[unit.name]:
            if unit.name not in self._tallies:
                least = least_of(arithmetic.sample(unit, SAMPLE), self.kept)
                self._tallies[unit.name] = Tally(unit.count, least, unit.dtype)
        return self._tallies[unit.name]

    def _order(self, unit: Unit) -> npt.NDArray[np.int64]:
        """Return for each model, as listed, which of the unit's tasks it is."""
        numbers = [number for number, _ in unit.sources]
        models = self.plan.models
        return np.array([numbers.index(next(n for n, m in enumerate(models) if m is own)) for own in self.plan.listed])

    def _group(self, unit: Unit) -> Group:
        matrices = (self._matrices[unit.name],) if unit.name in self._matrices else ()
        return self._tallies[unit.name].group(unit.name, unit.shape, self._order(unit), matrices)

    def report(self, read_bytes: int = 0, seconds: float = 0.0) -> Report:
        """Return what was found, tensors of one kind in one layer together."""
        alone = {unit.name: self._group(unit) for unit in self.plan.units if unit.merged}
        names, counted = titles([m.name for m in self.plan.listed]), alone.values()
        together: dict[tuple[str, int | None, str], Group] = {}
        for group in counted:
            key = (group.stack, group.layer, group.kind)
            together[key] = together[key] + group if key in together else group
        exploding = [(names[t], name, ratio) for name, g in alone.items() for t, ratio in _larger_than_the_base(g)]
        return Report(
            base=titles([self.plan.reference.name])[0],
            models=names,
            dtype=_stored_as(self.plan.units),
            kept=self.kept,
            groups=tuple(together.values()),
            dead=tuple(name for name, g in alone.items() if not g.gram.any()),
            exploding=tuple(exploding),
            spectra=self.spectra,
            mergeability=self.curvatures.verdict(names) if self.curvatures else None,
            read_bytes=read_bytes,
            seconds=seconds,
            notes=tuple(self.plan.notes) + _equal_to_the_base(names, list(counted)),
        )


class Inspecting(Arithmetic):
    """Measures where the plan would merge."""

    mending = "Mend that model: what is found of it would be NaN, too."

    def __init__(self, plan: Plan, measured: Measured) -> None:
        """Take what it adds to."""
        super().__init__(plan)
        self.measured = measured
        self.asks = measured.curvatures is not None

    def doing(self, unit: Unit) -> str:
        """See `Arithmetic`."""
        return f"looking at '{unit.name}'"

    def merge(self, unit: Unit, start: int, stop: int, statistics: Mapping[str, Any], scratch: Scratch) -> Finished:
        """See `Arithmetic`; what it returns is empty."""
        finite = self.measured.look(self, unit, start, stop, scratch)
        if self.careful and not finite:
            self.blame(unit)
        if unit.whole and unit.count:
            tasks = Tasks(lambda task: self._task(unit, task, 0), len(unit.sources), unit.shape, unit.numpy)
            self.measured.take_apart(unit, tasks)
        return Finished(np.empty(0, np.uint8), 0.0, 0.0)


class Reporting(Arithmetic):
    """Merges as planned, and measures each slice while it is in memory."""

    def __init__(self, plan: Plan, measured: Measured) -> None:
        """Take what it adds to."""
        super().__init__(plan)
        self.measured = measured

    def merge(self, unit: Unit, start: int, stop: int, statistics: Mapping[str, Any], scratch: Scratch) -> Finished:
        """See `Arithmetic`."""
        self.measured.look(self, unit, start, stop, scratch)
        return super().merge(unit, start, stop, statistics, scratch)


def look_again(measured: Measured, progress: Progress) -> int:
    """Look at the tensors that an interrupted run had merged before; return how many bytes that took to read."""
    plan, missing = measured.plan, measured.missing
    if not missing:
        return 0
    others = {unit.name for unit in plan.units} - missing
    what = "looking again at what was merged before"
    return stream(plan, Nowhere(others), progress, arithmetic=Inspecting(plan, measured), what=what).bytes_read


def titles(names: Sequence[str]) -> tuple[str, ...]:
    """Return what to call models: the last parts of their paths, or all of them where these are the same.

    >>> titles(["runs/math", "runs/code"]), titles(["a/model", "b/model"])
    (('math', 'code'), ('a/model', 'b/model'))
    """
    short = [Path(name).name or name for name in names]
    return tuple(short) if len(set(short)) == len(names) else tuple(names)


def _larger_than_the_base(group: Group) -> list[tuple[int, float]]:
    """Return which tasks changed a tensor by more than it was; a base of zeros says nothing."""
    if not group.base > 0:
        return []
    ratios = group.norms / group.base**0.5
    return [(int(t), float(ratios[t])) for t in np.flatnonzero(ratios > 1)]


def _equal_to_the_base(names: Sequence[str], groups: Sequence[Group]) -> tuple[str, ...]:
    zero = np.all([g.norms == 0 for g in groups], axis=0) if groups else ()
    return tuple(f"{names[int(t)]} is equal to the base: its task vector is zero." for t in np.flatnonzero(zero))


def _stored_as(units: Sequence[Unit]) -> str:
    """Return the type of most entries."""
    counts: dict[str, int] = {}
    for unit in units:
        if unit.merged:
            counts[unit.dtype] = counts.get(unit.dtype, 0) + unit.count
    return LONG_NAMES[max(counts, key=lambda code: counts[code])] if counts else ""
