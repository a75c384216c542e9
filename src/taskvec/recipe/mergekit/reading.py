"""The shape of a recipe of mergekit's: which models, which of their layers, and where parameters may stand."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ...errors import RecipeError
from ...merge.registry import suggest
from ..schema import Recipe
from ..yaml_lines import Document, Path
from .tables import EVERYWHERE, OLDER

TOP = (
    "merge_method", "models", "slices", "modules", "base_model", "parameters", "dtype", "out_dtype",
    "tokenizer_source", "tokenizer", "chat_template", "name", "random_seed",
)  # fmt: skip
SLICE = ("sources", "layer_range", "residual_weight")
MODEL = ("model", "lora", "path", "revision", "override_architecture")
TOKENIZER = ("source", "tokens", "pad_to_multiple_of")
KNOWN = (*TOP, *SLICE, *MODEL, *TOKENIZER, *sorted(EVERYWHERE | OLDER))
"""Every key of mergekit's, wherever it counts."""
Place = tuple[dict[str, Any], Path]
"""Parameters, and where they stand."""


@dataclass(frozen=True)
class Source:
    """One model, its layers (first, after the last), and its own parameters."""

    model: str
    layers: tuple[int, int] | None
    parameters: Place
    path: Path


@dataclass(frozen=True)
class Group:
    """Models that are merged with each other: all of a recipe, or a slice of it.

    parameters: what holds for all of them, the nearest first. base: the group's base model.
    """

    sources: tuple[Source, ...]
    parameters: tuple[Place, ...]
    base: str | None
    path: Path
    tower: str | None = None


def is_mergekit(data: Any) -> bool:
    """Tell a recipe in mergekit's form."""
    return isinstance(data, dict) and "merge_method" in data


class Reader:
    """Reads the shape of a document, and refuses what it does not know."""

    def __init__(self, document: Document) -> None:
        """Take a parsed document; nothing is checked yet."""
        self.document = document
        self.data: dict[str, Any] = document.data
        self.notes: list[str] = []
        self.passed: dict[str, None] = {}

    def refuse(self, path: Path, message: str) -> RecipeError:
        """Return an error with file and line."""
        return RecipeError(f"{self.document.at(path)}: {message}")

    def note(self, text: str) -> None:
        """Remember something to be told once."""
        if text not in self.notes:
            self.notes.append(text)

    def groups(self) -> list[Group]:
        """Return the groups of models in the order of the output.

        Raises:
            RecipeError: unknown keys, no models, or models in two forms; with file and line.
        """
        self.check_keys(self.data, TOP, ())
        forms = [key for key in ("models", "slices", "modules") if self.data.get(key)]
        if len(forms) != 1:
            given = " and ".join(f"'{form}'" for form in forms)
            raise self.refuse((), f"'models' must list the models to merge{f', got {given}' if given else ''}.")
        top = [self._place(self.data, ())]
        if forms == ["modules"]:
            modules = self.data["modules"]
            if not isinstance(modules, dict):
                raise self.refuse(("modules",), f"'modules' must map names to models or slices, got {modules!r}.")
            return [g for name, module in modules.items() for g in self._module(str(name), module, top)]
        return list(self._group_list(self.data, (), top, None))

    @property
    def base(self) -> str | None:
        """The recipe's base model, if it names one."""
        return self._base(self.data, ())

    @property
    def layered(self) -> bool:
        """Whether the output is built slice by slice."""
        return not self.data.get("models")

    def _module(self, name: str, module: Any, top: list[Place]) -> Iterator[Group]:
        path: Path = ("modules", name)
        if not isinstance(module, dict) or bool(module.get("models")) == bool(module.get("slices")):
            raise self.refuse(path, f"the module '{name}' must have either 'models' or 'slices'.")
        self.check_keys(module, ("models", "slices", "parameters"), path)
        tower = None if name == "default" or len(self.data["modules"]) == 1 else name
        return self._group_list(module, path, [self._place(module, path), *top], tower)

    def _group_list(self, data: dict[str, Any], path: Path, top: list[Place], tower: str | None) -> Iterator[Group]:
        base = self.base
        if data.get("models"):
            sources = self._sources(data["models"], (*path, "models"), ("model", "parameters"))
            yield Group(tuple(sources), tuple(top), base, (*path, "models"), tower)
            return
        if not isinstance(data["slices"], list):
            raise self.refuse((*path, "slices"), f"'slices' must be a list, got {data['slices']!r}.")
        for i, given in enumerate(data["slices"]):
            at = (*path, "slices", i)
            if not isinstance(given, dict) or not given.get("sources"):
                raise self.refuse(at, "each of 'slices' must have 'sources'.")
            self.check_keys(given, ("sources", "parameters", "base_model", "residual_weight"), at)
            if given.get("residual_weight") is not None:
                self.note("'residual_weight' has no effect, as in mergekit.")
            sources = self._sources(given["sources"], (*at, "sources"), ("model", "layer_range", "parameters"))
            yield Group(tuple(sources), (self._place(given, at), *top), self._base(given, at) or base, at, tower)

    def _sources(self, entries: Any, path: Path, known: tuple[str, ...]) -> Iterator[Source]:
        if not isinstance(entries, list):
            raise self.refuse(path, f"'{path[-1]}' must be a list of models, got {entries!r}.")
        for i, entry in enumerate(entries):
            at = (*path, i)
            if not isinstance(entry, dict) or "model" not in entry:
                raise self.refuse(at, f"each of '{path[-1]}' must have a 'model'.")
            self.check_keys(entry, known, at)
            layers = self._layers(entry, at) if "layer_range" in known else None
            yield Source(self.reference(entry["model"], (*at, "model")), layers, self._place(entry, at), at)

    def _layers(self, entry: dict[str, Any], path: Path) -> tuple[int, int]:
        given = entry.get("layer_range")
        whole = isinstance(given, list) and len(given) == 2 and all(isinstance(x, int) for x in given)
        if not whole or not 0 <= given[0] <= given[1]:  # type: ignore[index]
            raise self.refuse((*path, "layer_range"), f"'layer_range' must be [first, after the last], got {given!r}.")
        return given[0], given[1]  # type: ignore[index]

    def reference(self, given: Any, path: Path) -> str:
        """Return a reference to a model as one text: 'path@revision+adapter'."""
        if isinstance(given, str):
            return given
        if isinstance(given, dict):
            self.check_keys(given, MODEL, path)
            if given.get("override_architecture"):
                self.note("'override_architecture' has no effect: names and shapes are read from the files.")
            if isinstance(given.get("path"), str):
                return f"{given['path']}@{given['revision']}" if given.get("revision") else str(given["path"])
            if given.get("model") is not None:
                model = self.reference(given["model"], (*path, "model"))
                lora = given.get("lora")
                return model + (f"+{self.reference(lora, (*path, 'lora'))}" if lora else "")
        raise self.refuse(path, f"'model' must be a path or a hub id, got {given!r}.")

    def _base(self, data: dict[str, Any], path: Path) -> str | None:
        given = data.get("base_model")
        return None if given is None else self.reference(given, (*path, "base_model"))

    def _place(self, data: dict[str, Any], path: Path) -> Place:
        given = data.get("parameters") or {}
        if not isinstance(given, dict):
            raise self.refuse(
                (*path, "parameters"), f"'parameters' must be a mapping from names to values, got {given!r}."
            )
        return given, (*path, "parameters")

    def check_keys(self, data: dict[str, Any], known: Iterable[str], path: Path) -> None:
        """Remember keys of mergekit's that stand where it does not look; refuse those that it has nowhere."""
        for key in data:
            if key in known:
                continue
            if key in KNOWN:
                self.passed[key] = None
                continue
            if not path and key in Recipe.model_fields:  # messages about any recipe tell to type such keys
                raise self.refuse(
                    (key,), f"'{key}' is a key of our own form. Type --set '{key}=…' on the command line."
                )
            raise self.refuse((*path, key), f"unknown key '{key}'.{suggest(key, known) or suggest(key, KNOWN)}")
