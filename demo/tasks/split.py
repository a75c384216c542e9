"""From all texts of a task to a training and a test set that share nothing."""

import random
from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from ..errors import DemoError
from ..settings import Settings
from .task import Example, Task

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Split:
    """The labels of a task in a fixed order, and its texts for training and for the test."""

    labels: tuple[str, ...]
    train: tuple[Example, ...]
    test: tuple[Example, ...]


def split(task: Task, settings: Settings) -> Split:
    """Split a task's texts by the seed; no text, and no family of texts, is on both sides.

    The same package and the same settings give the same split on every machine.
    """
    chance = random.Random(settings.seed)
    chosen = balanced(unambiguous(task.read()), settings.examples, chance)
    families = sorted({example.family for example in chosen})
    chance.shuffle(families)
    rank = {family: place for place, family in enumerate(families)}
    ordered = sorted(chosen, key=lambda example: rank[example.family])
    border = ordered[int(len(ordered) * settings.test_share)].family
    test = [example for example in ordered if rank[example.family] < rank[border]]
    train = ordered[len(test) :]
    _refuse_overlap(task, train, test)
    return Split(tuple(sorted({example.label for example in chosen})), tuple(train), tuple(test))


def unambiguous(examples: Iterable[Example]) -> list[Example]:
    """Keep one example a text, and none where a text carries two labels; upper and lower case count as the same."""
    same = _grouped((example.text.casefold(), example) for example in examples)
    return [found[0] for found in same.values() if len({example.label for example in found}) == 1]


def balanced(examples: Iterable[Example], total: int, chance: random.Random) -> list[Example]:
    """Draw at most `total` examples, the same number a label as far as there are enough."""
    by_label = _grouped((example.label, example) for example in examples)
    drawn: list[Example] = []
    for label in sorted(by_label):
        found = sorted(by_label[label])
        drawn += chance.sample(found, min(len(found), total // len(by_label)))
    return drawn


def _grouped(pairs: Iterable[tuple[Key, Example]]) -> dict[Key, list[Example]]:
    groups: dict[Key, list[Example]] = defaultdict(list)
    for key, example in pairs:
        groups[key].append(example)
    return groups


def _refuse_overlap(task: Task, train: Iterable[Example], test: Iterable[Example]) -> None:
    both = {example.text.casefold() for example in train} & {example.text.casefold() for example in test}
    if both:
        raise DemoError(f"{len(both)} texts of {task.name!r} are in the training and in the test set.")
