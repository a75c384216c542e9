"""Recipes that build on each other: each makes a model, the last one the result."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from .load import Loaded
from .merge import Receipt, check_output, run
from .paths import renamed_models
from .plan import Plan
from .progress import Progress
from .schema import Recipe

Planner = Callable[[Recipe, Path], Plan]


def steps_folder(out: Path) -> Path:
    """Return where the models between live until the result is whole: a hidden folder beside it."""
    return out.parent / f".{out.name}.steps"


def run_series(
    loaded: Sequence[Loaded],
    out: Path,
    planner: Planner,
    *,
    force: bool = False,
    restart: bool = False,
    progress: Callable[[], Progress] | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Receipt:
    """Run recipes in their order and write the last one's result to `out`.

    The models between lie in a hidden folder beside `out` and are removed once the result is whole. After an
    interruption those that are finished, of the same plan, are used again.

    Args:
        loaded: from `load_recipes`.
        out: the folder to write.
        planner: what plans a recipe for a folder, e.g. `make_plan`.
        force: replace an existing output.
        restart: throw away the unfinished work of an earlier run.
        progress: makes what is told how far each run is.
        tell: told each note, and which model is being made.

    Raises:
        TaskVecError: see `make_plan` and `run`.
    """
    if len(loaded) > 1:
        check_output(out, force)
    steps = steps_folder(out)
    if restart:
        shutil.rmtree(steps, ignore_errors=True)
    made: dict[str, str] = {}
    for at, one in enumerate(loaded):
        last = at == len(loaded) - 1
        recipe = renamed_models(one.recipe, made)
        folder = out if last else steps / str(recipe.name)
        plan = planner(recipe, folder)
        if not last:
            tell(f"making '{recipe.name}', {at + 1} of {len(loaded)}")
        for note in [*one.notes, *plan.notes]:
            tell(note)
        if last:
            receipt = run(plan, out, force=force, restart=restart, progress=progress() if progress else None)
        elif not _is_done(folder, plan):
            run(plan, folder, force=True, restart=restart, progress=progress() if progress else None)
        made[str(recipe.name)] = str(folder)
    shutil.rmtree(steps, ignore_errors=True)
    return receipt


def _is_done(folder: Path, plan: Plan) -> bool:
    """Tell whether a folder holds the result of a plan."""
    path = folder / "receipt.json"
    return path.is_file() and json.loads(path.read_text("utf-8")).get("plan") == plan.digest()
