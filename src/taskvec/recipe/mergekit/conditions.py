"""What a parameter of mergekit's is for which tensors."""

import re
from collections.abc import Sequence
from glob import escape
from typing import Any

from ...errors import RecipeError
from ...merge.registry import suggest
from ..yaml_lines import Document, Path
from .reading import Place

Chain = list[tuple[str | None, Any]]
"""(filter, value) in the order of precedence; the last has no filter and holds for every other tensor."""

UNSAID = object()
"""The default of a parameter that has none."""


def chain(document: Document, key: str, default: Any, places: Sequence[Place]) -> Chain:
    """Return what a parameter is under which filter, from the places that may say it, the nearest first.

    mergekit takes the first filter that occurs in a tensor's name, then looks in the next place. The default ends
    the chain; without one the chain may be empty.

    Raises:
        RecipeError: a condition without a value, or filters only, where there is no default.
    """
    found: Chain = []
    said: Path = ()
    for parameters, path in places:
        if (value := parameters.get(key)) is not None:
            found += _conditions(document, (*path, key), value)
            said = said or (*path, key)
    found += [] if default is UNSAID else [(None, default)]
    for at, (name, _) in enumerate(found):
        if name is None:
            return found[: at + 1]
    if found:
        raise RecipeError(f"{document.at(said)}: '{key}' has filters but no value for the other tensors.")
    return []


def _conditions(document: Document, path: Path, value: Any) -> Chain:
    items = value if isinstance(value, list) else [value]
    if not any(isinstance(item, dict) for item in items):
        return [(None, value)] if value != [] else []
    out: Chain = []
    for item in items:
        given = item if isinstance(item, dict) else {}
        if odd := [key for key in given if key not in ("filter", "value")]:
            hint = suggest(odd[0], ("filter", "value"))
            raise RecipeError(f"{document.at(path)}: unknown key '{odd[0]}'.{hint}")
        if "value" not in given:
            raise RecipeError(f"{document.at(path)}: a filter of '{path[-1]}' has no 'value'.")
        out.append((None if given.get("filter") in (None, "", "*") else str(given["filter"]), given["value"]))
    return out


def glob(name: str | None) -> str:
    """Return the glob of all names that hold a filter's text."""
    return f"*{escape(name or '')}*"


def filter_of(match: str) -> str | None:
    """Return the text whose `glob` a glob is, or None.

    >>> filter_of(glob("h[0]")), filter_of("*.mlp.*.weight"), filter_of("norm*")
    ('h[0]', None, None)
    """
    text = re.sub(r"\[([*?[])\]", r"\1", match[1:-1])
    return text if text and match == glob(text) else None


def moved(found: Chain, first: int, last: int, to: int) -> Chain:
    """Return a chain for names in the output, where its filters speak of layers of a model.

    Layers `first` … `last` of the model are those from `to` on. A filter that names another layer never holds; one
    that ends or begins within a layer's number ("layers.1" is in layers.1 and layers.12) holds for each of them.
    """
    return [(new, value) for name, value in found for new in _moved(name, first, last, to)]


def _moved(name: str | None, first: int, last: int, to: int) -> list[str | None]:
    place = LAYER.search(name or "")
    if name is None or place is None or place["before"].endswith("experts."):
        return [name]
    before, number, after = place["before"], place["number"], name[place.end("number") :]

    def holds(layer: str) -> bool:
        if before and after:
            return layer == number
        return layer.startswith(number) if before else layer.endswith(number) if after else number in layer

    layers = [n for n in range(first, last + 1) if holds(str(n))]
    return [f"{before or '.'}{n - first + to}{after or '.'}" for n in layers]


LAYER = re.compile(r"^(?P<before>(?:.*?\.)??)(?P<number>\d+)(?=\.|$)")
"""The first number in a filter that may be a layer's: whole between dots, or at an end of the text."""


def names_layers(found: Chain) -> bool:
    """Tell whether a filter speaks of a layer's number."""
    return any(LAYER.search(name or "") for name, _ in found)
