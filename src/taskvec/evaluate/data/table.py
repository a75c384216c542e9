"""What every reader gives: rows, column by column, each column read when it is asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import FormatError, RecipeError
from ...merge.registry import suggest

Column = Sequence[Any]


@dataclass(frozen=True, kw_only=True)
class Table:
    """The rows of a file, or of one split of it.

    name: the file, for messages.
    loaders: what reads each column.
    classes: what the numbers in the label column stand for, where the data say so.
    lines: the line on which each row ends; None where rows are not lines.
    folder: where paths of images start; None where images are stored in the table itself.
    hint: one more sentence for somebody who asks for a column that is not there.
    """

    name: str
    loaders: Mapping[str, Callable[[], Column]]
    classes: tuple[str, ...] = ()
    lines: Sequence[int] | None = None
    folder: Path | None = None
    hint: str = ""
    _read: dict[str, Column] = field(default_factory=dict)

    def column(self, name: str) -> Column:
        """Return a column, as Python's own strings, numbers and bytes, or arrays of pixels."""
        if name not in self.loaders:
            raise RecipeError(self.lacks(name))
        if name not in self._read:
            self._read[name] = self.loaders[name]()
        return self._read[name]

    def together(self, name: str, count: int) -> Column:
        """Return a column that must have `count` rows."""
        column = self.column(name)
        if len(column) != count:
            raise FormatError(f"{self.name}: '{name}' has {len(column)} entries, and there are {count} inputs.")
        return column

    def lacks(self, name: str) -> str:
        """Say that a column is not there, and which are."""
        there = ", ".join(f"'{shortened(n)}'" for n in self.loaders)
        return f"{self.name} has no '{name}', only {there}.{suggest(name, self.loaders)}{self.hint}"

    def place(self, row: int) -> str:
        """Say where a row stands, to whoever must find it."""
        return f"{self.name}, index {row}" if self.lines is None else f"{self.name}, line {self.lines[row]}"


Parts = Mapping[str | None, Callable[[], Table]]
"""The splits of a file by name, or under None the whole of a file whose rows may say their split."""


def ready(column: Column) -> Callable[[], Column]:
    """Return what gives a column that is in memory already."""
    return lambda: column


def shortened(value: object, length: int = 40) -> str:
    """Return a value as text short enough for a message.

    >>> shortened("a" * 50, 10)
    'aaaaaaaaa…'
    """
    text = str(value)
    return text if len(text) <= length else text[: length - 1] + "…"


def unpacked(array: np.ndarray[Any, Any]) -> list[Any]:
    """Return the entries of an array along its first axis: strings, numbers, or smaller arrays.

    >>> unpacked(np.array([b"no", b"yes"]))
    ['no', 'yes']
    """
    if array.ndim != 1:
        return list(array)
    values = array.tolist()
    return [v.decode("utf-8") for v in values] if array.dtype.kind == "S" else values
