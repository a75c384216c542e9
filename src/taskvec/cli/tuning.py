"""`taskvec tune`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..evaluate.kept import Kept, default_folder
from ..evaluate.model import Model
from ..recipe.load import load_recipe
from ..recipe.paths import seen_from
from ..recipe.reweighted import Reweighted
from ..recipe.schema import Recipe
from ..recipe.write import as_yaml
from ..store.writer import room_for, write_whole
from ..suite.load import Loaded, load_suite
from ..suite.objective import Objective
from ..suite.tasks import chosen, tasks_of
from ..tune.adamerging import AdaMerging, adamerge
from ..tune.grid import grid
from ..tune.sampled import sampled
from ..tune.space import make_space
from ..tune.telling import Telling, point_of
from ..tune.trials import Budget, Result
from ..tune.writing import write_recipe
from .exits import INTERRUPTED
from .measured import measured
from .show import as_json, duration, progress, say, table


@dataclass(frozen=True)
class Search:
    """How coefficients are searched."""

    by: str
    asked: Sequence[str]
    groups: int
    budget: Budget
    rounds: Sequence[float]
    seed: int
    restart: bool
    steps: int
    rate: float


def tune(
    path: Path, tasks: Path, search: Search, out: Path, root: Path | None, only: Sequence[str], precision: Any,
    device: str, force: bool, json: bool, quiet: bool,
) -> int:  # fmt: skip
    """Search, print the trials, and write the best recipe."""
    if out.exists() and not force:
        raise OutputError(f"{out} exists. Type --force to replace it, or another name.")
    room_for(out)
    recipe, notes = load_recipe(path)
    for note in notes:
        say(f"note: {note}")
    recipe = measured(recipe, quiet, json, device)
    loaded = load_suite(tasks, root)
    if search.by == "adamerging":
        return _adapt(recipe, loaded, search, out, only, device, json, quiet)
    base = _base(recipe, loaded, device, precision or loaded.suite.precision)
    objective = Objective(base, tasks_of(loaded, base, "validation", only), _specialists(loaded, base, only, device))
    result = _search(recipe, objective, search, out, quiet or json)
    write_recipe(result, out, f"validation examples of {tasks}")
    if json:
        as_json({**result.facts, "recipe": str(out)})
        return 0
    _print(result, [task.name for task in objective.tasks])
    print(f"{out}: the best recipe. Type: taskvec merge {out} -o tuned")
    return 0


def _base(recipe: Recipe, loaded: Loaded, device: str, precision: Any) -> Model:
    """Return the model whose weights are replaced: the suite's base, else the recipe's, else its first model."""
    named = loaded.place(loaded.suite.base) if loaded.suite.base else recipe.base
    return Model(named or recipe.parts[0].models[0].model, device=device, precision=precision)


def _specialists(loaded: Loaded, base: Model, only: Sequence[str], device: str) -> dict[str, float]:
    """Return the specialists' validation scores, where the file names one for every task."""
    paths = {name: loaded.suite.tasks[name].model for name in chosen(loaded, only)}
    if not all(paths.values()):
        if any(paths.values()):
            lacking = next(name for name, path in paths.items() if not path)
            say(f"note: '{lacking}' names no specialist ('model: …'), so plain scores are searched, not ratios.")
        return {}
    kept, scores = Kept(default_folder()), {}
    for task in tasks_of(loaded, base, "validation", only):
        place = loaded.place(str(paths[task.name]))
        model = Model(place, device=device, precision=base.precision, inputs=base.path)
        scores[task.name] = kept.score(model, task).value
    return scores


def _search(recipe: Recipe, objective: Objective, search: Search, out: Path, quiet: bool) -> Result:
    log = out.with_name(f".{out.name}.search")
    with Reweighted(recipe) as models:
        space = make_space(recipe, models.names, search.asked or ["scale"], search.groups)
        how: dict[str, Any] = {
            "models": models, "log": log, "data": objective.digest, "restart": search.restart,
            "progress": Telling(progress(quiet)),
        }  # fmt: skip
        if search.by == "grid":
            budget = search.budget if search.budget.evaluations or search.budget.minutes else None
            return grid(space, objective, rounds=search.rounds or (1.0,), budget=budget, **how)
        pruned: dict[str, Any] = {"pruner": "median", "rounds": search.rounds} if search.rounds else {}
        return sampled(
            space,
            objective,
            by="tpe" if search.by == "tpe" else "cma",
            budget=search.budget,
            seed=search.seed,
            **pruned,
            **how,
        )


def _adapt(
    recipe: Recipe, loaded: Loaded, search: Search, out: Path, only: Sequence[str], device: str, json: bool, quiet: bool
) -> int:
    model = _base(recipe, loaded, device, "float32")
    settings = AdaMerging(
        by="layer" if search.groups else "task", steps=search.steps, rate=search.rate, seed=search.seed
    )
    shown = progress(quiet or json)
    try:
        found = adamerge(recipe, model, tasks_of(loaded, model, "validation", only), settings, shown)
    except KeyboardInterrupt:
        say("interrupted; AdaMerging keeps nothing on the way, so the same command starts anew.")
        return INTERRUPTED
    how = f"AdaMerging, a coefficient a {'tensor' if search.groups else 'task'}, {search.steps} steps"
    said = f"# Found by taskvec: {how}; mean entropy {found.entropy[0]:.4f} to {found.entropy[-1]:.4f}.\n"
    write_whole(out, said + as_yaml(seen_from(found.recipe, out.parent)))
    if json:
        as_json({"by": "adamerging", "entropy": list(found.entropy), "coefficients": found.coefficients,
                 "seconds": found.seconds, "recipe": str(out)})  # fmt: skip
        return 0
    first = next(iter(found.coefficients.values()))
    if not search.groups:
        table("", ["model", "weight"], [[m.model, f"{w:.4f}"] for m, w in zip(recipe.models, first, strict=True)])
    print(f"{out}: {how} in {duration(found.seconds)}. Type: taskvec merge {out} -o tuned")
    return 0


def _print(result: Result, tasks: Sequence[str]) -> None:
    best = sorted((t for t in result.trials if t.scores), key=lambda t: (-t.share, -t.mean))
    rows = [
        [str(t.trial + 1), point_of(t), f"{t.share:.0%}", *(f"{s:.4f}" for s in t.scores), f"{t.mean:.4f}"]
        for t in best[:10]
    ]
    table("the best ten points", ["trial", "point", "examples", *tasks, "mean"], rows)
    if refused := [t for t in result.trials if t.refused]:
        say(f"note: {len(refused)} points could not be merged; the first: {refused[0].refused}")
    print(f"{len(result.trials)} points, {result.spent:g} evaluations on all examples, {duration(result.seconds)}.")
