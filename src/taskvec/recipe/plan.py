"""The plan of a merge, made from headers: refusals, the numbers of every tensor, memory, the output's layout."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from .._version import __version__
from ..errors import RecipeError
from ..merge import Method, find
from ..ops.kernels import in_use
from ..store.dtypes import LONG_NAMES
from ..store.hub import locate
from ..store.layout import Layout, OutTensor, lay_out
from ..store.sidecars import sidecars
from ..store.tensors import Tensor
from ..store.vocabulary import VocabularyPlan
from .budget import NO_BUDGET, Budget, make_budget
from .inputs import Input, Pool, check_copied, check_not_an_input, check_tensors, check_ties
from .kinship import Kinship, check_kinship
from .opening import open_all
from .schema import Recipe
from .stack import Source, Stack, Tower, owns_head, places_by_name
from .units import Unit, check_patterns, in_one_order, make_units, space_of


@dataclass(frozen=True)
class Plan:
    """A merge that may be run. `listed` are the models as the recipe lists them, `models` as they are added up."""

    recipe: Recipe
    method: Method
    bases: tuple[Input, ...]
    listed: tuple[Input, ...]
    models: tuple[Input, ...]
    units: tuple[Unit, ...]
    towers: tuple[Tower, ...]
    vocabulary: VocabularyPlan | None
    layout: Layout
    budget: Budget
    kinship: list[Kinship]
    notes: list[str]

    @property
    def base(self) -> Input | None:
        """The recipe's base; parts of a stack may have others."""
        return self.bases[0] if self.bases else None

    @property
    def pool(self) -> Pool:
        """Everything that is read, by the numbers that units call it."""
        return Pool(self.bases, self.models)

    @property
    def reference(self) -> Input:
        """The base, or the first model: whose names, shapes, types and files the output takes."""
        return self.base or self.listed[0]

    @property
    def unties(self) -> bool:
        """Whether a stack has an output head of its own, which the reference's config would tie to the embedding."""
        checkpoint = self.reference.checkpoint
        heads = [u.name for u in self.units if checkpoint.tied_to(u.name)] if self.towers else []
        last = {number for u in self.units if u.name in heads for number, _ in (u.origin, *u.sources)}
        return any(owns_head(self.pool[number].checkpoint, name) for number in last for name in heads)

    @property
    def space(self) -> str:
        """What is merged here: `delta` or `weight`."""
        return space_of(self.method, self.recipe)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Everything that is read."""
        return (*self.bases, *self.listed)

    @property
    def passes(self) -> int:
        """How often the inputs are read: once, and before that for what finds statistics."""
        return max((self.method.needs.passes(u.settings) for u in self.units if u.merged), default=1)

    @property
    def bytes_read(self) -> int:
        """Bytes that will be read, if no pass has to be repeated."""
        return sum(self.sources_bytes(unit) * (self.passes if unit.merged else 1) for unit in self.units)

    def slice_of(self, unit: Unit) -> int:
        """Return how many entries of a unit are worked on at a time: whole rows where the method needs them."""
        scope = self.method.needs.scope if unit.merged else "entry"
        if scope == "tensor":
            return max(1, unit.count)
        if scope == "row":
            return max(1, self.budget.slice // max(1, unit.columns)) * max(1, unit.columns)
        return self.budget.slice

    def sources_bytes(self, unit: Unit) -> int:
        """Return the bytes of all inputs of one unit."""
        return self._bytes_of[unit.name]

    @cached_property
    def _bytes_of(self) -> dict[str, int]:
        return {u.name: sum(tensor.nbytes for _, tensor in self.read(u)) for u in self.units}

    def origin(self, unit: Unit) -> tuple[Input, Tensor]:
        """Return whose shape and type a unit has: the base's tensor, or the first model's."""
        return self._find(unit.origin)

    def read(self, unit: Unit) -> list[tuple[Input, Tensor]]:
        """Return what is read for a unit: the base's tensor and each model's; the origin alone if it is copied."""
        base = [unit.origin] if unit.origin[0] < 0 or not unit.merged else []
        return [self._find(source) for source in (*base, *(unit.sources if unit.merged else ()))]

    def sources(self, unit: Unit) -> list[tuple[Input, Tensor]]:
        """Return the models' tensors that a unit is merged from."""
        return [self._find(source) for source in unit.sources]

    def _find(self, source: Source) -> tuple[Input, Tensor]:
        found = self.pool[source[0]]
        return found, found.checkpoint.info(source[1])

    def widest(self) -> tuple[int, float]:
        """Return the most models that a unit has, and the most bytes an entry that reading a unit's tensors takes."""
        merged = [u for u in self.units if u.merged]
        tasks = max((len(u.sources) for u in merged), default=1)
        return tasks, max((sum(tensor.scratch for _, tensor in self.read(u)) for u in merged), default=0.0)

    def digest(self) -> str:
        """Return a hash of everything that decides the output's bytes; a journal belongs to one digest."""
        inputs = (self.reference, *self.bases, *self.models)
        facts: dict[str, Any] = {
            "version": __version__,
            "method": self.method.name,
            "inputs": [i.fingerprint for i in inputs],
            "files": [_stamp(i) for i in inputs],
            "units": [asdict(u) for u in self.units],
            "headers": [hashlib.sha256(f.header).hexdigest() for f in self.layout.files],
            "stack": [asdict(tower) for tower in self.towers],
            "beside": _stamps_beside([*(i.checkpoint.folder for i in inputs), tokenizer_folder(self)]),
            "vocabulary": [self.recipe.data.get(key) for key in ("vocabulary", "chat_template")],
            "rounding": self.recipe.rounding,
            "seed": self.recipe.seed,
            "nonfinite": self.recipe.nonfinite,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


Stamp = tuple[str, int, int]
"""A file's name, its size, and when it was written."""


def _stamp(model: Input) -> list[Stamp]:
    return [_stamped(file, file.name) for file in model.checkpoint.on_disk]


def _stamped(file: Path, name: str) -> Stamp:
    stat = file.stat()
    return name, stat.st_size, stat.st_mtime_ns


def _stamps_beside(folders: Sequence[Path | None]) -> list[list[Stamp]]:
    """Return the stamps of the files beside the weights, which the output's configs and tokenizer are made of."""
    out = []
    for folder in folders:
        names = [*map(str, sidecars(folder)), "config.json"] if folder else []
        out.append([_stamped(folder / name, name) for name in names if folder and (folder / name).is_file()])
    return out


def tokenizer_folder(plan: Plan) -> Path | None:
    """Return the folder whose tokenizer is copied; None where a vocabulary is written."""
    if plan.vocabulary:
        return None
    if plan.recipe.tokenizer == "base":
        return plan.reference.checkpoint.folder
    return locate(plan.recipe.tokenizer)


def make_plan(
    recipe: Recipe, out: Path | None = None, *, memory: int = 512_000_000, threads: int | None = None, slice_: int = 0
) -> Plan:
    """Plan a merge from headers and a sample; refuse here whatever can be refused.

    Args:
        recipe: what to merge.
        out: the output folder, which must not be an input.
        memory: bytes of anonymous memory the run may take.
        threads: threads to use; all cores when not given.
        slice_: entries worked on at a time; chosen when 0. It does not change the result.

    Raises:
        RecipeError: the recipe asks for something impossible.
        StoreError: an input that cannot be read, or inputs that do not belong together.
    """
    method = find(recipe.method)
    _check_request(recipe, method)
    opened = open_all(recipe, space_of(method, recipe))
    pool, notes = opened.pool, opened.notes
    if out is not None:
        check_not_an_input(out, [place for i in pool for place in i.places])
    reference, *others = pool
    towers: list[Tower] = []
    if recipe.stack:
        places, towers = Stack(recipe, pool, opened.numbers, opened.on).build()
    else:
        dropped = check_tensors(reference, others, recipe) + check_ties(reference, others, recipe)
        notes = [f"'{name}' is left out, as 'ignore' says." for name in dict.fromkeys(dropped)] + notes
        places = places_by_name(pool)
    check_copied(pool, places, recipe)
    kinship = check_kinship(pool, places, recipe)
    notes += check_patterns(recipe, pool, places)
    units = make_units(recipe, method, pool, places, opened.vocabulary.dtypes if opened.vocabulary else {})
    added, units = in_one_order(recipe, method, pool.models, units)
    tensors = [OutTensor(u.name, u.dtype, u.shape) for u in units]
    layout = lay_out(tensors, recipe.output.shard_size, {"format": "pt"}, reference.checkpoint.stems)
    plan = Plan(
        recipe=recipe,
        method=method,
        bases=pool.bases,
        listed=pool.models,
        models=added,
        units=tuple(units),
        towers=tuple(towers),
        vocabulary=opened.vocabulary,
        layout=layout,
        budget=NO_BUDGET,
        kinship=kinship,
        notes=notes,
    )
    tasks, reading = plan.widest()
    budget = make_budget(method.needs, tasks, units, memory, threads, slice_, recipe.rounding, reading)
    return replace(plan, budget=budget)


def _check_request(recipe: Recipe, method: Method) -> None:
    """Refuse what a method cannot do, before anything is opened."""
    needs, space = method.needs, space_of(method, recipe)
    if needs.space == "delta" and recipe.base is None:
        raise RecipeError(f"'{method.name}' merges task vectors and needs the base they start from. Type 'base: …'.")
    if needs.space == "weight" and recipe.base is not None:
        raise RecipeError(
            f"'{method.name}' merges whole models and takes no base. Remove 'base', or list that model under 'models'."
        )
    for part in recipe.parts:
        if len(part.models) not in needs.tasks:
            plural = "model" if needs.models == "1" else "models"
            where = " in each part of a stack" if recipe.stack else ""
            raise RecipeError(f"'{method.name}' takes {needs.models} {plural}{where}, got {len(part.models)}.")
    if recipe.base is None and any(part.base for part in recipe.stack):
        raise RecipeError(
            "a part of the stack has a 'base', and the recipe has none. Type 'base: …' for the recipe, too."
        )
    overrides = [*recipe.overrides, *(o for part in recipe.stack for o in part.overrides)]
    weights = [m.weight for part in recipe.parts for m in part.models]
    if not needs.weighted and (any(w != 1 for w in weights) or any(o.weights is not None for o in overrides)):
        raise RecipeError(f"'{method.name}' takes no weights: it finds its own numbers. Remove 'weight'.")
    scales = [recipe.scale, *(part.scale for part in recipe.stack), *(o.scale for o in overrides)]
    if space == "weight" and any(scale not in (1, None) for scale in scales):
        raise RecipeError(f"'{method.name}' merges whole models, so there is no task vector to scale. Remove 'scale'.")


def describe(plan: Plan) -> dict[str, Any]:
    """Return the plan in plain data, for a table or JSON."""
    merged = [u for u in plan.units if u.merged]
    return {
        "method": plan.method.name,
        "inputs": [
            {"role": i.role, "path": i.name, "bytes": i.checkpoint.nbytes, "fingerprint": i.fingerprint}
            for i in plan.inputs
        ],
        "kinship": [asdict(k) for k in plan.kinship],
        "tensors": {"merged": len(merged), "copied": len(plan.units) - len(merged)},
        "dtypes": sorted({LONG_NAMES.get(u.dtype, u.dtype) for u in plan.units}),
        "bytes": {"read": plan.bytes_read, "written": plan.layout.nbytes},
        "passes": plan.passes,
        "files": [{"name": f.name, "bytes": f.nbytes, "tensors": len(f.tensors)} for f in plan.layout.files],
        "memory": {"peak": plan.budget.peak, "limit": plan.budget.limit},
        "threads": plan.budget.threads,
        "slice": plan.budget.slice,
        "kernels": in_use(),
        "cores": os.cpu_count(),
        "notes": plan.notes,
    }
