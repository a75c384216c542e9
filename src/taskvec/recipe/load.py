"""Load a recipe file, ours or mergekit's."""

from pathlib import Path

from ..errors import RecipeError
from .mergekit import is_mergekit, translate
from .paths import resolve_paths
from .schema import Recipe, validate
from .yaml_lines import parse


def load_recipe(path: str | Path) -> tuple[Recipe, list[str]]:
    """Return the recipe in a YAML file, and notes on where it means something else than its author may think.

    Paths in it are taken from the file's folder (mergekit's, which are taken from the working folder, from there if
    they are not beside the file).

    Raises:
        RecipeError: the file is not there, or is not a recipe.
    """
    path = Path(path)
    if not path.is_file():
        raise RecipeError(f"{path} is not a recipe file. Give a YAML file, or use --method, --base and models.")
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as exc:
        raise RecipeError(f"{path} is not text: {exc}.") from exc
    document = parse(text, str(path))
    if not is_mergekit(document.data):
        return resolve_paths(validate(document), path.parent), []
    recipe, notes = translate(document)
    return _mergekit_paths(recipe, path.parent), notes


def _mergekit_paths(recipe: Recipe, folder: Path) -> Recipe:
    """Take paths from the working folder if they all exist there, else from the recipe's."""
    names = [name for name in (recipe.base, *(m.model for part in recipe.parts for m in part.models)) if name]
    return resolve_paths(recipe, Path() if all(Path(name).exists() for name in names) else folder)
