"""The units of a plan: every tensor of the output, what it is made of, and with which numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from ..errors import MismatchError, RecipeError
from ..merge import Method
from ..merge.matrices import Role, role_of
from ..store.checkpoint import OUTPUT_HEADS
from ..store.dtypes import NAMES, is_float
from ..store.layers import layer_of
from ..store.peft.changes import CONV1D_LAYERS, CONV1D_MODELS, EXPERTS_IN_OUT
from ..store.tensors import Tensor
from .budget import WHOLE_MODEL
from .depth import Depth, ends_of, in_layers, matches, near, outside, spread, unmatched
from .inputs import Input, Pool
from .mergekit import filter_of
from .schema import Override, Part, Recipe
from .stack import Place, Source


@dataclass(frozen=True)
class Unit:
    """One tensor of the output, and what is done to it.

    origin: whose shape it has, and whose entries if it is copied. sources: what is merged, a model each.
    role: what it is. whole: whether it is merged at once, not slice by slice; in `pieces` along its first axis that
    have nothing to do with each other (experts), each of that role, where there are several.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    work: str
    merged: bool
    origin: Source
    sources: tuple[Source, ...] = ()
    group: str = WHOLE_MODEL
    weights: tuple[float, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    scale: float = 1.0
    depth: float = 0.0
    role: Role = "vector"
    whole: bool = False
    pieces: int = 1

    @cached_property
    def count(self) -> int:
        """Number of entries."""
        return prod(self.shape)

    @property
    def piece(self) -> tuple[int, ...]:
        """The shape of what must be seen at once, of a unit that is merged whole."""
        return self.shape[1:] if self.pieces > 1 else self.shape

    @property
    def columns(self) -> int:
        """Entries a row: those that share a first index; all of a tensor with one axis or none."""
        return prod(self.shape[1:]) if len(self.shape) > 1 else self.count

    @property
    def numpy(self) -> np.dtype:
        """What arithmetic is done in."""
        return np.dtype(np.float64 if self.work == "F64" else np.float32)


def space_of(method: Method, recipe: Recipe) -> str:
    """Return what a method merges in a recipe: methods that take either take task vectors where there is a base."""
    if method.needs.space == "either":
        return "delta" if recipe.base else "weight"
    return method.needs.space


def make_units(
    recipe: Recipe, method: Method, pool: Pool, places: Sequence[Place], dtypes: Mapping[str, str] | None = None
) -> list[Unit]:
    """Give every place its numbers. `dtypes`: what some tensors are stored as, where the recipe does not say.

    Raises:
        RecipeError: numbers that are not allowed.
    """
    units = [_unit(recipe, method, pool, place, dtypes or {}) for place in places]
    _check_whole_model(method, units)
    return units


def check_patterns(recipe: Recipe, pool: Pool, places: Sequence[Place]) -> list[str]:
    """Refuse patterns that match nothing; return notes on those that match only a head that is tied.

    An override of a part may match nothing there if the same one matches in another part.

    Raises:
        RecipeError: a pattern that matches nothing, or numbers that are not one a model.
    """
    names = [p.name for p in places]
    everything = [*names, *(n for i in pool for n in i.checkpoint.tensors)]
    if pattern := unmatched(recipe.ignore, dict.fromkeys(everything)):
        new = near(pattern, everything)
        hint = f"Did you mean '{new}'?" if new else f"The first of them is '{names[0]}'."
        raise RecipeError(f"'ignore: {pattern}' matches no tensor. {hint}")
    counts = Depth(names)
    found: dict[tuple[str, str | int | None], bool] = {}
    for p, part in enumerate(recipe.parts):
        inside = [place.name for place in places if place.part == p]
        for override, among in [*((o, inside) for o in part.overrides), *((o, names) for o in recipe.overrides)]:
            _check_counts(override, len(part.models))
            _check_reach(recipe, pool, override, counts, names)
            key = (override.match, override.layers)
            found[key] = found.get(key, False) or any(_holds(override, name) for name in among)
    return [_unheard(recipe, pool, names, *key) for key, holds in found.items() if not holds]


def _check_counts(override: Override, models: int) -> None:
    for key, values in (("weights", override.weights), ("settings under 'each'", override.each)):
        if values is not None and len(values) != models:
            raise RecipeError(f"an override gives {len(values)} {key} for {models} models.")


def _check_reach(recipe: Recipe, pool: Pool, override: Override, counts: Depth, names: Sequence[str]) -> None:
    """Refuse layers that none of the matched stacks of layers has."""
    last = -1 if override.layers is None else ends_of(override.layers)[1]
    stacks = {place[0] for name in names if matches(name, override.match) and (place := layer_of(name))}
    if not stacks or last < max(counts.layers[stack] for stack in stacks):
        return
    longest = max(stacks, key=lambda stack: counts.layers[stack])
    owner = "the output" if recipe.stack else next(iter(pool)).name
    where = next((f"{at}: " for at, _ in recipe.origin.find("layers", override.layers)), "")
    raise RecipeError(f"{where}'layers: {override.layers}' {outside(owner, longest, counts.layers[longest])}")


def _unheard(recipe: Recipe, pool: Pool, names: Sequence[str], match: str, layers: str | int | None) -> str:
    """Return a note on an override that would match a head if it were not tied; refuse any other."""
    for model in pool:
        for head in OUTPUT_HEADS:
            if matches(head, match) and (tied := model.checkpoint.tied_to(head)) and layers is None:
                return f"the override 'match: {match}' has no effect: {model.name} ties '{head}' to '{tied}'."
    new = near(match, [*names, *(name for i in pool for name in i.checkpoint.tensors)])
    if (text := filter_of(match)) and recipe.origin.is_mergekit:
        where = next((at for at, _ in recipe.origin.find("filter", text)), recipe.origin.file)
        hint = f" Did you mean '{filter_of(new)}'?" if new else ""
        raise RecipeError(f"{where}: the filter '{text}' matches no tensor.{hint}")
    where = next((f"{at}: " for at, _ in recipe.origin.find("match", match)), "")
    said = f"'match: {match}'" if layers is None else f"'match: {match}', 'layers: {layers}'"
    hint = f" Did you mean '{new}'?" if new else ""
    raise RecipeError(f"{where}the override {said} matches no tensor.{hint}")


def _holds(override: Override, name: str) -> bool:
    return matches(name, override.match) and in_layers(name, override.layers)


def _unit(recipe: Recipe, method: Method, pool: Pool, place: Place, dtypes: Mapping[str, str]) -> Unit:
    def find(source: Source) -> Tensor:
        return pool[source[0]].checkpoint.info(source[1])

    origin = find(place.origin)
    own = dtypes.get(place.origin[1], origin.stored_as)
    code = NAMES[recipe.dtype] if recipe.dtype and is_float(origin.dtype) else own
    merged = is_float(origin.dtype) and not any(matches(place.name, p) for p in recipe.ignore)
    sources = [find(source) for source in place.sources] if merged else []
    work = "F64" if any(tensor.dtype == "F64" for tensor in [origin, *(sources if merged else ())]) else "F32"
    if not merged:
        return Unit(place.name, origin.shape, code, work, False, place.origin)
    weights, settings, scale = _numbers(recipe, recipe.parts[place.part], method, place)
    _check_weights(method, weights, settings, place.name)
    role, pieces = _role(method, pool[place.origin[0]], place, origin.shape, weights, settings)
    tensor_wide = "scope" not in method.settings or settings["scope"] == "tensor"
    return Unit(
        place.name,
        origin.shape,
        code,
        work,
        True,
        place.origin,
        place.sources,
        place.name if tensor_wide else WHOLE_MODEL,
        weights,
        settings,
        scale,
        place.through,
        role,
        _is_whole(method, weights, settings, role),
        pieces,
    )


def _role(
    method: Method,
    model: Input,
    place: Place,
    shape: tuple[int, ...],
    weights: tuple[float, ...],
    settings: dict[str, Any],
) -> tuple[Role, int]:
    """Return what a tensor is, or what each of its pieces is where a method takes experts apart; how many pieces."""
    role = role_of(shape, place.name, _stored_turned(model, place.origin[1]))
    if role != "experts" or len(shape) != 3 or not method.needs.role:
        return role, 1
    own = role_of(shape[1:], place.name, model.checkpoint.config.get("model_type") in EXPERTS_IN_OUT)
    return (own, shape[0]) if _is_whole(method, weights, settings, own) else (role, 1)


def _stored_turned(model: Input, name: str) -> bool:
    """Tell whether a model stores a layer's weight (in, out), as GPT-2 does."""
    layer = name.removesuffix(".weight").rpartition(".")[2]
    return model.checkpoint.config.get("model_type") in CONV1D_MODELS and layer in CONV1D_LAYERS


def _is_whole(method: Method, weights: tuple[float, ...], settings: dict[str, Any], role: Role) -> bool:
    """Tell whether a method must see all of a tensor."""
    needs = method.needs
    if needs.scope != "tensor" or needs.blend is None:
        return needs.scope == "tensor"
    return needs.blend(np.array(weights), **settings, **({"role": role} if needs.role else {})) is None


def _check_weights(method: Method, weights: tuple[float, ...], settings: dict[str, Any], name: str) -> None:
    """Refuse weights and settings that a method cannot use, before work starts: try it, on nothing."""
    needs, w = method.needs, np.array(weights)
    given: dict[str, Any] = {key: s.example(len(w)) for key, s in needs.statistics.items()}
    given |= {"depth": 0.0} if needs.depth else {}
    given |= {"role": "vector"} if needs.role else {}
    try:
        if needs.blend:
            needs.blend(w, **settings, **given)
        elif needs.scope == "entry":
            given |= _no_curvature(method, len(w)) if needs.is_curved(settings) else {}
            method.function(np.zeros((len(w), 0)), w, **settings, **given)
    except RecipeError as exc:
        exc.add_note(f"at '{name}'")
        raise


def _no_curvature(method: Method, tasks: int) -> dict[str, Any]:
    """Return diagonals of nothing."""
    base = {"base_curvature": np.zeros(0)} if method.needs.base_curvature else {}
    return {"curvature": np.zeros((tasks, 0)), **base}


def _numbers(
    recipe: Recipe, part: Part, method: Method, place: Place
) -> tuple[tuple[float, ...], dict[str, Any], float]:
    """Return a tensor's weights, settings and scale; of what is said twice, the later and the nearer holds."""
    weights = [m.weight for m in part.models]
    settings = {**recipe.settings, **part.settings}
    own = [dict(m.settings) for m in part.models]
    scale = recipe.scale if part.scale is None else part.scale
    for override in (*recipe.overrides, *part.overrides):
        if _holds(override, place.name):
            weights = [w if new is None else new for w, new in zip(weights, override.weights or weights, strict=True)]
            own = [{**mine, **new} for mine, new in zip(own, override.each or [{}] * len(own), strict=True)]
            settings |= override.settings
            scale = scale if override.scale is None else override.scale
    given = {k: spread(v, place.t) for k, v in settings.items()}
    for key in dict.fromkeys(k for mine in own for k in mine):
        if key in method.settings and not method.settings[key].per_task:
            raise RecipeError(f"'{key}' is one for all models; set it under 'settings', not under a model.")
        shared = given.get(key, method.settings[key].default if key in method.settings else None)
        given[key] = tuple(spread(mine.get(key, shared), place.t) for mine in own)
    return tuple(float(spread(w, place.t)) for w in weights), method.check(given), float(spread(scale, place.t))


def scaled_apart(recipe: Recipe, place: Place) -> bool:
    """Tell whether a tensor has a scale from its part or from an override, not the recipe's."""
    part = recipe.parts[place.part]
    overrides = (*recipe.overrides, *part.overrides)
    return part.scale is not None or any(o.scale is not None and _holds(o, place.name) for o in overrides)


def in_one_order(
    recipe: Recipe, method: Method, models: Sequence[Input], units: list[Unit]
) -> tuple[tuple[Input, ...], list[Unit]]:
    """Put task vectors that may come in any order into one, so that listing them otherwise does not change a bit.

    A sum in float32 depends on the order of its terms by a rounding, and a vote that cancels by its winner.
    """
    if "any_order" not in method.laws or space_of(method, recipe) != "delta":
        return tuple(models), units

    def own(unit: Unit, task: int) -> tuple[Any, ...]:
        each = (v[task] for v in unit.settings.values() if isinstance(v, tuple))
        return unit.sources[task][1], unit.weights[task], *each

    said: list[list[Any]] = [[] for _ in models]
    for unit in units:
        for task, (number, _) in enumerate(unit.sources):
            said[number].append(own(unit, task))
    order = sorted(range(len(models)), key=lambda m: (*_content(models[m]), said[m]))
    rank = {number: at for at, number in enumerate(order)}

    def turned(unit: Unit) -> Unit:
        tasks = sorted(range(len(unit.sources)), key=lambda t: (rank[unit.sources[t][0]], own(unit, t)))
        settings = {k: tuple(v[t] for t in tasks) if isinstance(v, tuple) else v for k, v in unit.settings.items()}
        sources = tuple((rank[unit.sources[t][0]], unit.sources[t][1]) for t in tasks)
        return replace(unit, weights=tuple(unit.weights[t] for t in tasks), settings=settings, sources=sources)

    def moved(unit: Unit) -> Unit:
        number, name = unit.origin
        return replace(unit, origin=(rank.get(number, number), name))

    return tuple(models[m] for m in order), [moved(turned(u)) if u.merged else moved(u) for u in units]


def _content(model: Input) -> tuple[str, str]:
    return model.fingerprint, model.curved.fingerprint if model.curved else ""


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
    if any([n for n, _ in u.sources] != [n for n, _ in shared[0].sources] for u in shared):
        raise RecipeError(
            "the parts of the stack hold other models, so 'scope: model' has no whole. Type 'scope: tensor'."
        )
    if any(u.work != shared[0].work for u in shared):
        raise MismatchError("'scope: model' cannot rank float64 and float32 tensors together. Type 'scope: tensor'.")
