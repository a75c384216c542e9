"""`taskvec import`."""

from pathlib import Path

from ..errors import RecipeError
from ..recipe.load import mergekit_folder, read_documents
from ..recipe.mergekit import is_mergekit, translate
from ..recipe.paths import inputs_of, is_hub_id
from ..recipe.schema import Recipe
from ..recipe.write import as_yaml
from .show import as_json, say


def import_recipe(path: Path, json: bool) -> int:
    """Print what a file in mergekit's form is in ours; paths stay as they are."""
    documents = read_documents(path)
    if not all(is_mergekit(document.data) for document in documents):
        raise RecipeError(f"{path} is not in mergekit's form: it has no 'merge_method'. Ours needs no import.")
    translated = [translate(document) for document in documents]
    if json:
        as_json([recipe.data for recipe, _ in translated])
        return 0
    notes = [note for _, notes in translated for note in notes]
    notes += _where_to_save([recipe for recipe, _ in translated], path.parent)
    for note in dict.fromkeys(notes):
        say(f"note: {note}")
    print("---\n".join(as_yaml(recipe) for recipe, _ in translated), end="")
    return 0


def _where_to_save(recipes: list[Recipe], folder: Path) -> list[str]:
    """Return a note if paths are relative: mergekit takes them from the working folder, we from the recipe's own."""
    results = {str(recipe.name) for recipe in recipes}
    for recipe in recipes:
        start = mergekit_folder(recipe, folder, results)
        names = [name for text in inputs_of(recipe) for name in text.split("+") if name not in results]
        relative = [n for n in names if not Path(n).expanduser().is_absolute() and not _is_on_the_hub(n, start)]
        if relative:
            where = "the working folder" if start.resolve() == Path().resolve() else str(start)
            return [f"in our form paths such as '{relative[0]}' start in the recipe's own folder; save it in {where}."]
    return []


def _is_on_the_hub(name: str, start: Path) -> bool:
    return is_hub_id(name) and not (start / name).exists()
