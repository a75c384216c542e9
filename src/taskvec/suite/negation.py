"""Forgetting by negation: a task's vector subtracted from the base, as far as a control task allows."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import RecipeError
from ..evaluate.kept import Kept, score_all
from ..evaluate.model import Model
from ..evaluate.results import score_data
from ..evaluate.score import Score, interval
from ..evaluate.summary import Number, summarise
from ..evaluate.task import Task
from ..merge.registry import suggest
from ..progress import Progress, Silent
from ..recipe.reweighted import Reweighted
from ..recipe.schema import Recipe
from .competitors import points
from .ignore import ignore_of
from .load import Loaded
from .objective import WARM
from .specialists import Places, base_of, specialist_of, trained
from .tasks import chosen, tasks_of

CONTROL = 0.95
"""The share of the base's score that the control must keep (Ortiz-Jimenez et al. 2023, arXiv:2305.12827, §5)."""


@dataclass(frozen=True)
class Point:
    """One α, and what target and control score there on their validation examples."""

    scale: float
    target: float
    control: float


@dataclass(frozen=True)
class Negated:
    """One task forgotten: the α that was chosen and why, and the test scores before and after."""

    task: str
    scale: float
    curve: Sequence[Point]
    before: Score
    target: Score
    control: Score


@dataclass(frozen=True)
class Negation:
    """All tasks, each forgotten by itself; `before` is the base's test score on the control."""

    before: Score
    floor: float
    rows: Sequence[Negated]

    @property
    def means(self) -> tuple[Number, Number, Number]:
        """The means over the tasks: of the base, of the target after, and of the control after.

        Every control score is of the same examples, so their bootstrap draws them together.
        """
        targets = [summarise([getattr(row, which) for row in self.rows]).mean for which in ("before", "target")]
        controls = [row.control for row in self.rows]
        mean = float(np.mean([c.value for c in controls]))
        each = [c.values for c in controls if c.values is not None]
        bounds = interval(np.mean(each, axis=0)) if len(each) == len(controls) else (mean, mean)
        return targets[0], targets[1], Number(mean, *bounds)


def negate(
    loaded: Loaded,
    places: Places,
    *,
    control: str | None = None,
    only: Sequence[str] = (),
    grid: Sequence[float] = points(1.0),
    device: str = "auto",
    progress: Progress | None = None,
    kept: Kept | None = None,
) -> Negation:
    """Subtract each specialist's task vector from the base, and score what is left of the task and of the control.

        θ(α) = θ_0 − α τ_t,    α = argmin over the grid of the validation score of t,
        among the α with  validation score of the control ≥ 0.95 · the base's

    Edge: α = 0 is the base and always allowed, so where nothing else is, nothing is forgotten. Of equal target scores
        the one with the better control is taken.
    Source: Ilharco et al. 2023, arXiv:2212.04089, §3; Ortiz-Jimenez et al. 2023, arXiv:2305.12827, §5.

    Args:
        loaded: the suite.
        places: where its specialists and heads are.
        control: the task to be left alone; the suite's own when not given.
        only: the tasks that are forgotten; all but the control when empty.
        grid: the α that are tried, beside 0.
        device: where models are run.
        progress: told how far it is.
        kept: where scores are kept; what is found there is not scored again.

    Raises:
        RecipeError: no control, one that is no task, nothing to forget, or a metric of which less is better.
        StoreError: a specialist that is not there, or was trained otherwise.
    """
    progress, kept = progress or Silent(), kept or Kept(places.folder)
    control = _control(loaded, control)
    names = [name for name in chosen(loaded, only) if name != control]
    if not names:
        raise RecipeError(f"there is nothing to forget: '{control}' is the control. Name other tasks.")
    paths = {name: specialist_of(loaded, name, places) for name in names}
    base, searched = base_of(loaded, device=device), base_of(loaded, device=device)
    trained(loaded, places, base, names)
    tests, validation = (tasks_of(loaded, base, split, [*names, control], places.heads) for split in SPLITS)
    for task in validation:
        _check(task)
        task.score(searched, WARM)  # every module is loaded before other weights are put in
    before = {s.task: s for s in score_all(base, tests, kept, progress)}
    floor = CONTROL * kept.score(base, _named(validation, control)).value
    rows = []
    for name in names:
        search = _Search(searched, _named(validation, name), _named(validation, control), kept)
        with Reweighted(_recipe(loaded, base, paths[name])) as models:
            curve = search.curve(models, sorted({0.0, *grid}), progress)
            scale = best(curve, floor).scale
            search.put(models, scale)
            target, kept_well = (kept.score(searched, _named(tests, which)) for which in (name, control))
        rows.append(Negated(name, scale, curve, before[name], target, kept_well))
    return Negation(before[control], floor, rows)


SPLITS: tuple[Any, Any] = ("test", "validation")


@dataclass(frozen=True)
class _Search:
    """A model whose weights are replaced, what it is scored on, and where scores are kept to go on from."""

    model: Model
    target: Task
    control: Task
    kept: Kept

    def put(self, models: Reweighted, scale: float) -> None:
        recipe = models.recipe.model_copy(update={"scale": scale})
        what = json.dumps([models.fingerprints, recipe.ignore, scale])
        self.model.put(models.weigh(recipe), f"negated {hashlib.sha256(what.encode()).hexdigest()}")

    def curve(self, models: Reweighted, grid: Sequence[float], progress: Progress) -> list[Point]:
        found: list[Point] = []
        progress.begin(f"forgetting {self.target.name}", len(grid), "points")
        try:
            for scale in grid:
                self.put(models, scale)
                found.append(Point(scale, *(self.kept.score(self.model, t).value for t in (self.target, self.control))))
                progress.advance(len(found), f"α = {scale:g}: {found[-1].target:.3g}, {found[-1].control:.3g}")
        finally:
            progress.end()
        return found


def best(curve: Sequence[Point], floor: float) -> Point:
    """Return the point where the target is lowest among those where the control is not below the floor.

    >>> best([Point(0.0, 0.9, 0.8), Point(0.5, 0.4, 0.77), Point(1.0, 0.1, 0.2)], floor=0.76).scale
    0.5
    """
    allowed = [p for p in curve if p.control >= floor] or [min(curve, key=lambda p: p.scale)]
    return min(allowed, key=lambda p: (p.target, -p.control, p.scale))


def _recipe(loaded: Loaded, base: Model, path: str) -> Recipe:
    models = [{"model": path, "weight": -1.0}]
    ignore = ignore_of(loaded.suite.ignore, [path], base.path)
    data = {"method": "task_arithmetic", "base": str(base.path), "models": models, "ignore": ignore}
    return Recipe.model_validate(data)


def _control(loaded: Loaded, asked: str | None) -> str:
    name = asked or loaded.suite.control
    known = list(loaded.suite.tasks)
    if name is None:
        raise RecipeError(f"{loaded.file} names no control, the task to be left alone. Type --control {known[-1]}.")
    if name not in known:
        raise RecipeError(f"{loaded.file} has no task '{name}'.{suggest(name, known)} It has {', '.join(known)}.")
    return name


def _check(task: Task) -> None:
    if not task.larger_is_better:
        raise RecipeError(f"'{task.name}' is scored by {task.metric}, of which less is better; negation needs shares.")


def _named(tasks: Sequence[Task], name: str) -> Task:
    return next(task for task in tasks if task.name == name)


def as_data(negation: Negation) -> dict[str, Any]:
    """Return everything as JSON has it, without the single examples."""
    means = zip(("before", "target", "control"), negation.means, strict=True)
    return {
        "control": {"task": negation.before.task, "floor": negation.floor, "before": score_data(negation.before)},
        "tasks": {row.task: _row(row) for row in negation.rows},
        "mean": {name: {"value": n.value, "low": n.low, "high": n.high} for name, n in means},
    }


def _row(row: Negated) -> dict[str, Any]:
    scores = {name: score_data(getattr(row, name)) for name in ("before", "target", "control")}
    return {"scale": row.scale, **scores, "curve": [[p.scale, p.target, p.control] for p in row.curve]}
