"""What labels are called: a label as a word or a whole number, and the names that the data hold."""

import math
import re
from collections.abc import Iterable
from typing import Any

from ...errors import RecipeError

WHOLE = re.compile(r"[+-]?[0-9]+")
REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
Label = str | int


class NoLabelError(ValueError):
    """A value that is no label; the message says what it is."""


def label_of(value: Any) -> Label:
    """Return a label as a word or a whole number.

    Raises:
        NoLabelError: it is neither.

    >>> label_of(" yes "), label_of(3.0), label_of(True)
    ('yes', 3, 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        if not value.strip():
            raise NoLabelError("is empty.")
        return value.strip()
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    if isinstance(value, float) and not math.isnan(value):
        raise NoLabelError("is no class; where labels are real numbers set 'scores: true'.")
    raise NoLabelError("is no word and no number; without labels set 'label: null'.")


def names_found(values: Iterable[Any], origin: str) -> tuple[str, ...]:
    """Return the names of the labels in the data: numbers in their order, words in that of their letters.

    Raises:
        RecipeError: they are real numbers, which are scores rather than classes.

    >>> names_found(["10", "9"], "a.tsv"), names_found(["no", "10", "9"], "a.tsv")
    (('9', '10'), ('10', '9', 'no'))
    """
    words = _words(values)
    if all(map(WHOLE.fullmatch, words)):
        return tuple(sorted(words, key=lambda word: (int(word), word)))
    if all(map(REAL.fullmatch, words)):
        example = min(word for word in words if not WHOLE.fullmatch(word))
        raise RecipeError(
            f"{origin}: labels are real numbers, e.g. {example}; set 'scores: true', "
            f"or name them in 'labels' if they are classes."
        )
    return tuple(sorted(words))


def first_number(values: Iterable[Any], count: int) -> int:
    """Return whether whole numbers count `count` names from 0 or from 1: from 1 only where they are 1 to `count`.

    >>> first_number([1, 2, 4], 4), first_number([0, 1, 4], 5), first_number([1, 2], 4)
    (1, 0, 0)
    """
    numbers = {int(word) for word in _words(values) if WHOLE.fullmatch(word)}
    return int(bool(numbers) and min(numbers) == 1 and max(numbers) == count)


def _words(values: Iterable[Any]) -> set[str]:
    """Return the distinct labels as text, without what is none: where that is read, its row is named."""
    words = set()
    for value in values:
        try:
            words.add(str(label_of(value)))
        except NoLabelError:
            if isinstance(value, float) and math.isfinite(value):
                words.add(str(value))
    return words
