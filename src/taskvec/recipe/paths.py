"""Where the paths of a recipe point to."""

import os
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..errors import StoreError
from ..store.catalogued import BETWEEN, catalogued, folder_and_name
from ..store.hub import NAME
from .schema import VOCABULARY_RULES, ModelEntry, Part, Recipe, Vocabulary

Entry = TypeVar("Entry", bound=ModelEntry)
Fix = Callable[[str], str]


def resolve_paths(recipe: Recipe, folder: Path, keep: Container[str] = ()) -> Recipe:
    """Return the recipe with relative paths taken from the recipe's own folder.

    What is no path there stays as it is: a hub id, a name in `keep` (another recipe's result).
    """

    def fix(path: str) -> str:
        if path in keep:
            return path
        local = folder / Path(path).expanduser()
        if local.exists():
            return str(local)
        # A path that was typed with './', or lies in the recipe's folder, must not pass for a name of the hub.
        return path if is_hub_id(path) else f"./{local}" if is_hub_id(str(local)) else str(local)

    def fix_sum(path: str) -> str:
        local = folder / Path(path).expanduser()
        whole = "+" not in path or path in keep or local.exists()
        return fix(path) if whole else "+".join(map(fix, path.split("+")))

    def fix_folder(path: str) -> str:
        return str(folder / Path(path).expanduser())

    return _with_folders(_with_paths(recipe, fix_sum), fix_folder)


def seen_from(recipe: Recipe, folder: Path) -> Recipe:
    """Return the recipe with relative paths as they are typed in a file in `folder`; what is no path stays."""

    def fix(path: str) -> str:
        local, name = Path(path), ""
        if catalogued(path):
            place, entry = folder_and_name(path)
            local, name = Path(place), BETWEEN + entry
        return f"./{os.path.relpath(local, folder)}{name}" if local.exists() and not local.is_absolute() else path

    def fix_sum(path: str) -> str:
        whole = "+" not in path or Path(path).exists()
        return fix(path) if whole else "+".join(map(fix, path.split("+")))

    def fix_folder(path: str) -> str:
        return path if Path(path).is_absolute() else f"./{os.path.relpath(path, folder)}"

    return _with_folders(_with_paths(recipe, fix_sum), fix_folder)


def inputs_of(recipe: Recipe) -> list[str]:
    """Return the paths of a recipe's models and bases."""
    parts = recipe.parts
    names = [recipe.base, *(part.base for part in parts), *(m.model for part in parts for m in part.models)]
    return list(dict.fromkeys(name for name in names if name))


def check_paths(recipe: Recipe) -> None:
    """Say which paths of a recipe in mergekit's form are missing where; others are told when they are opened.

    Raises:
        StoreError: a model that is neither in the working folder nor in the recipe's.
    """
    folder = recipe.origin.folder
    names = [part for name in inputs_of(recipe) for part in ([name] if Path(name).exists() else name.split("+"))]
    names = list(dict.fromkeys(name for name in names if not is_hub_id(name)))
    missing = [name for name in names if not Path(name).exists()]
    if not missing or folder.resolve() == Path().resolve() or not recipe.origin.is_mergekit:
        return
    if all(Path(name).is_absolute() for name in missing):
        return
    there = [name for name in names if not (folder / name).exists()]
    raise StoreError(
        f"{recipe.origin.file}: {_listed(missing)} in the working folder, and {_listed(there)} in the recipe's folder "
        f"{folder}. All must be in one of the two."
    )


def _listed(names: Sequence[str]) -> str:
    *before, last = [f"'{name}'" for name in names]
    return f"{', '.join(before)} and {last} do not exist" if before else f"{last} does not exist"


def renamed_models(recipe: Recipe, places: Mapping[str, str]) -> Recipe:
    """Return the recipe with the names of other recipes' results replaced by where these lie."""

    def fix(path: str) -> str:
        return places.get(path) or "+".join(places.get(name, name) for name in path.split("+"))

    return _with_paths(recipe, fix)


def _with_paths(recipe: Recipe, fix: Fix) -> Recipe:
    def fixed(entries: Sequence[Entry]) -> list[Entry]:
        return [m.model_copy(update={"model": fix(m.model)}) for m in entries]

    def fixed_part(part: Part) -> Part:
        base = fix(part.base) if part.base else None
        return part.model_copy(update={"models": fixed(part.models), "base": base})

    changed: dict[str, Any] = {"models": fixed(recipe.models), "base": fix(recipe.base) if recipe.base else None}
    changed["stack"] = [fixed_part(part) for part in recipe.stack]
    changed["tokenizer"] = recipe.tokenizer if recipe.tokenizer == "base" else fix(recipe.tokenizer)
    if recipe.vocabulary:
        changed["vocabulary"] = _fixed_vocabulary(recipe.vocabulary, fix)
    return recipe.model_copy(update=changed)


def _with_folders(recipe: Recipe, fix: Fix) -> Recipe:
    """Change the paths of statistics and of the file of tasks, which are never names of the hub."""

    def fixed(entries: Sequence[Entry]) -> list[Entry]:
        return [m.model_copy(update={"statistics": fix(m.statistics)}) if m.statistics else m for m in entries]

    changed: dict[str, Any] = {"models": fixed(recipe.models)}
    changed["stack"] = [part.model_copy(update={"models": fixed(part.models)}) for part in recipe.stack]
    changed["statistics"] = fix(recipe.statistics) if recipe.statistics else None
    if recipe.curvature:
        changed["curvature"] = recipe.curvature.model_copy(update={"tasks": fix(recipe.curvature.tasks)})
    return recipe.model_copy(update=changed)


def _fixed_vocabulary(vocabulary: Vocabulary, fix: Fix) -> Vocabulary:
    def source(of: Any) -> Any:
        if isinstance(of, str):
            return fix(of)
        return {**of, "model": fix(of["model"])} if isinstance(of, dict) and isinstance(of.get("model"), str) else of

    tokens = {
        text: {**how, "source": source(how["source"])} if isinstance(how, dict) and "source" in how else how
        for text, how in vocabulary.tokens.items()
    }
    rule = vocabulary.rule if vocabulary.rule in VOCABULARY_RULES else fix(vocabulary.rule)
    return vocabulary.model_copy(update={"rule": rule, "tokens": tokens})


def is_hub_id(path: str) -> bool:
    """Tell what looks like an id on the hub: 'owner/name', or 'owner/name@revision'.

    >>> is_hub_id("org/model"), is_hub_id("./math"), is_hub_id("a/b/c")
    (True, False, False)
    """
    return NAME.fullmatch(path) is not None
