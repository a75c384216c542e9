"""A file of tasks that takes what it leaves out from another."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from ..recipe.yaml_lines import Document
from .schema import validate

KEY = "extends"


def extended(document: Document, path: Path, read: Callable[[Path], Document]) -> Document:
    """Return a document together with what it takes from the file that it extends; one that extends none as it is.

    Of the keys at the top those of this file stand. A file that has `tasks` of its own has these alone, and each takes
    the keys that it leaves out from the other file's task of that name.

    Args:
        document: what stands in the file.
        path: the file; the other one's path starts from its folder.
        read: file → document.

    Raises:
        RecipeError: the other file cannot be read, is no file of tasks, or extends a third.
    """
    data = document.data
    if not isinstance(data, dict) or KEY not in data:
        return document
    if not isinstance(data[KEY], str):
        raise RecipeError(f"{document.at((KEY,))}: '{KEY}' must be the path of a file, got {data[KEY]!r}.")
    other = read(path.parent / data[KEY])
    validate(other)  # what is wrong there is told with its own lines
    if KEY in other.data:
        raise RecipeError(
            f"{document.at((KEY,))}: {other.name} extends another file itself. Name that one, or neither."
        )
    return replace(document, data={**other.data, **data, "tasks": _tasks(data.get("tasks"), other.data["tasks"])})


def _tasks(own: Any, other: dict[str, Any]) -> Any:
    if own is None:
        return other
    if not isinstance(own, dict):
        return own  # told by whoever validates it
    return {name: _task({} if entry is None else entry, other.get(name, {})) for name, entry in own.items()}


def _task(own: Any, other: dict[str, Any]) -> Any:
    return {**other, **own} if isinstance(own, dict) else own
