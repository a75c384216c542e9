"""A few examples of a new task, and the head that says what is right."""

from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from ..errors import RecipeError
from ..evaluate import make_head
from ..evaluate.data import Examples, Source, read, split_names
from ..evaluate.features import Reading
from ..evaluate.heads import Head
from ..evaluate.model import Model
from ..finetune.lessons import Lesson
from ..merge.registry import suggest

Made = Literal["labels", "class_means", "ridge"]
"""Heads in closed form on the base's features."""

TRAIN, TEST = "train", "test"


def few_of(source: Source, split: str = TRAIN) -> Examples:
    """Return the examples of a source; of its split `split` where it has splits and none is named.

    Raises:
        RecipeError: see `check_few`.
        TaskVecError: they cannot be read.
    """
    if source.split is None and split in split_names(source):
        source = replace(source, split=split)
    examples = read(source)
    check_few(examples)
    return examples


def check_few(examples: Examples) -> None:
    """Refuse examples that say nothing of where to go.

    Raises:
        RecipeError: there is none, they have no classes, or all are of one class.
    """
    if not len(examples):
        raise RecipeError(f"{examples.origin} is empty. Give a few examples of the task, with their labels.")
    if examples.labels is None or not examples.names:
        raise RecipeError(f"{examples.origin} has no labels, and a task is located by them. Add a column 'label'.")
    seen = np.unique(np.asarray(examples.labels))
    if len(seen) < 2:
        only = examples.names[int(seen[0])]
        raise RecipeError(
            f"all {len(examples)} examples of {examples.origin} are of the class '{only}', so they tell nothing apart. "
            f"Give examples of at least two classes."
        )


def lesson_of(
    base: Model, name: str, examples: Examples, head: str = "labels", reading: Reading | None = None
) -> Lesson:
    """Return the task to be located: its examples, and a head in closed form on the base's features, or a file's.

    Raises:
        RecipeError: no such head, or a class without an example where the head is made of them.
        MismatchError: label names for a base that has no tower for texts, or a head of another encoder.
    """
    reading = reading or Reading()
    return Lesson(name, examples, _head(base, examples, head, reading), reading)


def _head(base: Model, examples: Examples, head: str, reading: Reading) -> Head:
    if head == "labels":
        return make_head.from_label_names(base, examples.names, reading)
    if head == "class_means":
        return make_head.from_class_means(base, examples, reading)
    if head == "ridge":
        return make_head.by_ridge(base, examples, reading)
    if not Path(head).is_file():
        made = get_args(Made)
        raise RecipeError(f"a head is one of {', '.join(made)}, or a head's file, got '{head}'.{suggest(head, made)}")
    return Head.load(Path(head))
