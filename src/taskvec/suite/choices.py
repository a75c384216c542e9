"""Ways to choose coefficients of task arithmetic, side by side: by no data, by unlabelled data, by labels."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from ..errors import TaskVecError
from ..evaluate.model import Model
from ..evaluate.score import Score
from ..evaluate.summary import Number, difference
from ..recipe.plan import make_plan
from ..recipe.reweighted import Reweighted
from ..recipe.schema import Recipe
from ..store.writer import write_whole
from ..tune.adamerging import AdaMerging, adamerge
from ..tune.sampled import sampled
from ..tune.space import make_space
from ..tune.telling import Telling
from ..tune.trials import Budget
from .bench import ROUNDS, Bench, Tell, log_of, tune_scale
from .competitors import LITERATURE, Competitor, points
from .specialists import base_of

Found = dict[str, Any]
"""A recipe, and what finding it took: `data` (none, unlabelled, labels), seconds, evaluations."""

EVALUATIONS = 25
"""What a search of many numbers may spend."""

STEPS, RATE = 60, 1e-2
"""Of AdaMerging here: an eighth of the authors' steps, each ten times as long."""


def choices(bench: Bench, evaluations: float = EVALUATIONS, steps: int = STEPS) -> dict[str, Callable[[], Found]]:
    """Return the ways, by name; each finds a recipe when it is called."""
    ways: dict[str, Callable[[], Found]] = {
        f"λ = {LITERATURE}": lambda: _given(bench, LITERATURE),
        "isotropic (1/T)": lambda: _closed(bench, "isotropic"),
        "equal energy": lambda: _closed(bench, "equal_energy"),
        "MetaGPT": lambda: _closed(bench, "metagpt"),
        "AdaMerging, a task": lambda: _adapted(bench, "task", steps),
        "AdaMerging, a tensor": lambda: _adapted(bench, "layer", steps),
        "grid of 21": lambda: _grid(bench),
        "TPE, a weight a task": lambda: _sampled(bench, ["weights=0:1"], 0, "tpe", evaluations),
        "CMA-ES, a weight a task": lambda: _sampled(bench, ["weights=0:1"], 0, "cma", evaluations),
        "CMA-ES, λ of 3 groups of layers": lambda: _sampled(bench, ["scale=0:1"], 3, "cma", evaluations),
    }
    return ways


def choose(bench: Bench, ways: dict[str, Callable[[], Found]], tell: Tell) -> list[dict[str, Any]]:
    """Find a recipe in each way, score it on the test examples, and compare it with λ = 0.3 and with 1/T.

    One that cannot be taken here (an extra that is not installed) is told and left out; the others go on. What was
    found before an interruption is found again.

    Returns:
        A dict a way: name, data, evaluations, seconds, the scores' mean, and the gains with paired intervals.
    """
    out: list[dict[str, Any]] = []
    rows: dict[str, Sequence[Score]] = {}
    for number, (name, way) in enumerate(ways.items()):
        try:
            found = way()
        except TaskVecError as exc:
            if number < 2:
                raise  # what the others are compared with
            bench.leave_out(name, exc, tell)
            continue
        row = bench.add(name, found.pop("recipe"), {"choice": True, **found})
        rows[name] = row.scores
        summary = bench.results.summary(row)
        assert summary, "the tasks of a bench share their metric"
        out.append({"name": name, **found, "mean": summary.mean, "normalised": summary.normalised})
        tell(f"{name}: mean {100 * summary.mean.value:.1f} in {found['seconds']:.0f} s")
    first, second = list(rows)[:2]
    for entry in out:
        entry["over_default"] = difference(rows[entry["name"]], rows[first])
        entry["over_mean"] = difference(rows[entry["name"]], rows[second])
    return out


def _arithmetic(bench: Bench, scale: Any) -> Recipe:
    competitor = Competitor("task_arithmetic", "task_arithmetic")
    return bench.recipe(competitor, scale)


def _given(bench: Bench, scale: float) -> Found:
    return {"recipe": _arithmetic(bench, scale), "data": "none", "seconds": 0.0, "evaluations": 0.0}


def _closed(bench: Bench, name: str) -> Found:
    began = time.perf_counter()
    recipe = _arithmetic(bench, {"auto": name})
    make_plan(recipe)  # finds the number
    return {"recipe": recipe, "data": "none", "seconds": time.perf_counter() - began, "evaluations": 0.0}


def _adapted(bench: Bench, by: Literal["task", "layer"], steps: int) -> Found:
    model = base_of(bench.loaded, device=bench.device, precision="float32")
    settings = AdaMerging(by=by, steps=steps, rate=RATE, precision="bfloat16")
    recipe = _arithmetic(bench, 1.0)
    place = log_of(bench, f"adamerging {by}", [recipe.data, asdict(settings), [Model(p).content for p in bench.paths]])
    if (found := read_json(place)) is None:
        adapted = adamerge(recipe, model, bench.validation, settings, bench.progress)
        entropy = [adapted.entropy[0], adapted.entropy[-1]]
        found = {"recipe": adapted.recipe.data, "seconds": adapted.seconds, "entropy": entropy}
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, json.dumps(found))
    recipe = Recipe.model_validate(found["recipe"])
    return {**found, "recipe": recipe, "data": "unlabelled", "evaluations": 0.0, "steps": steps}


def read_json(path: Path) -> Any:
    """Return what a file of JSON holds; None where there is none."""
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def _grid(bench: Bench) -> Found:
    competitor = Competitor("task_arithmetic grid", "task_arithmetic", {}, LITERATURE, points(1.0))
    found = tune_scale(bench, competitor, rounds=(1.0,))
    return {"recipe": found["recipe"], "data": "labels", "seconds": found["search_seconds"],
        "evaluations": found["evaluations"], "validation": found["validation"]}  # fmt: skip


def _sampled(bench: Bench, asked: list[str], groups: int, by: Literal["tpe", "cma"], evaluations: float) -> Found:
    recipe = _arithmetic(bench, 1.0 if asked[0].startswith("weights") else LITERATURE)
    if asked[0].startswith("weights"):
        data = recipe.data
        data["models"] = [{**m, "weight": LITERATURE} for m in data["models"]]
        recipe = Recipe.model_validate(data)
    with Reweighted(recipe) as models:
        space = make_space(recipe, models.names, asked, groups)
        budget = Budget(evaluations=evaluations)
        log = log_of(bench, f"{by} {asked[0]}", [recipe.data, groups, evaluations, models.fingerprints])
        result = sampled(
            space, bench.objective, by=by, budget=budget, pruner="median", rounds=ROUNDS, models=models,
            log=log, data=bench.objective.digest, progress=Telling(bench.progress, by),
        )  # fmt: skip
    return {"recipe": result.recipe, "data": "labels", "seconds": result.seconds,
        "evaluations": result.spent, "validation": result.best.mean}  # fmt: skip


def said(number: Number) -> str:
    """Say a gain in points with its interval.

    >>> said(Number(0.012, -0.003, 0.027))
    '+1.2 (-0.3 to +2.7)'
    """
    return f"{100 * number.value:+.1f} ({100 * number.low:+.1f} to {100 * number.high:+.1f})"
