"""Load a recipe file, ours or mergekit's."""

from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import RecipeError
from ..merge.registry import suggest
from .mergekit import is_mergekit, translate
from .paths import inputs_of, is_hub_id, resolve_paths
from .schema import VOCABULARY_RULES, Recipe, validate
from .yaml_lines import Document, parse_all

FORMS = {"method", "merge_method"}
MIXTURE = {"experts", "gate_mode"}
"""What a recipe of mergekit-moe has, and no other."""
SUFFIXES = (".yaml", ".yml")
"""How the name of a recipe ends, as a rule."""


@dataclass(frozen=True)
class Loaded:
    """A recipe, and notes on where it means something else than its author may think."""

    recipe: Recipe
    notes: list[str]


def load_recipe(path: str | Path) -> tuple[Recipe, list[str]]:
    """Return the recipe in a YAML file, and notes on where it means something else than its author may think.

    Paths in it are taken from the file's folder (mergekit's, which are taken from the working folder, from there if
    they are not beside the file).

    Raises:
        RecipeError: the file is not there, is not a recipe, or holds several (see `load_recipes`).
    """
    loaded = load_recipes(path)
    if len(loaded) > 1:
        raise RecipeError(
            f"{path} holds {len(loaded)} recipes that build on each other. Use load_recipes and run_series, or "
            f"type: taskvec merge {path} -o OUT."
        )
    return loaded[0].recipe, loaded[0].notes


def load_recipes(path: str | Path) -> list[Loaded]:
    """Return all recipes of a YAML file in the order in which they can be run, the one that makes the result last.

    A recipe with a `name` makes a model that others of the file call by that name.

    Raises:
        RecipeError: the file is not there or is no recipe; names that are given twice, that go in a circle, or that
            nobody uses.
    """
    path = Path(path)
    documents = read_documents(path)
    names = [d.data.get("name") for d in documents if isinstance(d.data, dict) and d.data.get("name")]
    keep = set(map(str, names)) if len(documents) > 1 else set()
    return _told_once(in_order([_load(document, path.parent, keep) for document in documents], path))


def _told_once(loaded: list[Loaded]) -> list[Loaded]:
    """Leave each note to the first of the recipes that has it: all are told by one command."""
    told: set[str] = set()
    out = []
    for one in loaded:
        out.append(replace(one, notes=[note for note in one.notes if note not in told]))
        told |= set(one.notes)
    return out


def read_documents(path: Path) -> list[Document]:
    """Return the documents of a YAML file.

    Raises:
        RecipeError: the file is not there, is no YAML, or is a recipe of mergekit-moe.
    """
    if not path.is_file():
        advice = "Give a YAML file, or use --method, --base and models."
        if path.exists():
            raise RecipeError(f"{path} is not a recipe file. {advice}")
        hint = suggest(path.name, [near.name for near in path.parent.glob("*.y*ml")])
        raise RecipeError(f"{path} does not exist.{hint or ('' if path.suffix in SUFFIXES else f' {advice}')}")
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as exc:
        raise RecipeError(f"{path} is not text: {exc}.") from exc
    documents = parse_all(text, str(path))
    for document in documents:
        if isinstance(document.data, dict) and MIXTURE & set(document.data) and not FORMS & set(document.data):
            raise RecipeError(f"{document.at(())}: this is a recipe of mergekit-moe, which has no counterpart here.")
    return documents


def _load(document: Document, folder: Path, keep: Container[str]) -> Loaded:
    if not is_mergekit(document.data):
        recipe = validate(document)
        _check_rule(recipe, document, folder, keep)
        return Loaded(resolve_paths(recipe, folder, keep), [])
    recipe, notes = translate(document)
    _check_rule(recipe, document, folder, keep)
    return Loaded(_mergekit_paths(recipe, folder, keep), notes)


def _check_rule(recipe: Recipe, document: Document, folder: Path, keep: Container[str]) -> None:
    """Refuse a misspelt rule of a vocabulary, which would pass for the path of a model."""
    rule = recipe.vocabulary.rule if recipe.vocabulary else "union"
    known = rule in VOCABULARY_RULES or rule in keep or rule in inputs_of(recipe) or is_hub_id(rule)
    if known or any((place / Path(rule).expanduser()).exists() for place in (Path(), folder)):
        return
    if hint := suggest(rule.lower(), VOCABULARY_RULES):
        keys = {"tokenizer_source": ("tokenizer_source",), "tokenizer": ("tokenizer", "source")}
        path = next((path for key, path in keys.items() if document.data.get(key)), ("vocabulary",))
        raise RecipeError(f"{document.at(path)}: '{path[-1]}: {rule}' is neither a rule nor a model.{hint}")


def _mergekit_paths(recipe: Recipe, folder: Path, keep: Container[str]) -> Recipe:
    return resolve_paths(recipe, mergekit_folder(recipe, folder, keep), keep)


def mergekit_folder(recipe: Recipe, folder: Path, keep: Container[str] = ()) -> Path:
    """Return where the paths of a recipe of mergekit's start: in its own folder if all are there alone, else here.

    Where neither folder has all, they start in the working folder, so that what is said of a missing one names it as
    its author does.

    Args:
        recipe: in our form; its paths are still as mergekit's had them.
        folder: the one that the recipe lies in.
        keep: names of other recipes' results.
    """

    def lies_in(place: Path, name: str) -> bool:
        if name in keep or (place / Path(name).expanduser()).exists():
            return True
        if "+" in name:
            return all(lies_in(place, part) for part in name.split("+"))
        return is_hub_id(name) and not any((other / name).exists() for other in (Path(), folder))  # found from anywhere

    names = inputs_of(recipe)
    elsewhere = not all(lies_in(Path(), name) for name in names) and all(lies_in(folder, name) for name in names)
    return folder if elsewhere else Path()


def in_order(loaded: list[Loaded], path: Path) -> list[Loaded]:
    """Put recipes that call each other by name into an order in which they can be run.

    Raises:
        RecipeError: see `load_recipes`.
    """
    if len(loaded) == 1:
        return loaded
    names = [one.recipe.name for one in loaded]
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise RecipeError(f"{path}: two recipes have the name '{twice[0]}'.")
    used = {name for one in loaded for name in uses(one)}
    results = [one for one in loaded if one.recipe.name is None or one.recipe.name not in used]
    if len(results) != 1:
        listed = ", ".join(f"'{one.recipe.name}'" if one.recipe.name else "one without a name" for one in results)
        raise RecipeError(
            f"{path}: of {len(loaded)} recipes one must make the result, which no other uses; got {len(results)}"
            f"{f' ({listed})' if results else ''}."
        )
    done: list[Loaded] = []
    left = list(loaded)
    while left:
        ready = [one for one in left if not {other.recipe.name for other in left if other.recipe.name} & uses(one)]
        if not ready:
            circle = ", ".join(f"'{one.recipe.name}'" for one in left)
            raise RecipeError(f"{path}: the recipes {circle} go in a circle.")
        done += ready
        left = [one for one in left if one not in ready]
    return done


def uses(one: Loaded) -> set[str]:
    """Return what may be the names of other recipes' results in a recipe."""
    recipe = one.recipe
    texts = [*inputs_of(recipe), recipe.tokenizer, *([recipe.vocabulary.rule] if recipe.vocabulary else [])]
    return {name for text in texts for name in (text, *text.split("+"))}
