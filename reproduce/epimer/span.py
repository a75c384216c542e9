"""What each task's loss does in the span of all task vectors: slope and Gauss-Newton matrix, T numbers and T × T.

A diagonal keeps no product of two entries, and a task vector is a direction in which millions of entries move together.
In the span of T vectors the whole matrix is within reach: T derivatives of the logits say it, and with it the quadratic
model of every merge that is a weighted sum.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from taskvec.evaluate.data import some_of
from taskvec.evaluate.features import features, ready
from taskvec.finetune.lessons import Lesson, make_ready

from .changes import Vector
from .study import Study, key_of

EXAMPLES = 64
"""Training examples of each task."""

STEP = 0.1
"""How far along a task vector central differences go, as a share of it."""


@dataclass(frozen=True)
class Span:
    """One task's loss around its specialist θ_t, along all task vectors.

        L(θ_t + Σ d_j τ_j) ≈ loss + slope · d + ½ dᵀ bend d
        slope_j = mean (p - y) · Jτ_j,    bend_ij = mean Jτ_i · (diag(p) - ppᵀ) Jτ_j

    J τ_j is what τ_j changes in an example's logits, p what the specialist answers, y what is right.
    """

    task: int
    loss: float
    slope: npt.NDArray[np.float64]
    bend: npt.NDArray[np.float64]

    def excess(self, weights: npt.NDArray[np.float64]) -> float:
        """Return how much more the merge θ_0 + Σ w_j τ_j is expected to lose than the specialist."""
        d = weights - np.eye(len(weights))[self.task]
        return float(self.slope @ d + d @ self.bend @ d / 2)


def span_of(study: Study, task: int) -> Span:
    """Return one task's, found again if it is known."""
    found = study.noted(f"span {key_of(task, EXAMPLES, STEP)}", partial(_span, study, task))
    return Span(task, found["loss"], np.array(found["slope"]), np.array(found["bend"]))


def measured_excess(study: Study, task: int, key: str, make: Callable[[], Vector], scale: float) -> float:
    """Return how much more a merge loses than the specialist, on the examples of `span_of`."""

    def loss() -> float:
        lesson = _lesson(study, task)
        return _loss(_logits(study, lesson, make(), scale), _answers(study, lesson))

    return float(study.noted(f"loss {key_of(key, scale, task, EXAMPLES)}", loss)) - span_of(study, task).loss


def _span(study: Study, task: int) -> dict[str, Any]:
    lesson, own = _lesson(study, task), study.changes.of(task)
    logits, answers = _logits(study, lesson, own, 1.0), _answers(study, lesson)
    p = logits.softmax(-1)
    changes = []
    for other in study.every:
        along = study.changes.of(other)
        sides = [_logits(study, lesson, {n: own[n] + s * along[n] for n in own}, 1.0) for s in (STEP, -STEP)]
        changes.append((sides[0] - sides[1]) / (2 * STEP))
    wrong = p - torch.nn.functional.one_hot(answers, p.shape[1])
    bent = [p * (c - (p * c).sum(-1, keepdim=True)) for c in changes]
    bend = [[float((one * other).sum(-1).mean()) for other in bent] for one in changes]
    slope = [float((wrong * c).sum(-1).mean()) for c in changes]
    return {"loss": _loss(logits, answers), "slope": slope, "bend": bend}


def _lesson(study: Study, task: int) -> Lesson:
    lesson = study.lesson(task)
    return Lesson(lesson.name, some_of(lesson.examples, EXAMPLES, 0), lesson.head, lesson.reading)


def _answers(study: Study, lesson: Lesson) -> torch.Tensor:
    return make_ready(study.model, lesson).answers


def _logits(study: Study, lesson: Lesson, vector: Vector, scale: float) -> torch.Tensor:
    """Return the logits of base + scale · vector: (example, class)."""
    study.model.module()
    study.model.put(study.changes.moved(vector, scale), "along task vectors")
    with torch.no_grad():
        found = features(study.model, ready(study.model, lesson.examples, lesson.reading), lesson.reading)
        return lesson.head.logits(found).double()


def _loss(logits: torch.Tensor, answers: torch.Tensor) -> float:
    return float(torch.nn.functional.cross_entropy(logits, answers))
