"""Every point of a grid; or all of them on few examples, and the best on all."""

import math
from collections.abc import Sequence
from itertools import islice, product
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from ..recipe.reweighted import Reweighted
from .evaluating import Evaluator, Objective
from .space import Space
from .trials import Budget, Evaluation, Progress, Result, check_rounds

LARGEST = 100_000
ROUNDS = (0.25, 1.0)
"""The shares of the examples in successive halving."""

KEPT = 5
"""How many points go on to the last round: as few as a wrong order on a quarter of the examples allows."""


def grid(
    space: Space,
    score: Objective,
    *,
    rounds: Sequence[float] = (1.0,),
    keep: int = KEPT,
    models: Reweighted | None = None,
    budget: Budget | None = None,
    log: Path | None = None,
    data: str = "",
    restart: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Score every combination of the dimensions' values: 21 for a number without values, 0, 0.05, …, 1 for a scale.

    The last dimension changes fastest, so name settings first: a change of weights or scale is cheaper.

    Args:
        space: what is searched.
        score: (weights, share of the validation examples) → a score, or one a task; larger is better.
        rounds: shares of the examples, rising to 1. With several, all points are scored on the first, and of each
            round the better ones on the next (successive halving), `keep` on the last.
        keep: how many points are scored on all examples where there are several rounds.
        models: the models of the space's recipe, where they are open already.
        budget: how much may be spent. A grid that does not fit in it is refused.
        log: the file in which evaluations are written down; a search that finds it goes on from there.
        data: what names the validation examples and how they are scored, such as a hash.
        restart: throw away what an earlier search has left in the log.
        progress: told how far it is.

    Raises:
        RecipeError: a grid that is too large, rounds that do not rise to 1, a score that is no number, or a log of
            another search.
    """
    check_rounds(rounds)
    count, budget = math.prod(len(d.grid) for d in space.dimensions), budget or Budget()
    sizes = _sizes(count, len(rounds), keep)
    total = sum(size * share for size, share in zip(sizes, rounds, strict=True))
    if count > LARGEST or total > (budget.evaluations or math.inf):
        allowed = f"{budget.evaluations:g} evaluations" if budget.evaluations else f"{LARGEST} points"
        raise RecipeError(
            f"the grid has {count} points, which is {total:g} evaluations, and {allowed} are allowed. "
            f"Search fewer numbers, name fewer values, or sample the space instead."
        )
    how = {"by": "grid", "rounds": list(rounds), "keep": keep if len(rounds) > 1 else None}
    points = [dict(zip((d.name for d in space.dimensions), v, strict=True)) for v in product(*_values(space))]
    with Evaluator(
        space, score, how, models=models, budget=budget, log=log, data=data, restart=restart, progress=progress,
        most=total,
    ) as evaluator:  # fmt: skip
        _run(evaluator, list(enumerate(points)), rounds, sizes)
        return Result(space, "grid", tuple(evaluator.evaluations))


def _values(space: Space) -> list[tuple[Any, ...]]:
    return [d.grid for d in space.dimensions]


def _run(
    evaluator: Evaluator, points: list[tuple[int, dict[str, Any]]], rounds: Sequence[float], sizes: Sequence[int]
) -> None:
    for share, following in zip(rounds, [*sizes[1:], 0], strict=True):
        done: list[Evaluation] = []
        for number, point in points:
            if evaluator.over:
                return
            done.append(evaluator.evaluate(number, point, share))
        best = sorted((e for e in done if not e.refused), key=lambda e: -e.mean)  # equals stay in their order
        points = sorted((e.trial, e.point) for e in islice(best, following))


def _sizes(count: int, rounds: int, keep: int) -> list[int]:
    """Return how many points each round has: geometric steps from all to `keep`."""
    last = min(keep, count)
    if rounds == 1:
        return [count]
    return [round(count * (last / count) ** (i / (rounds - 1))) for i in range(rounds)]
