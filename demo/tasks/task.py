"""What a task is: labelled texts that a package ships."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Example(NamedTuple):
    """A text, its label, and the family of near-identical texts that must stay on one side of the split."""

    text: str
    label: str
    family: str


@dataclass(frozen=True)
class Task:
    """A classification task; the names of its labels are all that its head is made from."""

    name: str
    question: str
    package: str
    licence: str
    read: Callable[[], Iterable[Example]]
