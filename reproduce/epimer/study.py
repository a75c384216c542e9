"""A suite in hand: its models in memory, its tasks, and everything that was found so far."""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from taskvec.evaluate.classification import Classification
from taskvec.evaluate.data import some_of
from taskvec.evaluate.digest import digest_of
from taskvec.evaluate.kept import versions
from taskvec.evaluate.model import Model
from taskvec.evaluate.score import Score
from taskvec.finetune.lessons import Lesson
from taskvec.suite.examples import examples_of
from taskvec.suite.heads import head_of, reading_of
from taskvec.suite.load import Loaded
from taskvec.suite.notes import Notes
from taskvec.suite.specialists import base_of, places_of, specialist_of, trained
from taskvec.suite.tasks import chosen, tasks_of

from .changes import Changes, Vector, load_changes

MAKING = "1"
"""Raised when a number is found differently, so that older ones are not found again."""

SPLITS = ("validation", "test")


Piece = Callable[[], Any]
"""One thing that a part finds: a row, a point, a case. It may be called again, and is then found in the notes."""


class Unknown(Exception):
    """Something that was not found yet, asked for while a page is made of what is known."""


class Study:
    """A suite whose specialists are trained; what is found is noted in `folder`, and found again.

    frozen: nothing is computed: what is not known raises `Unknown`.
    """

    def __init__(
        self, loaded: Loaded, folder: Path, *, device: str = "auto", test: int | None = None, frozen: bool = False
    ) -> None:
        """Open a suite; `test`: at most so many test examples a task, evenly over its labels.

        Raises:
            StoreError: a specialist that is not there, or was trained otherwise than the suite says.
        """
        self.loaded, self.frozen, self.folder = loaded, frozen, folder / loaded.slug
        self.device = device
        self.names = chosen(loaded)
        self.places = places_of(loaded)
        self.model = base_of(loaded, device=device)
        trained(loaded, self.places, self.model)
        self.paths = [specialist_of(loaded, name, self.places) for name in self.names]
        self.tasks: dict[str, list[Classification]] = {}
        for split in SPLITS:
            found = tasks_of(loaded, self.model, split, (), self.places.heads)
            most = test if split == "test" else None
            self.tasks[split] = [_cut(task, most) for task in found if isinstance(task, Classification)]
        digests = [task.digest for tasks in self.tasks.values() for task in tasks]
        models = [self.model.content, *(Model(path).content for path in self.paths)]
        facts = digest_of(MAKING, versions(), str(self.model.device), self.model.precision, models, digests)
        self.notes = Notes(self.folder / f"found-{facts[:12]}.jsonl")

    @cached_property
    def changes(self) -> Changes:
        """The task vectors."""
        return load_changes(self.model.path, self.paths)

    @property
    def every(self) -> tuple[int, ...]:
        """The numbers of all tasks."""
        return tuple(range(len(self.names)))

    def noted(self, what: str, make: Callable[[], Any]) -> Any:
        """Return what was found, or find it out and note it; it must be plain data.

        Raises:
            Unknown: it is not known, and the study is frozen.
        """
        return self._noted(what, "", 0, lambda: {"value": make()})["value"]

    def _noted(self, what: str, task: str, examples: int, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        found = self.notes.find(what, task, examples, 0)
        if found is None and self.frozen:
            raise Unknown(what)
        return found or self.notes.add(what, task, examples, 0, make())

    def lesson(self, task: int) -> Lesson:
        """Return the training examples of a task, and its head."""
        name = self.names[task]
        examples = examples_of(self.loaded, name, "train")
        head = head_of(self.loaded, name, self.model, examples.names, self.places.heads)
        return Lesson(name, examples, head, reading_of(self.loaded, name))

    @cached_property
    def training(self) -> int:
        """How many training examples a task has: the fewest of all tasks."""
        return min(len(examples_of(self.loaded, name, "train")) for name in self.names)

    def scores(
        self, key: str, make: Callable[[], Vector], scale: float, split: str, tasks: Sequence[int] | None = None
    ) -> list[Score]:
        """Return the scores of base + scale · vector on a split of some tasks; the vector is made where it is needed.

        Args:
            key: what names the vector in the notes.
            make: gives it.
            scale: α.
            split: `validation` or `test`.
            tasks: all when not given.
        """
        what = f"{key} × {scale:g} on {split}"
        held: list[bool] = []

        def right(task: Classification) -> dict[str, Any]:
            if not held:
                self.model.module()
                self.model.put(self.changes.moved(make(), scale), hashlib.sha256(what.encode()).hexdigest())
                held.append(True)
            values = task.score(self.model).values
            assert values is not None, "an accuracy is a mean of examples"
            return {"right": "".join(str(int(x)) for x in values)}

        out = []
        for number in self.every if tasks is None else tasks:
            task = self.tasks[split][number]
            digits = self._noted(what, task.name, len(task.examples), partial(right, task))["right"]
            out.append(_score(task.name, digits))
        return out

    @cached_property
    def specialists(self) -> dict[str, dict[str, Score]]:
        """Each specialist's score on its own task, by split and task."""
        out: dict[str, dict[str, Score]] = {}
        for split in SPLITS:
            each = [self.scores("specialist", partial(self._own, t), 1.0, split, [t])[0] for t in self.every]
            out[split] = {score.task: score for score in each}
        return out

    def _own(self, task: int) -> Vector:
        return self.changes.of(task)

    def base_scores(self, split: str) -> list[Score]:
        """Return the base's scores."""
        return self.scores("base", dict, 0.0, split)


def _cut(task: Classification, most: int | None) -> Classification:
    """Return a task with at most so many of its examples."""
    if most is None or len(task.examples) <= most:
        return task
    return Classification(task.name, some_of(task.examples, most, 0), task.head, task.reading)


def _score(task: str, digits: str) -> Score:
    """Return a score from what was noted; its own interval is not drawn: summaries draw theirs."""
    values = np.array([float(d) for d in digits])
    value = float(values.mean())
    return Score(task=task, metric="accuracy", value=value, low=value, high=value, count=len(values), values=values)


def key_of(*facts: Any) -> str:
    """Return plain data as one text, the same for equal data."""
    return json.dumps(facts, sort_keys=True, ensure_ascii=False)
