"""The recipe that a search has found, as the text of a file."""

import json
from pathlib import Path

from ..recipe.paths import seen_from
from ..recipe.write import as_yaml
from ..store.writer import write_whole
from .trials import Evaluation, Result


def recipe_text(result: Result, data: str = "", folder: Path | None = None) -> str:
    """Return the best recipe as YAML, below comments that say how it was found.

    Args:
        result: of a search.
        data: what names the validation examples, for the comment.
        folder: where the file will lie, from which its relative paths then start; the current folder when not given.
    """
    best, start = result.best, result.start
    examples = f" on {data}" if data else ""
    said = [
        f"Found by taskvec: {result.by}, {len(result.trials)} points, {result.spent:g} evaluations{examples}.",
        f"Validation: {_score(best)}.",
    ]
    if start and start.point != best.point:
        said.append(f"The numbers before scored {_score(start)}.")
    said += [f"  {name}: {json.dumps(value)}" for name, value in best.point.items()]
    return "".join(f"# {line}\n" for line in said) + as_yaml(seen_from(result.recipe, folder or Path()))


def write_recipe(result: Result, path: str | Path, data: str = "") -> Path:
    """Write the best recipe to a file, whole or not at all; `taskvec merge` makes of it what was scored."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, recipe_text(result, data, path.parent))
    return path


def _score(evaluation: Evaluation) -> str:
    """Say a score, and those of the tasks."""
    each = ", ".join(f"{s:.4f}" for s in evaluation.scores)
    return f"{evaluation.mean:.4f}" + (f" (mean of {each})" if len(evaluation.scores) > 1 else "")
