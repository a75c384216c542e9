"""What a search of coefficients is told: scores on validation examples, measured by the specialists'."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import RecipeError
from ..evaluate.batches import SHARES
from ..evaluate.kept import SCORING, Kept, score_all, versions
from ..evaluate.model import Model
from ..evaluate.task import Task
from ..progress import Progress
from ..recipe.in_memory import Merged
from .load import Loaded
from .specialists import Places, specialist_of

WARM = 1e-9
"""A share of the examples so small that one is scored: it has every module loaded."""


class Objective:
    """(weights, share of the examples) → one number a task: its score over the specialist's.

        s_t(weights) / s_t(specialist of t),    or the other way round where smaller is better

    Its mean is the mean normalised score, by which the literature chooses λ (Ortiz-Jimenez et al. 2023,
    arXiv:2305.12827, §5). Without specialists the scores themselves.
    """

    def __init__(self, model: Model, tasks: Sequence[Task], specialists: Mapping[str, float] | None = None) -> None:
        """Take a model of the merge's form, whose weights are replaced, and tasks on validation examples.

        Raises:
            RecipeError: no task, or a specialist that scored 0.
        """
        if not tasks:
            raise RecipeError("there is no task to score on. Give one.")
        for name, value in (specialists or {}).items():
            if value <= 0:
                raise RecipeError(f"the specialist of '{name}' scored {value:.4g}, so no ratio to it means anything.")
        self.model, self.tasks, self.specialists = model, tasks, specialists or {}
        for task in tasks:
            task.check(model)
            task.score(model, WARM)

    @property
    def digest(self) -> str:
        """What names the validation examples and how they are scored."""
        batches = [getattr(getattr(t, "reading", None), "batch", None) for t in self.tasks]  # shares are cut from them
        facts = [SCORING, SHARES, versions(), [t.digest for t in self.tasks], batches, self.specialists]
        facts += [self.model.precision, str(self.model.device), self.model.inputs_digest]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]

    def __call__(self, weights: Mapping[str, Any], share: float = 1.0) -> tuple[float, ...]:
        """Return the numbers, a task each."""
        held = {name: weights.torch(name) for name in weights} if isinstance(weights, Merged) else weights
        self.model.put(held, "being searched")
        return tuple(self._normalised(task, task.score(self.model, share).value) for task in self.tasks)

    def _normalised(self, task: Task, value: float) -> float:
        own = self.specialists.get(task.name)
        if own is None:
            return value if task.larger_is_better else -value
        return value / own if task.larger_is_better else own / value


def specialists_on(
    loaded: Loaded, places: Places, tasks: Sequence[Task], kept: Kept, progress: Progress, how: Mapping[str, Any]
) -> dict[str, Any]:
    """Return each specialist's score on its own task."""
    scores = {}
    for task in tasks:
        model = Model(specialist_of(loaded, task.name, places), **how)
        scores[task.name] = score_all(model, [task], kept, progress)[0]
    return scores
