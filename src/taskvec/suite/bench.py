"""A benchmark: base, specialists, joint training and every merge, at their defaults and tuned, on the same examples."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import RecipeError, TaskVecError
from ..evaluate.kept import Kept, score_all
from ..evaluate.model import Model
from ..evaluate.results import Results, Row
from ..evaluate.score import Score
from ..evaluate.task import Task
from ..merge import find
from ..progress import Progress, Silent
from ..recipe.merge import run
from ..recipe.plan import make_plan
from ..recipe.reweighted import Reweighted
from ..recipe.schema import Curvature, Recipe
from ..recipe.write import as_yaml
from ..tune.grid import grid
from ..tune.space import make_space
from ..tune.telling import Telling
from .competitors import Competitor
from .ignore import ignore_of
from .load import Loaded
from .objective import Objective, specialists_on
from .specialists import Places, base_of, specialist_of, trained
from .statistics import with_statistics
from .tasks import tasks_of

ROUNDS = (0.25, 1.0)
"""A grid is scored on a quarter of the validation examples, its best points on all of them."""

Tell = Callable[[str], None]


@dataclass
class Bench:
    """A suite in hand: its models and tasks, and what was scored so far."""

    loaded: Loaded
    places: Places
    device: str
    base: Model
    tests: Sequence[Task]
    validation: Sequence[Task]
    objective: Objective
    specialists: Mapping[str, Score]
    kept: Kept
    progress: Progress
    rows: list[Row] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def leave_out(self, name: str, why: TaskVecError, tell: Tell) -> None:
        """Take down that something could not be merged or found here."""
        self.left_out[name] = str(why)
        tell(f"note: '{name}' is left out: {why}")

    @property
    def paths(self) -> list[str]:
        """The specialists' paths, in the order of the tasks."""
        return [specialist_of(self.loaded, task.name, self.places) for task in self.tests]

    @property
    def results(self) -> Results:
        """What was scored so far."""
        return Results(self.rows, self.specialists)

    def recipe(self, competitor: Competitor, scale: Any) -> Recipe:
        """Return the recipe of a competitor with one λ."""
        base = self.base.path if find(competitor.method).needs.takes_base else None
        ignore = ignore_of(self.loaded.suite.ignore, self.paths, base)
        recipe = competitor.recipe(str(self.base.path), self.paths, scale, ignore)
        return self._measured(recipe) if find(competitor.method).needs.curvature else recipe

    def _measured(self, recipe: Recipe) -> Recipe:
        """Return a recipe with the statistics of the specialists, each measured on its own training examples."""
        asked = Curvature.model_validate({"tasks": str(self.loaded.file)})
        pairs = zip(recipe.models, self.tests, strict=True)
        models = [entry.model_copy(update={"task": task.name}) for entry, task in pairs]
        recipe = recipe.model_copy(update={"models": models, "curvature": asked})
        how: dict[str, Any] = {"device": self.device, "cache": self.places.folder, "loaded": self.loaded}
        return with_statistics(recipe, self.progress, **how)

    def add(self, name: str, recipe: Recipe, facts: Mapping[str, Any]) -> Row:
        """Merge by a recipe, score the result on the test examples, and take down the row.

        The merge is written to disk and timed as a user's would be; then the very folder is scored and removed.
        """
        folder = self.places.folder / "merging"
        began = time.perf_counter()
        plan = make_plan(recipe, folder)
        run(plan, folder, force=True, restart=True)
        seconds = time.perf_counter() - began
        merged = Model(folder, device=self.device, precision=self.base.precision, inputs=self.base.path)
        scores = score_all(merged, self.tests, self.kept, self.progress)
        shutil.rmtree(folder)
        row = Row(name, scores, {"recipe": as_yaml(recipe), "merge_seconds": seconds, **facts})
        self.rows.append(row)
        return row


def open_bench(
    loaded: Loaded,
    places: Places,
    *,
    device: str = "auto",
    only: Sequence[str] = (),
    progress: Progress | None = None,
    kept: Kept | None = None,
) -> Bench:
    """Open a suite whose specialists are there; score base, specialists and the joint model.

    Raises:
        StoreError: a specialist that is not there, or was trained otherwise.
        RecipeError: a task of which less is better.
        TaskVecError: data, heads or models that cannot be read, or do not fit.
    """
    progress, kept = progress or Silent(), kept or Kept(places.folder)
    base = base_of(loaded, device=device)
    joint_path = trained(loaded, places, base, only)
    how = {"device": device, "precision": base.precision, "inputs": base.path}
    tests = tasks_of(loaded, base, "test", only, places.heads)
    _check_metrics(tests)
    validation = tasks_of(loaded, base, "validation", only, places.heads)
    tested = specialists_on(loaded, places, tests, kept, progress, how)
    tuned_by = specialists_on(loaded, places, validation, kept, progress, how)
    searched = base_of(loaded, device=device)
    objective = Objective(searched, validation, {name: score.value for name, score in tuned_by.items()})
    bench = Bench(loaded, places, device, base, tests, validation, objective, tested, kept, progress)
    bench.rows.append(Row("base", score_all(base, tests, kept, progress), {"role": "base"}))
    bench.rows.append(Row("specialists", list(tested.values()), {"role": "specialists"}))
    if joint_path:
        joint = Model(joint_path, **how)  # type: ignore[arg-type]
        bench.rows.append(Row("joint training", score_all(joint, tests, kept, progress), {"role": "joint"}))
    return bench


def _check_metrics(tests: Sequence[Task]) -> None:
    """Refuse tasks whose scores are no shares of what could be had, before any is scored."""
    for task in tests:
        if not task.larger_is_better:
            raise RecipeError(
                f"a benchmark needs metrics in which more is better, and '{task.name}' has {task.metric}. "
                f"Choose tasks with --only, or type taskvec eval."
            )


def compare(bench: Bench, competitors: Sequence[Competitor], tell: Tell) -> None:
    """Score every competitor at its default, and at the λ that is best on the validation examples.

    One that cannot be merged here is told and left out; the others go on.
    """
    for number, competitor in enumerate(competitors, start=1):
        before = len(bench.rows)
        try:
            _compare(bench, competitor)
        except TaskVecError as exc:
            del bench.rows[before:]
            bench.leave_out(competitor.name, exc, tell)
            continue
        best = bench.rows[-1]
        mean = sum(s.value for s in best.scores) / len(best.scores)
        tell(f"{number}/{len(competitors)} {competitor.name}: mean {100 * mean:.1f} at λ = {best.facts['scale']}")


def _compare(bench: Bench, competitor: Competitor) -> None:
    facts = {"method": competitor.method, "settings": competitor.settings}
    usual = {**facts, "scale": competitor.scale, "tuned": False}
    bench.add(competitor.name, bench.recipe(competitor, competitor.scale), usual)
    if competitor.grid:
        found = tune_scale(bench, competitor)
        bench.add(f"{competitor.name}, tuned", found.pop("recipe"), {**facts, **found, "tuned": True})


def tune_scale(bench: Bench, competitor: Competitor, rounds: Sequence[float] = ROUNDS) -> dict[str, Any]:
    """Return the recipe of a competitor with its best λ, and what finding it took.

    A search that was interrupted goes on, and one that was finished is read again.
    """
    recipe = bench.recipe(competitor, competitor.scale)
    with Reweighted(recipe) as models:
        values = ",".join(f"{x:g}" for x in competitor.grid)
        space = make_space(recipe, models.names, [f"scale={values}"])
        log = log_of(bench, competitor.name, [recipe.data, values, list(rounds), models.fingerprints])
        result = grid(
            space, bench.objective, rounds=rounds, models=models, log=log, data=bench.objective.digest,
            progress=Telling(bench.progress, competitor.name),
        )  # fmt: skip
    return {
        "recipe": result.recipe,
        "scale": result.best.point["scale"],
        "validation": result.best.mean,
        "evaluations": result.spent,
        "search_seconds": result.seconds,
        "curve": [(e.point["scale"], e.mean) for e in result.trials],
    }


def log_of(bench: Bench, name: str, search: Any) -> Path:
    """Return where a search is written down: a file of its own for other data or models, so that each goes on."""
    key = hashlib.sha256(json.dumps([bench.objective.digest, search]).encode()).hexdigest()[:16]
    return bench.places.folder / "searches" / f"{_slug(name)}-{key}.jsonl"


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


def clean(places: Places) -> None:
    """Remove what a broken run may have left of a merge."""
    for path in (places.folder / "merging", places.folder / ".merging.partial"):
        shutil.rmtree(Path(path), ignore_errors=True)
