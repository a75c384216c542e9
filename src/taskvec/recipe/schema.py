"""What a recipe is: the models of pydantic that read it, and how their complaints are said."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ..errors import RecipeError
from ..merge import METHODS, Method
from ..merge.registry import suggest
from ..store.layout import parse_size
from .yaml_lines import Document
from .yaml_lines import Path as Path_

ALLOW = ("unrelated", "tokenizers", "hashes")


def _number_or_list(value: Any) -> Any:
    numbers = value if isinstance(value, list) and value else [value]
    if any(isinstance(x, bool) or not isinstance(x, int | float) or not math.isfinite(x) for x in numbers):
        raise ValueError("must be a number, or a list of numbers that is interpolated over depth")
    return value


def _scalar_or_list(value: Any) -> Any:
    if isinstance(value, str | bool):
        return value
    return _number_or_list(value)


def _size(value: Any) -> int:
    try:
        return parse_size(value)
    except RecipeError as exc:
        raise ValueError(str(exc).rstrip(".")) from exc


Value = Annotated[Any, BeforeValidator(_number_or_list), Field(json_schema_extra={"type": ["number", "array"]})]
SettingValue = Annotated[
    Any,
    BeforeValidator(_scalar_or_list),
    Field(json_schema_extra={"type": ["number", "array", "string", "boolean"]}),
]
Size = Annotated[int, BeforeValidator(_size), Field(json_schema_extra={"type": ["string", "integer"]})]


class Strict(BaseModel):
    """Refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelEntry(Strict):
    """One model (or saved task vector) of a merge."""

    model: str = Field(description="A model folder, a .safetensors file, an index, or a .tv task vector.")
    weight: Value = Field(1.0, description="Its weight; a list is interpolated over depth.")
    settings: dict[str, SettingValue] = Field(
        default_factory=dict, description="Settings of the method for this model alone, e.g. its density."
    )


class Override(Strict):
    """Other numbers for some tensors. Later overrides win."""

    match: str = Field("*", description="A glob on tensor names, e.g. '*.mlp.*'.")
    layers: str | int | None = Field(None, description="A layer, or a range of layers with both ends: '0-3'.")
    weights: list[Value] | None = Field(None, description="One weight a model, in their order.")
    settings: dict[str, SettingValue] = Field(default_factory=dict, description="Settings of the method.")
    scale: Value | None = Field(None, description="λ for these tensors.")


class Output(Strict):
    """How the result is written."""

    shard_size: Size = Field(5_000_000_000, description="Largest size of a file, e.g. 5GB.")


class Recipe(Strict):
    """A merge: which models, by which method, with which numbers."""

    method: str = Field(description="A merge method; `taskvec methods` lists them.")
    base: str | None = Field(None, description="The model that the others were fine-tuned from.")
    models: list[ModelEntry] = Field(min_length=1, description="The models to merge.")
    settings: dict[str, SettingValue] = Field(default_factory=dict, description="Settings of the method.")
    scale: Value = Field(1.0, description="λ: how much of the merged task vector is added to the base.")
    overrides: list[Override] = Field(default_factory=list, description="Other numbers for some tensors.")
    ignore: list[str] = Field(default_factory=list, description="Globs of tensors that stay as the base has them.")
    dtype: Literal["float32", "float16", "bfloat16", "float64"] | None = Field(
        None, description="What floats are stored as; each tensor's own type in the base when not given."
    )
    rounding: Literal["nearest", "stochastic"] = Field("nearest", description="How floats are rounded to `dtype`.")
    seed: int = Field(0, ge=0, description="Seed of everything random.")
    nonfinite: Literal["refuse", "pass"] = Field("refuse", description="What to do about NaN and Inf in an input.")
    allow: list[Literal["unrelated", "tokenizers", "hashes"]] = Field(
        default_factory=list, description="Checks that may fail: unrelated models, differing tokenizers, known hashes."
    )
    tokenizer: str = Field("base", description="Whose tokenizer is copied: 'base', or one of the models' paths.")
    output: Output = Field(default_factory=lambda: Output.model_validate({}), description="How the result is written.")


def validate(document: Document) -> Recipe:
    """Read a recipe from a parsed document.

    Raises:
        RecipeError: everything that is wrong with its form, a line each, with file and line number.
    """
    data = document.data
    if not isinstance(data, dict):
        raise RecipeError(f"{document.name}:1: expected keys such as 'method' and 'models', got {data!r}.")
    if isinstance(data.get("models"), list):
        data = {**data, "models": [{"model": m} if isinstance(m, str) else m for m in data["models"]]}
    if isinstance(data.get("method"), str) and data["method"] not in METHODS:
        known = ", ".join(sorted(METHODS))
        hint = suggest(data["method"], METHODS)
        raise RecipeError(f"{document.at(('method',))}: unknown merge method {data['method']!r}.{hint} Known: {known}.")
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as exc:
        raise RecipeError("\n".join(dict.fromkeys(_say(document, error) for error in exc.errors()))) from exc
    for path, key, value in _settings(recipe):
        try:
            _check_setting(METHODS[recipe.method], key, value, path[0] == "models")
        except RecipeError as exc:
            raise RecipeError(f"{document.at((*path, key))}: {exc}") from exc
    return recipe


def _settings(recipe: Recipe) -> Iterator[tuple[Path_, str, Any]]:
    """Yield every setting of the method: where it stands, its name, its value."""
    places: list[tuple[Path_, dict[str, Any]]] = [(("settings",), recipe.settings)]
    places += [(("models", i, "settings"), m.settings) for i, m in enumerate(recipe.models)]
    places += [(("overrides", i, "settings"), o.settings) for i, o in enumerate(recipe.overrides)]
    for path, settings in places:
        for key, value in settings.items():
            yield path, key, value


def _check_setting(method: Method, key: str, value: Any, of_one_model: bool) -> None:
    """Check a setting wherever it stands; a list of numbers is checked number by number."""
    known = method.settings.get(key)
    if known and of_one_model and not known.per_task:
        raise RecipeError(f"'{key}' is one for all models; set it under 'settings', not under a model.")
    over_depth = isinstance(value, list) and known and known.kind is float
    for number in value if over_depth else [value]:
        method.check({key: number})


def _say(document: Document, error: Any) -> str:
    path = tuple(error["loc"])
    where, last = document.at(path), path[-1] if path else ""
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key '{last}'.{suggest(last, _keys(path))} Known: {', '.join(_keys(path))}."
    if error["type"] == "missing":
        return f"{where}: '{last}' is missing. Type e.g. '{last}: {_example(str(last))}'."
    message = error["msg"].removeprefix("Value error, ")
    return f"{where}: '{last}' {message[0].lower() + message[1:]}, got {error['input']!r}."


def _keys(path: tuple[str | int, ...]) -> list[str]:
    names = [p for p in path[:-1] if isinstance(p, str)]
    kind: dict[str, type[BaseModel]] = {"models": ModelEntry, "overrides": Override, "output": Output}
    return list((kind.get(names[0], Recipe) if names else Recipe).model_fields)


def _example(key: str) -> str:
    return {"method": "ties", "models": "[./math, ./code]", "model": "./math"}.get(key, "…")


def json_schema() -> str:
    """Return the JSON schema of a recipe, for editors."""
    schema = Recipe.model_json_schema()
    schema["properties"]["method"]["enum"] = sorted(METHODS)
    models = schema["properties"]["models"]
    models["items"] = {"anyOf": [models["items"], {"type": "string"}]}  # a path alone is a model, too
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"


def resolve_paths(recipe: Recipe, folder: Path) -> Recipe:
    """Return the recipe with relative paths taken from the recipe's own folder."""

    def fix(path: str) -> str:
        return str(folder / Path(path).expanduser())

    models = [m.model_copy(update={"model": fix(m.model)}) for m in recipe.models]
    tokenizer = recipe.tokenizer if recipe.tokenizer == "base" else fix(recipe.tokenizer)
    base = fix(recipe.base) if recipe.base else None
    return recipe.model_copy(update={"models": models, "base": base, "tokenizer": tokenizer})
