"""The plan of a merge, made from headers: refusals, the numbers of every tensor, memory, the output's layout."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .._version import __version__
from ..errors import MismatchError, RecipeError
from ..merge import Method, find
from ..ops.kernels import in_use
from ..store.dtypes import LONG_NAMES, NAMES, is_float
from ..store.layout import Layout, OutTensor, lay_out
from ..store.tensors import Tensor
from .budget import WHOLE_MODEL, Budget, make_budget
from .depth import Depth, in_layers, matches, unmatched
from .inputs import (
    Input,
    check_copied,
    check_not_an_input,
    check_spaces,
    check_tensors,
    check_ties,
    check_tokenizer_source,
    check_tokenizers,
    open_input,
)
from .kinship import Kinship, check_kinship
from .schema import Recipe


@dataclass(frozen=True)
class Unit:
    """One tensor of the output, and what is done to it."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    work: str
    merged: bool
    group: str = WHOLE_MODEL
    weights: tuple[float, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    scale: float = 1.0
    depth: float = 0.0

    @cached_property
    def count(self) -> int:
        """Number of entries."""
        return prod(self.shape)

    @property
    def columns(self) -> int:
        """Entries a row: those that share a first index; all of a tensor with one axis or none."""
        return prod(self.shape[1:]) if len(self.shape) > 1 else self.count

    @property
    def numpy(self) -> np.dtype:
        """What arithmetic is done in."""
        return np.dtype(np.float64 if self.work == "F64" else np.float32)


@dataclass(frozen=True)
class Plan:
    """A merge that may be run. `listed` are the models as the recipe lists them, `models` as they are added up."""

    recipe: Recipe
    method: Method
    base: Input | None
    listed: tuple[Input, ...]
    models: tuple[Input, ...]
    units: tuple[Unit, ...]
    layout: Layout
    budget: Budget
    kinship: list[Kinship]
    notes: list[str]

    @property
    def reference(self) -> Input:
        """The base, or the first model: whose names, shapes, types and files the output takes."""
        return self.base or self.listed[0]

    @property
    def space(self) -> str:
        """What is merged here: `delta` or `weight`."""
        return space_of(self.method, self.recipe)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Everything that is read."""
        return (self.base, *self.listed) if self.base else self.listed

    @property
    def passes(self) -> int:
        """How often the inputs are read: once, and once more for a first pass that finds statistics."""
        return 2 if self.method.needs.statistics else 1

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
        return {u.name: sum(info.nbytes for info in self.sources(u) if info) for u in self.units}

    def sources(self, unit: Unit) -> list[Tensor | None]:
        """Return where a unit's inputs lie, the reference's alone for a tensor that is copied."""
        inputs = self.inputs if unit.merged else (self.reference,)
        return [i.checkpoint.resolve(unit.name) for i in inputs]

    def digest(self) -> str:
        """Return a hash of everything that decides the output's bytes; a journal belongs to one digest."""
        inputs = (self.reference, *self.models)
        facts: dict[str, Any] = {
            "version": __version__,
            "method": self.method.name,
            "inputs": [i.fingerprint for i in inputs],
            "files": [_stamp(i) for i in inputs],
            "units": [asdict(u) for u in self.units],
            "headers": [hashlib.sha256(f.header).hexdigest() for f in self.layout.files],
            "rounding": self.recipe.rounding,
            "seed": self.recipe.seed,
            "nonfinite": self.recipe.nonfinite,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _stamp(model: Input) -> list[tuple[str, int, int]]:
    stats = ((f.name, f.stat()) for f in model.checkpoint.on_disk)
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def space_of(method: Method, recipe: Recipe) -> str:
    """Return what a method merges in a recipe: methods that take either take task vectors where there is a base."""
    if method.needs.space == "either":
        return "delta" if recipe.base else "weight"
    return method.needs.space


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
    base, models = _open(recipe, method)
    if out is not None:
        check_not_an_input(out, [i.checkpoint.path for i in (*models, *([base] if base else []))])
    reference = base or models[0]
    check_spaces(base, models, space_of(method, recipe), method.name)
    others = models if base else models[1:]
    dropped = check_tensors(reference, others, recipe) + check_ties(reference, others, recipe)
    notes = [f"'{name}' is left out, as 'ignore' says." for name in dict.fromkeys(dropped)]
    notes += check_tokenizers(reference, others, recipe)
    check_tokenizer_source(recipe)
    check_copied(reference, others, recipe)
    kinship = check_kinship(reference, others, "unrelated" in recipe.allow, recipe.ignore)
    units = _units(recipe, method, reference, models)
    added, units = _in_one_order(recipe, method, models, units)
    tensors = [OutTensor(u.name, u.dtype, u.shape) for u in units]
    layout = lay_out(tensors, recipe.output.shard_size, {"format": "pt"}, reference.checkpoint.stems)
    budget = make_budget(method.needs, len(models), units, memory, threads, slice_, recipe.rounding)
    return Plan(recipe, method, base, tuple(models), added, tuple(units), layout, budget, kinship, notes)


def _open(recipe: Recipe, method: Method) -> tuple[Input | None, list[Input]]:
    needs, space = method.needs, space_of(method, recipe)
    if needs.space == "delta" and recipe.base is None:
        raise RecipeError(f"'{method.name}' merges task vectors and needs the base they start from. Type 'base: …'.")
    if needs.space == "weight" and recipe.base is not None:
        raise RecipeError(
            f"'{method.name}' merges whole models and takes no base. Remove 'base', or list that model under 'models'."
        )
    if len(recipe.models) not in needs.tasks:
        plural = "model" if needs.models == "1" else "models"
        raise RecipeError(f"'{method.name}' takes {needs.models} {plural}, got {len(recipe.models)}.")
    weighted = any(m.weight != 1 for m in recipe.models) or any(o.weights is not None for o in recipe.overrides)
    if not needs.weighted and weighted:
        raise RecipeError(f"'{method.name}' takes no weights: it finds its own numbers. Remove 'weight'.")
    if space == "weight" and (recipe.scale != 1 or any(o.scale is not None for o in recipe.overrides)):
        raise RecipeError(f"'{method.name}' merges whole models, so there is no task vector to scale. Remove 'scale'.")
    base = open_input(recipe.base, "base") if recipe.base else None
    return base, [open_input(m.model, "model") for m in recipe.models]


def _units(recipe: Recipe, method: Method, reference: Input, models: Sequence[Input]) -> list[Unit]:
    names = list(reference.checkpoint.tensors)
    depth = Depth(names)
    everything = {*names, *(n for m in models for n in m.checkpoint.tensors)}
    if pattern := unmatched(recipe.ignore, everything):
        raise RecipeError(f"'ignore: {pattern}' matches no tensor. The first of them is '{names[0]}'.")
    for override in recipe.overrides:
        if not any(matches(n, override.match) and in_layers(n, override.layers) for n in names):
            raise RecipeError(f"the override 'match: {override.match}', 'layers: {override.layers}' matches no tensor.")
        if override.weights is not None and len(override.weights) != len(models):
            raise RecipeError(f"an override gives {len(override.weights)} weights for {len(models)} models.")
    units = [_unit(recipe, method, depth, reference, models, name) for name in names]
    _check_whole_model(method, units)
    return units


def _unit(recipe: Recipe, method: Method, depth: Depth, reference: Input, models: Sequence[Input], name: str) -> Unit:
    info = reference.checkpoint.tensors[name]
    ignored = any(matches(name, p) for p in recipe.ignore)
    code = NAMES[recipe.dtype] if recipe.dtype and is_float(info.dtype) else info.dtype
    merged = is_float(info.dtype) and not ignored
    found = [m.checkpoint.resolve(name) for m in models] if merged else []
    work = "F64" if any(i is not None and i.dtype == "F64" for i in [info, *found]) else "F32"
    if not merged:
        return Unit(name, info.shape, code, work, merged=False)
    weights, settings, scale = _numbers(recipe, method, depth, name)
    _check_weights(method, weights, settings, name)
    tensor_wide = "scope" not in method.settings or settings["scope"] == "tensor"
    group = name if tensor_wide else WHOLE_MODEL
    return Unit(name, info.shape, code, work, True, group, weights, settings, scale, depth.through(name))


def _check_weights(method: Method, weights: tuple[float, ...], settings: dict[str, Any], name: str) -> None:
    """Refuse weights that a method cannot use, before work starts."""
    if method.needs.blend is None or method.needs.statistics:
        return
    try:
        method.needs.blend(np.array(weights), **settings, **({"depth": 0.0} if method.needs.depth else {}))
    except RecipeError as exc:
        exc.add_note(f"at '{name}'")
        raise


def _numbers(
    recipe: Recipe, method: Method, depth: Depth, name: str
) -> tuple[tuple[float, ...], dict[str, Any], float]:
    weights = [m.weight for m in recipe.models]
    settings = dict(recipe.settings)
    own = [dict(m.settings) for m in recipe.models]
    scale = recipe.scale
    for override in recipe.overrides:
        if matches(name, override.match) and in_layers(name, override.layers):
            weights = override.weights or weights
            settings |= override.settings
            scale = scale if override.scale is None else override.scale
    given = {k: depth.at(v, name) for k, v in settings.items()}
    for key in dict.fromkeys(k for mine in own for k in mine):
        if key in method.settings and not method.settings[key].per_task:
            raise RecipeError(f"'{key}' is one for all models; set it under 'settings', not under a model.")
        shared = given.get(key, method.settings[key].default if key in method.settings else None)
        given[key] = tuple(depth.at(mine.get(key, shared), name) for mine in own)
    return tuple(float(depth.at(w, name)) for w in weights), method.check(given), float(depth.at(scale, name))


def _in_one_order(
    recipe: Recipe, method: Method, models: Sequence[Input], units: list[Unit]
) -> tuple[tuple[Input, ...], list[Unit]]:
    """Put task vectors that may come in any order into one, so that listing them otherwise does not change a bit.

    A sum in float32 depends on the order of its terms by a rounding, and a vote that cancels by its winner.
    """
    if "any_order" not in method.laws or space_of(method, recipe) != "delta":
        return tuple(models), units

    def own(unit: Unit, task: int) -> tuple[Any, ...]:
        each = (v[task] for v in unit.settings.values() if isinstance(v, tuple))
        return unit.weights[task], *each

    merged = [u for u in units if u.merged]
    order = sorted(range(len(models)), key=lambda t: (models[t].fingerprint, [own(u, t) for u in merged]))

    def turned(unit: Unit) -> Unit:
        settings = {k: tuple(v[t] for t in order) if isinstance(v, tuple) else v for k, v in unit.settings.items()}
        return replace(unit, weights=tuple(unit.weights[t] for t in order), settings=settings)

    return tuple(models[t] for t in order), [turned(u) if u.merged else u for u in units]


def _check_whole_model(method: Method, units: Sequence[Unit]) -> None:
    """A statistic over the whole model needs the same settings and precision everywhere."""
    shared = [u for u in units if u.merged and u.group == WHOLE_MODEL]
    if not method.needs.statistics or not shared:
        return
    if any(u.settings != shared[0].settings for u in shared):
        raise RecipeError(
            f"the settings of '{method.name}' differ between tensors, but 'scope: model' ranks all tensors together. "
            f"Type 'scope: tensor'."
        )
    if any(u.work != shared[0].work for u in shared):
        raise MismatchError("'scope: model' cannot rank float64 and float32 tensors together. Type 'scope: tensor'.")


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
