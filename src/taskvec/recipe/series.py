"""Recipes that build on each other: each makes a model, the last one the result."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from ..errors import TaskVecError
from ..progress import Progress
from .inputs import check_not_an_input
from .load import Loaded
from .lora.merge import merge_adapters
from .lora.sites import plan_adapter
from .merge import Receipt, check_output, continued, run
from .paths import inputs_of, renamed_models
from .plan import Plan
from .schema import Recipe

Planner = Callable[[Recipe, Path], Plan]


def steps_folder(out: Path) -> Path:
    """Return where the models between live until the result is whole: a hidden folder beside it."""
    return out.parent / f".{out.name}.steps"


def step_folder(out: Path, name: str) -> Path:
    """Return where the model of a name lies between: a folder of its own, whatever the name looks like as a path."""
    safe = quote(name, safe=" ")
    return steps_folder(out) / (safe if safe.strip(".") else safe.replace(".", "%2E"))


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
    check_place(loaded, out, force)
    steps = steps_folder(out)
    if restart:
        shutil.rmtree(steps, ignore_errors=True)
    made: dict[str, str] = {}
    try:
        for at, one in enumerate(loaded):
            last = at == len(loaded) - 1
            recipe = renamed_models(one.recipe, made)
            folder = out if last else step_folder(out, str(recipe.name))
            if recipe.adapter:
                receipt = _adapter(one, recipe, folder, force or not last, progress, tell)
                made[str(recipe.name)] = str(folder)
                continue
            plan = planner(recipe, folder)
            if not last:
                tell(f"making '{recipe.name}', {at + 1} of {len(loaded)}")
            done = not last and _is_done(folder, plan)
            for note in [*one.notes, *plan.notes, *([] if restart or done else continued(plan, folder))]:
                tell(note)
            if last:
                receipt = run(plan, out, force=force, restart=restart, progress=progress() if progress else None)
            elif not done:
                run(plan, folder, force=True, restart=restart, progress=progress() if progress else None)
            made[str(recipe.name)] = str(folder)
    except TaskVecError as exc:
        _tell_what_is_kept(steps, exc)
        raise
    shutil.rmtree(steps, ignore_errors=True)
    return receipt


def _adapter(
    one: Loaded,
    recipe: Recipe,
    folder: Path,
    force: bool,
    progress: Callable[[], Progress] | None,
    tell: Callable[[str], None],
) -> Receipt:
    """Merge adapters into one. That takes seconds, so it is done anew after an interruption."""
    made = plan_adapter(recipe, folder)
    for note in [*one.notes, *made.plan.notes]:
        tell(note)
    return merge_adapters(made, folder, force=force, progress=progress() if progress else None)


def check_place(loaded: Sequence[Loaded], out: Path, force: bool = False) -> None:
    """Refuse, before anything is opened, an output that exists or would lie over what the recipes read.

    Raises:
        RecipeError: it would lie over a model that a recipe names; --force would not help.
        OutputError: it exists and is not empty, and `force` is not given.
    """
    texts = dict.fromkeys(text for one in loaded for text in inputs_of(one.recipe))
    results = {one.recipe.name for one in loaded}
    names = [name for text in texts for name in (text, *text.split("+")) if name and name not in results]
    check_not_an_input(out, [Path(name) for name in names if Path(name).exists()])
    check_output(out, force)


def _tell_what_is_kept(steps: Path, exc: TaskVecError) -> None:
    """Say where the models between lie after a failure: they are large, hidden, and nobody else removes them."""
    if not steps.is_dir():
        return
    if any(steps.iterdir()):
        exc.add_note(
            f"The models that are finished are kept in {steps}, and the same command goes on from there. "
            f"If it is not to be repeated, delete that folder."
        )
    else:
        steps.rmdir()


def _is_done(folder: Path, plan: Plan) -> bool:
    """Tell whether a folder holds the result of a plan, with the files around the weights."""
    try:
        receipt = json.loads((folder / "receipt.json").read_text("utf-8"))
        return (receipt["plan"], receipt["recipe"]) == (plan.digest(), plan.recipe.written)
    except (OSError, ValueError, LookupError, TypeError):
        return False
