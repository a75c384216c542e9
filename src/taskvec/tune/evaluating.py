"""Scoring points: each is merged in memory once, scored, and written down."""

import json
import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import NumbersError, RecipeError
from ..recipe.in_memory import Merged
from ..recipe.reweighted import Reweighted
from .log import Log
from .space import Space
from .trials import Budget, Evaluation, Progress, Silent, best_of

Objective = Callable[[Mapping[str, npt.NDArray[Any]], float], float | Sequence[float]]
"""(weights of a merged model, share of the validation examples) → a score, or one a task; larger is better."""


class Evaluator:
    """Merges and scores points, within a budget; what a log knows is not done again."""

    def __init__(
        self,
        space: Space,
        score: Objective,
        how: Mapping[str, Any],
        *,
        models: Reweighted | None = None,
        budget: Budget | None = None,
        log: Path | None = None,
        data: str = "",
        restart: bool = False,
        progress: Progress | None = None,
        most: float | None = None,
    ) -> None:
        """Open the models and the log.

        Args:
            space: what is searched.
            score: the objective. The arrays it gets are written over by the next merge.
            how: how it is searched: what else must be the same where a search goes on.
            models: the models of the space's recipe, where they are open already; they stay open.
            budget: how much may be spent.
            log: the file in which evaluations are written down.
            data: what names the validation examples and how they are scored, such as a hash.
            restart: throw away what an earlier search has left in the log.
            progress: told how far it is.
            most: how many evaluations there will be, where that is known without a budget.
        """
        self.space, self._score, self.budget = space, score, budget or Budget()
        self._own = models is None
        self._models = models or Reweighted(space.recipe)
        self._most, self._progress = most, progress or Silent()
        self.evaluations: list[Evaluation] = []
        self.spent = self.seconds = 0.0
        self._seen: set[Hashable] = set()
        self._at: dict[str, Any] | None = None
        self._merged: Merged | None = None
        try:
            self.log = Log(log, self._facts(how, data), restart)
        except BaseException:
            self._close_models()
            raise

    def _facts(self, how: Mapping[str, Any], data: str) -> dict[str, Any]:
        inputs, recipe = self._models.fingerprints, self.space.recipe.data
        return {**how, "data": data, "space": self.space.facts, "recipe": recipe, "inputs": inputs}

    @property
    def over(self) -> bool:
        """Whether the budget is spent."""
        return self.budget.left(self.spent, self.seconds) == 0

    def affords(self, point: Mapping[str, Any], shares: Sequence[float]) -> bool:
        """Whether the budget is enough for a point on all of these shares; what was scored before costs nothing."""
        left = self.budget.left(self.spent, self.seconds)
        wanted = sum(share for share in shares if (tuple(point.items()), share) not in self._seen)
        return left is None or left >= wanted - 1e-9

    def evaluate(self, trial: int, point: dict[str, Any], share: float = 1.0) -> Evaluation:
        """Return the score of a point on a share of the examples. What this search has scored before costs nothing.

        A point whose numbers the method refuses, or that overflows, is told as refused.

        Raises:
            RecipeError: the objective gives NaN, or nothing.
            NumbersError: NaN or Inf in an input.
        """
        done = self.log.find(point, share)
        if done is None:
            done = self._evaluate(trial, point, share)
            self.log.add(done)
        done, key = replace(done, trial=trial), (tuple(point.items()), share)
        if key not in self._seen:
            self._seen.add(key)
            self.evaluations.append(done)
            self.spent += share
            self.seconds += done.seconds
            self._tell()
        return done

    def _evaluate(self, trial: int, point: dict[str, Any], share: float) -> Evaluation:
        began = time.monotonic()
        try:
            merged = self._merge(point)
        except RecipeError as exc:
            return _refused(trial, point, share, began, exc)
        except NumbersError as exc:
            return self._broken(trial, point, share, began, exc)
        try:
            scores = _checked(self._score(merged, share), point)
        except NumbersError as exc:
            return self._broken(trial, point, share, began, exc)
        return Evaluation(trial, point, share, scores, time.monotonic() - began)

    def _broken(self, trial: int, point: dict[str, Any], share: float, began: float, exc: NumbersError) -> Evaluation:
        if not any(e.scores for e in self.evaluations):
            raise exc  # more likely an input's fault than the first point's
        return _refused(trial, point, share, began, exc)

    def _merge(self, point: dict[str, Any]) -> Merged:
        """Merge at a point, unless that was the last one merged."""
        if self._merged is None or point != self._at:
            self._at = None
            self._merged = self._models.weigh(self.space.recipe_at(point))
            self._at = dict(point)
        return self._merged

    def _tell(self) -> None:
        total = self.budget.evaluations if self._most is None else self._most
        pace = self.seconds / self.spent
        left = [pace * (total - self.spent)] if total is not None else []
        left += [60 * self.budget.minutes - self.seconds] if self.budget.minutes is not None else []
        self._progress.advance(self.spent, total, best_of(self.evaluations), max(0.0, min(left)) if left else None)

    def _close_models(self) -> None:
        if self._own:
            self._models.close()

    def __enter__(self) -> "Evaluator":
        self._progress.begin("searching", self.budget.evaluations if self._most is None else self._most)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.end()
        self.log.close()
        self._merged = None
        self._close_models()


def _refused(trial: int, point: dict[str, Any], share: float, began: float, exc: Exception) -> Evaluation:
    return Evaluation(trial, point, share, (), time.monotonic() - began, " ".join(str(exc).split()))


def _checked(scores: float | Sequence[float], point: Mapping[str, Any]) -> tuple[float, ...]:
    """Return scores as numbers."""
    numbers = tuple(float(s) for s in np.atleast_1d(np.asarray(scores, np.float64)))
    if not numbers or not all(map(math.isfinite, numbers)):
        raise RecipeError(f"the score at {json.dumps(dict(point))} is {scores!r}, which is no number. Mend the score.")
    return numbers
