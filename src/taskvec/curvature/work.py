"""A model and a lesson in hand: the examples in batches, and what the head makes of each."""

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..evaluate.batches import in_batches
from ..evaluate.data import some_of
from ..evaluate.features import encode, pooling_of
from ..evaluate.heads import Head
from ..evaluate.model import Model
from ..finetune.finetune import plain_attention
from ..finetune.lessons import Lesson, length, make_ready, together
from ..store import Checkpoint
from .estimating import Estimating
from .per_example import wide
from .probe import Found, Trial, probed
from .sums import HALVES

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Batch:
    """A few examples at once.

    places: their numbers in the lesson. inputs: what the model takes. answers: their labels, as rows of the head.
    mask: (example, position), true where a position is no padding; None for images.
    """

    places: "torch.Tensor"
    inputs: dict[str, "torch.Tensor"]
    answers: "torch.Tensor"
    mask: "torch.Tensor | None"

    def __len__(self) -> int:
        return len(self.places)


class Work:
    """What is measured: a model with the weights in hand, on the examples of a lesson.

    Raises:
        RecipeError: the lesson has no labels.
        MismatchError: the model does not fit the head or the examples.
    """

    def __init__(self, model: Model, lesson: Lesson, how: Estimating) -> None:
        import torch

        self.model, self.how, self.lesson = model, how, _limited(lesson, how)
        ready = make_ready(model, self.lesson)
        self.module, self.device = model.module(), model.device
        self.pooling = pooling_of(model, lesson.reading)
        self._rows, self._answers = ready.inputs, ready.answers
        self._padding = getattr(model.config, "pad_token_id", None) or 0
        chance = torch.Generator().manual_seed(how.seed)
        self._order = torch.randperm(len(self), generator=chance).tolist()
        self.halves = torch.empty(len(self), dtype=torch.long)
        self.halves[self._order] = torch.arange(len(self)) % HALVES
        self.chances = torch.rand((len(self), how.draws), generator=chance, dtype=torch.float64)

    def __len__(self) -> int:
        return len(self._rows)

    @cached_property
    def found(self) -> Found:
        """How the module's gradients are told apart by example."""
        lengths = sorted(range(len(self)), key=lambda i: length(self._rows[i]))
        spread = [lengths[0], lengths[-1], lengths[len(lengths) // 2]]  # in one batch, padded

        def run(count: int) -> Trial:
            batch = self.batch(spread[:count])
            return Trial(lambda: self.logits(batch), count, batch.mask)

        with self.plain():
            return probed(self.module, run, len(self))

    @cached_property
    def batches(self) -> Sequence[Sequence[int]]:
        """Which examples are in each batch: those of like length; with `batch_fisher`, which goes by batches, any."""
        if self.how.estimator == "batch_fisher":
            return [self._order[i : i + self.how.batch] for i in range(0, len(self), self.how.batch)]
        size = 1 if self.found.alone else self.how.batch
        return in_batches([length(row) for row in self._rows], size)

    def batch(self, places: Sequence[int]) -> Batch:
        """Return these examples, on the model's device."""
        import torch

        inputs = together([self._rows[i] for i in places], self._padding)
        inputs = {name: x.to(self.device) for name, x in inputs.items()}
        mask = inputs["attention_mask"].bool() if "attention_mask" in inputs else None
        return Batch(torch.tensor(places), inputs, self._answers[list(places)].to(self.device), mask)

    def logits(self, batch: Batch) -> "torch.Tensor":
        """Return the head's scores, (example, label)."""
        return self.lesson.head.logits(wide(encode(self.module, batch.inputs, self.pooling)))

    def in_halves(self, batch: Batch) -> list["torch.Tensor"]:
        """Return which rows of a batch are of the one half of all examples, and which of the other."""
        halves = self.halves[batch.places]
        return [(halves == half).nonzero()[:, 0].to(self.device) for half in range(HALVES)]

    def plain(self) -> AbstractContextManager[None]:
        """Run attention as plain products, which is the fastest on a CPU where gradients are wanted."""
        return plain_attention(self.module, self.device.type)

    @cached_property
    def places(self) -> dict[str, str]:
        """What each parameter is called in the model's files; without those that the files lack."""
        several: dict[int, list[str]] = {}
        for name, parameter in self.module.named_parameters(remove_duplicate=False):
            several.setdefault(id(parameter), []).append(name)
        with Checkpoint(self.model.path) as checkpoint:
            where = self.model.places_in(checkpoint)
        found = {names[0]: [where[n] for n in names if n in where] for names in several.values()}
        return {name: files[0] for name, files in found.items() if files}


def digest_of_head(head: Head) -> str:
    """Return the SHA-256 of all that decides a head's scores."""
    whole = hashlib.sha256(f"{head.kind} {head.labels} {head.scale} {head.pooling}".encode())
    for array in (head.weight, head.bias, head.projection):
        whole.update(b"-" if array is None else array.tobytes())
    return whole.hexdigest()


def _limited(lesson: Lesson, how: Estimating) -> Lesson:
    if how.examples is None or how.examples >= len(lesson.examples) or lesson.examples.labels is None:
        return lesson
    few: Any = some_of(lesson.examples, how.examples, how.seed)
    return Lesson(lesson.name, few, lesson.head, lesson.reading)
