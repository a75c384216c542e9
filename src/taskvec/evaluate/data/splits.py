"""Which rows belong to the split that is asked for."""

import numpy as np
import numpy.typing as npt

from ...errors import RecipeError
from ...merge.registry import suggest
from .examples import Source
from .inputs import count_inputs
from .table import Parts, Table

SPLIT = "split"
Rows = npt.NDArray[np.int64]


def rows_of_split(parts: Parts, source: Source) -> tuple[Table, Rows]:
    """Return the table that holds the split, and the split's rows in it.

    Raises:
        RecipeError: there is no such split, or there are several and none is asked for, or it is empty.
    """
    if None in parts:
        table = parts[None]()
        rows = _rows_that_say(table, source)
    else:
        table = parts[_named(source, [name for name in parts if name is not None])]()
        rows = np.arange(count_inputs(table, source))
    if not len(rows):
        split = f" in its split '{source.split}'" if source.split else ""
        raise RecipeError(f"{source.path} has no examples{split}.")
    return table, rows


def _rows_that_say(table: Table, source: Source) -> Rows:
    """Return the rows whose column `split` says so; all where there is no such column."""
    count = count_inputs(table, source)
    if SPLIT in table.loaders:
        says = np.array([str(value) for value in table.together(SPLIT, count)])
        if not count:
            return np.arange(0)
        return np.flatnonzero(says == _named(source, sorted(set(says.tolist()))))
    if source.split is not None:
        raise RecipeError(f"{table.lacks(SPLIT)} Without splits, leave 'split: {source.split}' out.")
    return np.arange(count)


def _named(source: Source, known: list[str]) -> str:
    """Return the split that is asked for, or the only one."""
    there, usual = ", ".join(known), "test" if "test" in known else known[0]
    if source.split is None and len(known) > 1:
        raise RecipeError(f"{source.path} has the splits {there}; say which, e.g. 'split: {usual}'.")
    if source.split is not None and source.split not in known:
        raise RecipeError(f"{source.path} has no split '{source.split}', only {there}.{suggest(source.split, known)}")
    return known[0] if source.split is None else source.split
