"""Labels as numbers."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import FormatError, RecipeError, TaskVecError
from ...merge.registry import suggest
from .examples import Source
from .inputs import count_inputs
from .names import REAL, WHOLE, Label, NoLabelError, first_number, label_of, names_found
from .table import Parts, Table, shortened

Labels = tuple[npt.NDArray[Any] | None, tuple[str, ...]]
Place = Callable[[int], str]
TRUTH = ("false", "true")


def read_labels(parts: Parts, table: Table, rows: Sequence[int], source: Source) -> Labels:
    """Return the labels of some rows as numbers, and the names of the numbers.

    Names:   those of the data (`classes` of an npz, a `ClassLabel`); else the source's; else every label found in any
        split. Where both name them, the source's rename the data's one by one, or say another order of the same.
    Classes: a word is one of the names. A whole number counts through them, from 0, or from 1 where the data's numbers
        are 1 to as many as there are names. Where the source's names are numbers themselves, it is one of them. False
        and true are the first and the second of two names that are others.
    Scores:  real numbers, without names.

    Raises:
        RecipeError: the column is missing, or the source's names do not fit the data.
        FormatError: a label is missing or unknown; the message says where the first one is.
    """
    if source.label is None:
        return None, ()
    if source.label not in table.loaders:
        raise RecipeError(f"{table.lacks(source.label)} For examples without labels set 'label: null'.")
    column = table.together(source.label, count_inputs(table, source))
    values = [column[row] for row in rows]

    def place(i: int) -> str:
        return f"{table.place(rows[i])}: label {shortened(repr(values[i]))}"

    if source.scores:
        return _scores(values, place), ()
    if table.classes:
        numbers = _numbers(values, _index(table.classes, first=0), place, FormatError)
        return _renamed(numbers, table.classes, source) if source.labels else (numbers, table.classes)
    everywhere = list(_everywhere(parts, table, source.label))
    names = source.labels or names_found(everywhere, source.path)
    themselves = any(map(WHOLE.fullmatch, names))
    index = _index(names, None if themselves else first_number(everywhere, len(names)))
    return _numbers(values, index, place, RecipeError if source.labels else FormatError), names


def _scores(values: Iterable[Any], place: Place) -> npt.NDArray[np.float64]:
    out = []
    for i, value in enumerate(values):
        number = REAL.fullmatch(str(value).strip()) if not isinstance(value, bool) else None
        if number is None or not math.isfinite(float(number[0])):
            raise FormatError(f"{place(i)} is no real number, as 'scores: true' says.")
        out.append(float(number[0]))
    return np.array(out, np.float64)


def _numbers(
    values: Iterable[Any], index: Callable[[Label], int], place: Place, wrong: type[TaskVecError]
) -> npt.NDArray[np.int64]:
    out = []
    for i, value in enumerate(values):
        try:
            out.append(index(label_of(value)))
        except NoLabelError as exc:
            raise wrong(f"{place(i)} {exc}") from exc
    return np.array(out, np.int64)


def _index(names: Sequence[str], first: int | None) -> Callable[[Label], int]:
    """Return what finds a label among the names; numbers count from `first`, or are names themselves with None."""
    places = {name: i for i, name in enumerate(names)}
    known = shortened(", ".join(names), 120)

    def index(label: Label) -> int:
        if str(label) in places and (first is None or isinstance(label, str)):
            return places[str(label)]
        if label in TRUTH and len(names) == 2:
            return TRUTH.index(label)
        if first is None or not (isinstance(label, int) or WHOLE.fullmatch(label)):
            raise NoLabelError(f"is not among {known}.{suggest(label, names)}")
        if not 0 <= int(label) - first < len(names):
            raise NoLabelError(f"is not among {first} to {first + len(names) - 1}, the numbers of {known}.")
        return int(label) - first

    return index


def _everywhere(parts: Parts, table: Table, label: str) -> Iterable[Any]:
    """Return the labels of all splits, so that the same label has the same number in each."""
    for part in [table] if None in parts else [make() for make in parts.values()]:
        if label in part.loaders:
            yield from part.column(label)


def _renamed(numbers: npt.NDArray[np.int64], names: tuple[str, ...], source: Source) -> Labels:
    """Return the labels under the source's names, which stand beside names in the data."""
    if set(names) == set(source.labels):
        order = np.array([source.labels.index(name) for name in names], np.int64)
        return order[numbers], source.labels
    if len(names) != len(source.labels):
        there = shortened(", ".join(names), 80)
        raise RecipeError(f"{source.path} has {len(names)} labels ({there}), and 'labels' names {len(source.labels)}.")
    return numbers, source.labels
