"""What is searched: some numbers of a recipe, and the recipe at each point of that space."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import RecipeError
from ..merge import Method, find
from ..merge.registry import Setting, suggest
from ..recipe.schema import Recipe
from .dimension import LITERATURE, POINTS, Dimension, Value
from .groups import Group, make_groups

Point = Mapping[str, Value]
"""The value of each dimension, by its name."""


@dataclass(frozen=True)
class Space:
    """Some numbers of a recipe.

    recipe: what they are numbers of; it says everything else.
    dimensions: what is searched.
    groups: the tensors that have numbers of their own; none where all share the recipe's.
    """

    recipe: Recipe
    dimensions: tuple[Dimension, ...]
    groups: tuple[Group, ...] = ()

    def recipe_at(self, point: Point) -> Recipe:
        """Return the recipe with a point's numbers filled in; overrides that it has already hold against them."""
        data = copy.deepcopy(self.recipe.data)
        overrides: dict[str, list[dict[str, Any]]] = {}
        for dimension in self.dimensions:
            group, key = _parted(dimension.name, self.groups)
            value = point[dimension.name]
            if key.startswith("settings."):
                data.setdefault("settings", {})[key.removeprefix("settings.")] = value
            elif group is None or not group.where:
                _set_shared(data, key, value)
            else:
                entries = overrides.setdefault(group.name, [dict(where) for where in group.where])
                for entry in entries:
                    _set_own(entry, key, value, len(data["models"]) if "models" in data else 0)
        if overrides:
            data["overrides"] = [entry for some in overrides.values() for entry in some] + data.get("overrides", [])
        return Recipe.model_validate(data)

    @property
    def start(self) -> dict[str, Value] | None:
        """The point where the recipe itself lies; None where it has no such numbers, or they lie outside."""
        point = {d.name: _value_in(self.recipe, _parted(d.name, self.groups)[1]) for d in self.dimensions}
        return point if all(d.holds(point[d.name]) for d in self.dimensions) else None

    @property
    def facts(self) -> list[dict[str, Any]]:
        """The dimensions in plain data: what must be the same where a search goes on."""
        return [d.facts for d in self.dimensions]


def make_space(recipe: Recipe, names: Iterable[str], asked: Sequence[str] = ("scale",), groups: int = 0) -> Space:
    """Return the space that some words ask for.

    Args:
        recipe: what is searched around.
        names: the tensors of the output, for groups of layers.
        asked: `scale`, `weights`, or `settings.NAME` (`NAME` for short); each may say its values: `scale=0:1` (from,
            to), `scale=0:1:0.05` (from, to, step), `settings.elect=sum,count` (a list).
        groups: how many groups of layers have a scale or weights of their own, beside the embeddings and what is left;
            0: all tensors share them.

    Raises:
        RecipeError: something that the method does not have, values that it does not take, or nothing at all.
    """
    if not asked:
        raise RecipeError("nothing is searched. Name something, e.g. scale, weights, or settings.density.")
    method = find(recipe.method)
    parted = make_groups(list(names), groups) if groups else ()
    dimensions: list[Dimension] = []
    for words in asked:
        what, _, values = words.partition("=")
        dimensions += _dimensions(recipe, method, what.strip(), values.strip(), parted)
    if twice := [d.name for i, d in enumerate(dimensions) if d.name in {other.name for other in dimensions[:i]}]:
        raise RecipeError(f"'{twice[0]}' is to be searched twice. Name it once.")
    used = parted if any(_parted(d.name, parted)[0] for d in dimensions) else ()
    if groups and not used:
        raise RecipeError("groups of layers have a scale or weights of their own. Search 'scale' or 'weights', too.")
    return Space(recipe, tuple(dimensions), used)


def _dimensions(recipe: Recipe, method: Method, what: str, values: str, groups: Sequence[Group]) -> list[Dimension]:
    """Return what one word asks for, for each group."""
    if what == "scale":
        if method.needs.space == "weight" or recipe.base is None:
            raise RecipeError(f"'{method.name}' merges whole models here, so there is no scale to search.")
        _check_free(recipe, "scale")
        keys = ["scale"]
    elif what == "weights":
        if not method.needs.weighted:
            raise RecipeError(f"'{method.name}' takes no weights: it finds its own numbers. Search 'scale' instead.")
        if recipe.stack:
            raise RecipeError("the parts of a stack have models of their own, so 'weights' cannot be searched.")
        _check_free(recipe, "weights")
        keys = [f"weight.{i}" for i in range(len(recipe.models))]
    else:
        return [_of_setting(recipe, method, what.removeprefix("settings."), values)]
    names = [f"{group.name}.{key}" for group in groups for key in keys] if groups else keys
    return [Dimension.parse(name, values or LITERATURE) for name in names]


def _check_free(recipe: Recipe, what: str) -> None:
    """Refuse to search a number that every tensor has of its own: all points would be the same merge."""
    parts = [getattr(part, what, None) is not None for part in recipe.stack]
    everywhere = [o for o in recipe.overrides if o.match == "*" and o.layers is None and getattr(o, what) is not None]
    if everywhere or (parts and all(parts)):
        raise RecipeError(f"every tensor has '{what}' of its own, so there is none to search. Remove it.")


def _of_setting(recipe: Recipe, method: Method, name: str, values: str) -> Dimension:
    """Return a dimension of one of the method's settings; without values, all that it may be, where it is a share."""
    known = ["scale", "weights", *(f"settings.{key}" for key in method.settings)]
    if name not in method.settings:
        hint = suggest(name, known) or suggest(f"settings.{name}", known)
        raise RecipeError(f"'{name}' is nothing to search with '{method.name}'.{hint} Known: {', '.join(known)}.")
    if _has_own(recipe, name):
        raise RecipeError(f"some models or overrides have a '{name}' of their own. Remove it, or do not search it.")
    setting = method.settings[name]
    dimension = Dimension.parse(f"settings.{name}", values, setting.kind) if values else _all_of(setting, method)
    for value in dimension.ends:
        setting.check(value)
    return dimension


def _all_of(setting: Setting, method: Method) -> Dimension:
    name = f"settings.{setting.name}"
    if setting.choices or setting.kind is bool:
        return Dimension(name, values=setting.choices or (False, True))
    interval = setting.interval
    if interval is None or interval.low < 0 or interval.high > 1:
        raise RecipeError(
            f"'{setting.name}' of '{method.name}' may be {setting.expected()}. Say where to search, e.g. {name}=1:10."
        )
    low = interval.low + (1 / POINTS if interval.open_low else 0)
    return Dimension(name, round(low, 2), interval.high, setting.kind is int)


def _has_own(recipe: Recipe, setting: str) -> bool:
    models = [m.settings for part in recipe.parts for m in part.models]
    parts = [part.settings for part in recipe.stack]
    overrides = [*recipe.overrides, *(o for part in recipe.stack for o in part.overrides)]
    each = [own for o in overrides for own in (o.settings, *(o.each or ()))]
    return any(setting in settings for settings in (*models, *parts, *each))


def _parted(name: str, groups: Sequence[Group]) -> tuple[Group | None, str]:
    """Return the group that a dimension is of, and which number of it."""
    for group in groups:
        if name.startswith(f"{group.name}."):
            return group, name.removeprefix(f"{group.name}.")
    return None, name


def _set_shared(data: dict[str, Any], key: str, value: Value) -> None:
    if key == "scale":
        data["scale"] = value
    else:
        data["models"][int(key.removeprefix("weight."))]["weight"] = value


def _set_own(entry: dict[str, Any], key: str, value: Value, models: int) -> None:
    if key == "scale":
        entry["scale"] = value
    else:
        entry.setdefault("weights", [None] * models)[int(key.removeprefix("weight."))] = value


def _value_in(recipe: Recipe, key: str) -> Any:
    if key == "scale":
        return recipe.scale
    if key.startswith("weight."):
        return recipe.models[int(key.removeprefix("weight."))].weight
    name = key.removeprefix("settings.")
    return recipe.settings.get(name, find(recipe.method).settings[name].default)
