"""Training examples in batches of a new order each epoch, of one task or of several."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RecipeError
from ..evaluate.data import Examples
from ..evaluate.features import Reading, pooling_of, ready
from ..evaluate.heads import Head
from ..evaluate.model import Model

if TYPE_CHECKING:
    import torch

WINDOW = 8
"""Batches among which examples are sorted by length, so that little is padded."""


@dataclass(frozen=True)
class Lesson:
    """A task to learn: training examples, and the frozen head that says what is right."""

    name: str
    examples: Examples
    head: Head
    reading: Reading


@dataclass(frozen=True)
class Ready:
    """A lesson as the model's inputs, an example each, and the answers."""

    lesson: Lesson
    inputs: Sequence[Mapping[str, "torch.Tensor"]]
    answers: "torch.Tensor"


def make_ready(model: Model, lesson: Lesson) -> Ready:
    """Return a lesson's inputs, one example at a time.

    Raises:
        RecipeError: it has no labels.
        MismatchError: the model does not fit the head or the examples.
    """
    import torch

    if lesson.examples.labels is None or not len(lesson.examples):
        raise RecipeError(f"lesson '{lesson.name}': {lesson.examples.origin} has no labelled examples to learn from.")
    lesson.head.check(model, pooling_of(model, lesson.reading), lesson.examples.names, lesson.examples.origin)
    rows: list[Any] = [None] * len(lesson.examples)
    for places, inputs in ready(model, lesson.examples, lesson.reading):
        for row, place in enumerate(places):
            one = {name: x[row] for name, x in inputs.items()}
            mask = one.get("attention_mask")
            rows[place] = one if mask is None else {name: x[: int(mask.sum())] for name, x in one.items()}
    place_of = {name: i for i, name in enumerate(lesson.head.labels)}
    labels = [place_of[lesson.examples.names[c]] for c in np.asarray(lesson.examples.labels)]
    return Ready(lesson, rows, torch.tensor(labels))


def steps_of(lessons: Sequence[Ready], batch: int) -> int:
    """Return the steps of an epoch."""
    return sum(-(-len(lesson.inputs) // batch) for lesson in lessons)


def batches(
    lessons: Sequence[Ready], batch: int, epochs: int, seed: int, padding: int
) -> Iterator[tuple[Lesson, dict[str, "torch.Tensor"], "torch.Tensor"]]:
    """Yield (lesson, inputs, answers): every batch is of one lesson, every epoch shows each example once."""
    chance = random.Random(seed)
    for _ in range(epochs):
        parts = []
        for which, lesson in enumerate(lessons):
            order = chance.sample(range(len(lesson.inputs)), len(lesson.inputs))
            parts += [(which, places) for places in _like_lengths(lesson, order, batch)]
        for which, places in chance.sample(parts, len(parts)):
            lesson = lessons[which]
            inputs = together([lesson.inputs[i] for i in places], padding)
            yield lesson.lesson, inputs, lesson.answers[places]


def _like_lengths(lesson: Ready, order: Sequence[int], batch: int) -> list[Sequence[int]]:
    """Return an order in batches; within windows of a few batches, examples of like length stand together."""
    window = WINDOW * batch
    out: list[Sequence[int]] = []
    for start in range(0, len(order), window):
        near = sorted(order[start : start + window], key=lambda i: length(lesson.inputs[i]))  # a stable sort
        out += [near[i : i + batch] for i in range(0, len(near), batch)]
    return out


def length(inputs: Mapping[str, "torch.Tensor"]) -> int:
    """Return the tokens of an example; 0 of an image."""
    mask = inputs.get("attention_mask")
    return 0 if mask is None else len(mask)


def together(rows: Sequence[Mapping[str, "torch.Tensor"]], padding: int) -> dict[str, "torch.Tensor"]:
    """Return examples as one batch; shorter ones are padded to the right."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    if "attention_mask" not in rows[0]:
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    return {
        name: pad_sequence([row[name] for row in rows], batch_first=True, padding_value=padding * (name == "input_ids"))
        for name in rows[0]
    }
