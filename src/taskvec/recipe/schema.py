"""What a recipe is: the models of pydantic that read it, and how their complaints are said."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from ..errors import RecipeError
from ..merge import METHODS, Method
from ..merge.registry import suggest
from ..store.layout import parse_size
from .choices import CHOICES, check_choice, choice_of
from .origin import Origin
from .yaml_lines import Document, Path

VOCABULARY_RULES = ("union", "base", "intersection")
TYPES = ("float32", "float16", "bfloat16", "float64")
SHORT_TYPES = {"fp32": "float32", "f32": "float32", "float": "float32", "fp16": "float16", "f16": "float16",
    "half": "float16", "bf16": "bfloat16", "fp64": "float64", "f64": "float64", "double": "float64"}  # fmt: skip
"""What people type, and what it is called here."""


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


def _entries(value: Any) -> Any:
    return [{"model": m} if isinstance(m, str) else m for m in value] if isinstance(value, list) else value


def _rule(value: Any) -> Any:
    return {"rule": value} if isinstance(value, str) else value


def _scale(value: Any) -> Any:
    return check_choice(value) if isinstance(value, str | dict) else _number_or_list(value)


Value = Annotated[Any, BeforeValidator(_number_or_list), Field(json_schema_extra={"type": ["number", "array"]})]
SettingValue = Annotated[
    Any,
    BeforeValidator(_scalar_or_list),
    Field(json_schema_extra={"type": ["number", "array", "string", "boolean"]}),
]
ScaleValue = Annotated[
    Any,
    BeforeValidator(_scale),
    Field(
        json_schema_extra={
            "anyOf": [
                {"type": ["number", "array"]},
                {"const": "auto"},
                {
                    "type": "object",
                    "properties": {"auto": {"enum": list(CHOICES)}},
                    "required": ["auto"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
Size = Annotated[int, BeforeValidator(_size), Field(json_schema_extra={"type": ["string", "integer"]})]


class Strict(BaseModel):
    """Refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)


Settings = dict[str, SettingValue]


class Rename(Strict):
    """Other names for a model's tensors."""

    from_: str = Field(
        alias="from", description="The beginning of a name, e.g. 'model.'; beginning with ^, a regular expression."
    )
    to: str = Field(description="What stands there instead, e.g. 'transformer.'.")


class ModelEntry(Strict):
    """One model (or saved task vector, or adapter) of a merge."""

    model: str = Field(
        description="A model folder, a file, a hub id, a .tv task vector, an adapter's folder, or 'model+adapter'."
    )
    weight: Value = Field(1.0, description="Its weight; a list is interpolated over depth.")
    settings: Settings = Field(
        default_factory=dict, description="Settings of the method for this model alone, e.g. its density."
    )
    rename: list[Rename] = Field(default_factory=list, description="How its names become those of the base.")
    statistics: str | None = Field(
        None, description="A folder of statistics of this model (`taskvec curvature`), for methods that heed curvature."
    )
    task: str | None = Field(
        None, description="Instead of `statistics`: the task of `curvature.tasks` on which they are measured first."
    )


class Override(Strict):
    """Other numbers for some tensors. Later overrides win."""

    match: str = Field("*", description="A glob on tensor names, e.g. '*.mlp.*'.")
    layers: str | int | None = Field(None, description="A layer, or a range of layers with both ends: '0-3'.")
    weights: list[Value | None] | None = Field(
        None, description="One weight a model, in their order; null leaves one as it is."
    )
    settings: Settings = Field(default_factory=dict, description="Settings of the method.")
    each: list[Settings] | None = Field(
        None, description="Settings of the method for single models, in their order; {} leaves one as it is."
    )
    scale: Value | None = Field(None, description="λ for these tensors.")


class PartEntry(ModelEntry):
    """One model of a part, and which of its layers."""

    layers: str | int | None = Field(None, description="A range of its layers with both ends: '0-15'; all by default.")


class Part(Strict):
    """Some layers of the output: those of one model, or of several merged. Parts follow each other."""

    models: Annotated[list[PartEntry], BeforeValidator(_entries)] = Field(
        min_length=1, description="The models, each with as many layers."
    )
    base: str | None = Field(None, description="The base of this part, where it is another than the recipe's.")
    base_layers: str | int | None = Field(None, description="Which layers of the base; the first model's by default.")
    tower: str | None = Field(None, description="Which stack of layers, where a model has several: a name's beginning.")
    settings: Settings = Field(default_factory=dict, description="Settings of the method in this part.")
    scale: Value | None = Field(None, description="λ in this part.")
    overrides: list[Override] = Field(default_factory=list, description="Other numbers for some of its tensors.")


class Vocabulary(Strict):
    """How tokens are matched where models know different ones: by their text, each tensor row for row."""

    rule: str = Field("union", description="'union', 'base', 'intersection', or the path of a model.")
    tokens: dict[str, Any] = Field(default_factory=dict, description="Where single tokens come from.")
    pad_to_multiple_of: int | None = Field(None, ge=1, description="Rows are filled up to a multiple of this.")
    keep_padding: bool = Field(True, description="Whether rows that no token stands in are kept.")


class Output(Strict):
    """How the result is written."""

    shard_size: Size = Field(5_000_000_000, description="Largest size of a file, e.g. 5GB.")


def _rank(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if value != "all" and not whole and not (isinstance(value, float) and 0 < value < 1):
        raise ValueError("must be 'all', a whole number above 0, or a share of the energy between 0 and 1")
    return value


Rank = Annotated[
    Any,
    BeforeValidator(_rank),
    Field(
        json_schema_extra={
            "anyOf": [
                {"const": "all"},
                {"type": "integer", "minimum": 1},
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            ]
        }
    ),
]


class Curvature(Strict):
    """How the statistics of models that name a `task` are measured."""

    tasks: str = Field(description="A file of tasks, as `taskvec evaluate` takes it; the models' own data.")
    estimator: Literal["empirical_fisher", "batch_fisher", "fisher", "ggn", "kfac", "ekfac", "gram"] | None = Field(
        None, description="What is measured; by default the first that the method can use."
    )
    examples: int = Field(256, ge=1, description="At most so many training examples of each task, evenly over labels.")
    batch: int = Field(32, ge=1, description="Examples a pass; only `batch_fisher` depends on it.")
    draws: int = Field(1, ge=1, description="Labels drawn for each example, for `fisher`, `kfac` and `ekfac`.")
    seed: int = Field(0, ge=0, description="Seed of the choice of examples and of drawn labels.")
    labels: Literal["sampled", "data"] = Field(
        "sampled", description="Whose labels `kfac` and `ekfac` take: drawn from the model, or the data's own."
    )
    gradient: bool = Field(False, description="Whether mean gradients are measured, too.")


class Adapter(Strict):
    """How adapters are merged into one adapter."""

    rank: Rank = Field("all", description="Its rank: 'all' keeps everything, or a number, or a share of the energy.")
    space: Literal["core", "knots", "dense"] = Field(
        "core", description="What a method that is not linear works on, module by module."
    )


class Recipe(Strict):
    """A merge: which models, by which method, with which numbers."""

    method: str = Field(description="A merge method; `taskvec methods` lists them.")
    base: str | None = Field(None, description="The model that the others were fine-tuned from.")
    models: Annotated[list[ModelEntry], BeforeValidator(_entries)] = Field(
        default_factory=list, description="The models to merge."
    )
    stack: list[Part] = Field(default_factory=list, description="Instead of 'models': the output, layer by layer.")
    name: str | None = Field(None, description="What other recipes of the same file call this one's result.")
    statistics: str | None = Field(
        None, description="A folder of statistics of the base, for the methods that use them."
    )
    curvature: Curvature | None = Field(
        None, description="How the statistics of models that name a `task` are measured, before they are merged."
    )
    settings: Settings = Field(default_factory=dict, description="Settings of the method.")
    scale: ScaleValue = Field(
        1.0,
        description="λ: how much of the merged task vector is added to the base; 'auto' or {auto: NAME} finds it.",
    )
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
    vocabulary: Annotated[Vocabulary | None, BeforeValidator(_rule)] = Field(
        None, description="How tokens are matched; by default all must agree."
    )
    chat_template: str | None = Field(None, description="'auto', a name such as 'chatml', or a template.")
    adapter: Adapter | None = Field(
        None, description="Write an adapter, not a model; all models are adapters of the base."
    )
    report: bool = Field(
        False, description="Whether the merge also measures how its models relate, and writes report.html."
    )
    output: Output = Field(default_factory=lambda: Output.model_validate({}), description="How the result is written.")
    _origin: Origin = PrivateAttr(default=Origin())

    @property
    def origin(self) -> Origin:
        """The file it was read from, for messages."""
        return self._origin

    @property
    def choice(self) -> str | None:
        """The closed form that is to find the scale; None where it is given as a number."""
        return choice_of(self.scale)

    @property
    def parts(self) -> list[Part]:
        """The parts of the output; one with all layers of all models where the recipe lists models."""
        return self.stack or [Part.model_validate({"models": [dict(m) for m in self.models]})]

    @property
    def data(self) -> dict[str, Any]:
        """The recipe as YAML and JSON have it, without what is said by default."""
        return self.model_dump(mode="json", exclude_defaults=True, by_alias=True)

    @property
    def unmeasured(self) -> list[ModelEntry]:
        """The models that name a task on which they are measured first, and have no statistics yet."""
        return [entry for entry in self.models if entry.task and not entry.statistics]

    @property
    def written(self) -> dict[str, Any]:
        """The data as a file has them: where a model names a `task`, not where its statistics were put."""
        data = self.data
        for entry in data.get("models", []):
            if "task" in entry:
                entry.pop("statistics", None)
        return data

    @model_validator(mode="after")
    def _has_models_once(self) -> "Recipe":
        if self.models and self.stack:
            raise ValueError("give either 'models' or 'stack', not both")
        if not self.models and not self.stack:
            raise ValueError(f"'models' is missing. Type e.g. 'models: {_example('models')}'")
        if self.report and (self.adapter or self.stack):
            other = "adapter" if self.adapter else "stack"
            raise ValueError(f"'report' measures models tensor by tensor, which '{other}' does not merge; remove one")
        return self


def validate(document: Document) -> Recipe:
    """Read a recipe from a parsed document.

    Raises:
        RecipeError: everything that is wrong with its form, a line each, with file and line number.
    """
    data = document.data
    if not isinstance(data, dict):
        got = repr(data) if len(repr(data)) <= 60 else f"{repr(data)[:60]}…"
        raise RecipeError(f"{document.name}:1: expected keys such as 'method' and 'models', got {got}.")
    _check_is_recipe(document)
    if isinstance(data.get("method"), str) and data["method"] not in METHODS:
        known = ", ".join(sorted(METHODS))
        hint = suggest(data["method"].lower(), METHODS)
        raise RecipeError(f"{document.at(('method',))}: unknown merge method {data['method']!r}.{hint} Known: {known}.")
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as exc:
        raise RecipeError("\n".join(_listed_once(_say(document, error) for error in exc.errors()))) from exc
    for path, key, value in _settings(recipe):
        try:
            _check_setting(METHODS[recipe.method], key, value, _of_one_model(path))
        except RecipeError as exc:
            raise RecipeError(f"{document.at((*path, key))}: {exc}") from exc
    _check_measured(document, recipe)
    recipe._origin = Origin(document.name)
    return recipe


def _check_measured(document: Document, recipe: Recipe) -> None:
    """Refuse a task that says nothing, and one beside statistics that are there already."""
    entries = [(i, entry) for i, entry in enumerate(recipe.models) if entry.task]
    for i, entry in entries:
        where = document.at(("models", i, "task"))
        if entry.statistics:
            raise RecipeError(f"{where}: {entry.model} has both 'statistics' and 'task'. Give one of them.")
        if recipe.curvature is None:
            raise RecipeError(
                f"{where}: 'task: {entry.task}' is measured by 'curvature', which is missing. "
                f"Type e.g. 'curvature: {{tasks: tasks.yaml}}'."
            )
    if recipe.curvature and not entries:
        where = document.at(("curvature",))
        raise RecipeError(f"{where}: 'curvature' has no effect: no model names a 'task'. Type one, or remove it.")


def _check_is_recipe(document: Document) -> None:
    """Refuse in one sentence what was never meant as a recipe, such as a model's config.json."""
    keys = [str(key) for key in document.data]
    strange = [key for key in keys if key not in Recipe.model_fields]
    about_a_method = any(suggest(key, ["method"]) for key in keys)  # then what is misspelt is told key by key
    if len(strange) > max(2, len(keys) / 2) and not about_a_method:
        some = ", ".join(f"'{key}'" for key in strange[:3])
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise RecipeError(
            f"{document.name} is no recipe: it has no 'method', and nothing of ours is called {some}{more}. "
            f"A recipe has e.g. 'method: ties', 'base: …' and 'models: …'."
        )


def _listed_once(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines, each once; a list of what is known stands in the first line that has it, not in all."""
    listed: set[str] = set()
    for line in dict.fromkeys(lines):
        said, _, names = line.partition(" Known: ")
        yield said if names in listed else line
        listed |= {names} if names else set()


def _settings(recipe: Recipe) -> Iterator[tuple[Path, str, Any]]:
    """Yield every setting of the method: where it stands, its name, its value."""
    places: list[tuple[Path, Settings]] = [(("settings",), recipe.settings)]
    places += _settings_in((), recipe.models, recipe.overrides)
    for p, part in enumerate(recipe.stack):
        places.append((("stack", p, "settings"), part.settings))
        places += _settings_in(("stack", p), part.models, part.overrides)
    for path, settings in places:
        for key, value in settings.items():
            yield path, key, value


def _settings_in(
    path: Path, models: Sequence[ModelEntry], overrides: Sequence[Override]
) -> Iterator[tuple[Path, Settings]]:
    for i, entry in enumerate(models):
        yield (*path, "models", i, "settings"), entry.settings
    for i, override in enumerate(overrides):
        yield (*path, "overrides", i, "settings"), override.settings
        for k, own in enumerate(override.each or ()):
            yield (*path, "overrides", i, "each", k), own


def _of_one_model(path: Path) -> bool:
    return "models" in path or "each" in path


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
        return f"{where}: {_unknown_key(document, path, error['input'])}"
    if error["type"] == "missing":
        return f"{where}: '{last}' is missing. Type e.g. '{last}: {_example(str(last))}'."
    message = error["msg"].removeprefix("Value error, ")
    if not path:
        return f"{where}: {message}."
    hint = meant_type(error["input"]) if last == "dtype" else ""
    return f"{where}: '{last}' {message[0].lower() + message[1:]}, got {error['input']!r}.{hint}"


def meant_type(word: Any) -> str:
    """Return " Did you mean 'x'?" for other names of a stored type and names near to one, else nothing.

    >>> meant_type("bf16"), meant_type("torch.half"), meant_type("flaot32"), meant_type("int8")
    (" Did you mean 'bfloat16'?", " Did you mean 'float16'?", " Did you mean 'float32'?", '')
    """
    name = str(word).lower().removeprefix("torch.")
    return f" Did you mean '{SHORT_TYPES[name]}'?" if name in SHORT_TYPES else suggest(name, TYPES)


def _unknown_key(document: Document, path: Path, value: Any) -> str:
    """Say that a key is unknown, and which was meant: another one, or a setting of the method."""
    method, last, keys = METHODS.get(str(document.data.get("method"))), str(path[-1]), _keys(path)
    settings = method.settings if method and "settings" in keys else {}
    if method and last in settings:
        parents = path[:-1] if settings[last].per_task else ()
        place = ".".join(map(str, (*parents, "settings", last)))
        shown = value if isinstance(value, str | int | float) else "…"
        return (
            f"'{last}' is a setting of '{method.name}' and stands under 'settings'. "
            f"Type 'settings: {{{last}: {shown}}}', or --set {place}={shown}."
        )
    hint = suggest(last, keys) or suggest(last, settings).replace("'", "'settings.", 1)
    return f"unknown key '{last}'.{hint} Known: {', '.join(keys)}."


def _keys(path: tuple[str | int, ...]) -> list[str]:
    names = [p for p in path[:-1] if isinstance(p, str)]
    kind: dict[str, type[BaseModel]] = {
        "models": PartEntry if "stack" in names else ModelEntry,
        "overrides": Override,
        "output": Output,
        "adapter": Adapter,
        "curvature": Curvature,
        "stack": Part,
        "rename": Rename,
        "vocabulary": Vocabulary,
    }
    fields = (kind.get(names[-1], Recipe) if names else Recipe).model_fields
    return [field.alias or name for name, field in fields.items()]


def _example(key: str) -> str:
    return {"method": "ties", "models": "[./math, ./code]", "model": "./math"}.get(key, "…")


def json_schema() -> str:
    """Return the JSON schema of a recipe, for editors."""
    schema = Recipe.model_json_schema()
    schema["properties"]["method"]["enum"] = sorted(METHODS)
    schema["oneOf"] = [{"required": ["models"]}, {"required": ["stack"]}]
    for models in (schema["properties"]["models"], schema["$defs"]["Part"]["properties"]["models"]):
        models["items"] = {"anyOf": [models["items"], {"type": "string"}]}  # a path alone is a model, too
    for key in ("models", "stack"):
        schema["properties"][key]["minItems"] = 1
    schema["properties"]["vocabulary"]["anyOf"].append({"type": "string"})
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"
