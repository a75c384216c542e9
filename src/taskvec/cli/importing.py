"""`taskvec import`."""

import sys
from pathlib import Path

from ..errors import RecipeError
from ..recipe.load import read_documents
from ..recipe.mergekit import is_mergekit, translate
from ..recipe.write import as_yaml
from .show import as_json


def import_recipe(path: Path, json: bool) -> int:
    """Print what a file in mergekit's form is in ours; paths stay as they are."""
    documents = read_documents(path)
    if not all(is_mergekit(document.data) for document in documents):
        raise RecipeError(f"{path} is not in mergekit's form: it has no 'merge_method'. Ours needs no import.")
    translated = [translate(document) for document in documents]
    if json:
        as_json([recipe.data for recipe, _ in translated])
        return 0
    for note in dict.fromkeys(note for _, notes in translated for note in notes):
        print(f"note: {note}", file=sys.stderr)
    print("---\n".join(as_yaml(recipe) for recipe, _ in translated), end="")
    return 0
