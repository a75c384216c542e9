"""The inputs of examples: texts, pairs of texts, or images."""

from collections.abc import Iterable
from typing import Any, Literal

from ...errors import FormatError, RecipeError
from .examples import Source
from .images import stored
from .table import Table, shortened

Kind = Literal["text", "pair", "image"]


def input_columns(table: Table, source: Source) -> tuple[str, ...]:
    """Return the names of the columns that hold the inputs.

    Raises:
        RecipeError: there are both texts and images, or neither.
    """
    texts, image = _texts(source), source.image
    has_text = bool(texts) and all(name in table.loaders for name in texts)
    has_image = image is not None and image in table.loaders
    if has_text and has_image:
        raise RecipeError(
            f"{table.name} has both '{texts[0]}' and '{image}': set 'image: null' to read its texts, "
            f"'text: null' to read its images."
        )
    if has_image:
        return (str(image),)
    if not has_text:
        _refuse(table, source)
    return texts


def count_inputs(table: Table, source: Source) -> int:
    """Return how many rows there are."""
    return len(table.column(input_columns(table, source)[0]))


def _texts(source: Source) -> tuple[str, ...]:
    return (source.text,) if isinstance(source.text, str) else source.text or ()


def _refuse(table: Table, source: Source) -> None:
    """Say which column is missed: the one that was named, not the one that is looked for by default."""
    missing = [name for name in _texts(source) if name not in table.loaders]
    if source.image is not None and (not missing or source.image != "image"):
        missing = [source.image]
    if not missing:
        raise RecipeError(f"{source.path}: 'text' and 'image' are both null; name the column with the inputs.")
    raise RecipeError(table.lacks(missing[0]))


def read_inputs(table: Table, rows: Iterable[int], source: Source) -> tuple[Kind, list[Any]]:
    """Return what the inputs are, and those of the given rows.

    Raises:
        RecipeError: the column is missing.
        FormatError: an input is no text, or nothing that an image is stored as.
    """
    names = input_columns(table, source)
    columns = [table.column(names[0])]
    if names == (source.image,):
        return "image", [stored(columns[0][row], table.folder, table.place(row)) for row in rows]
    columns += [table.together(name, len(columns[0])) for name in names[1:]]
    texts = [[_text(table, name, column, row) for row in rows] for name, column in zip(names, columns, strict=True)]
    return ("text", texts[0]) if len(texts) == 1 else ("pair", list(zip(*texts, strict=True)))


def _text(table: Table, name: str, column: Any, row: int) -> str:
    value = column[row]
    if isinstance(value, str):
        return value
    raise FormatError(f"{table.place(row)}: '{name}' is {shortened(repr(value))}, where a text was expected.")
