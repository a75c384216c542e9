"""Where a tensor stands in the model's depth, and what a value is there."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from ..errors import RecipeError
from ..store.layers import layer_of

BEFORE_LAYERS = ("embed", "wte", "wpe")


class Depth:
    """The stacks of layers of a model, and interpolation over them.

    A list of numbers is spread evenly over the layers of a stack: the first layer takes the first, the last layer
    the last, those between are interpolated. A tensor outside the layers (an embedding, a final norm, a head) takes
    the first number; so does mergekit.
    """

    def __init__(self, names: Iterable[str]) -> None:
        """Count the layers of each stack."""
        self.layers: dict[str, int] = {}
        for place in map(layer_of, names):
            if place:
                self.layers[place[0]] = max(self.layers.get(place[0], 0), place[1] + 1)

    def of(self, name: str) -> float:
        """Return how deep a tensor stands, from 0 (first layer, or outside) to 1 (last layer)."""
        place = layer_of(name)
        if place is None:
            return 0.0
        count = self.layers.get(place[0], 1)
        return place[1] / (count - 1) if count > 1 else 1.0

    def through(self, name: str) -> float:
        """Return how far through the model a tensor stands: as `of`, but 1 for what follows the layers.

        Outside the layers only names of input embeddings ("embed", "wte", "wpe") stand at the beginning.
        """
        if layer_of(name) is None:
            return 0.0 if any(part in name for part in BEFORE_LAYERS) else 1.0
        return self.of(name)

    def at(self, value: Any, name: str) -> Any:
        """Return what a value is for a tensor: a list of numbers interpolated, anything else itself.

        >>> Depth(["h.0.w", "h.1.w", "h.2.w"]).at([0, 1], "h.1.w")
        0.5
        """
        return spread(value, self.of(name))


def spread(value: Any, t: float) -> Any:
    """Return what a value is at a depth from 0 to 1: a list of numbers interpolated, anything else itself.

    >>> spread([0, 1, 0], 0.25), spread("row", 0.25)
    (0.5, 'row')
    """
    if not isinstance(value, list):
        return value
    place = t * (len(value) - 1)
    low = min(int(place), len(value) - 1)
    high = min(low + 1, len(value) - 1)
    return (1 - (place - low)) * value[low] + (place - low) * value[high]


def matches(name: str, pattern: str) -> bool:
    """Tell whether a glob matches a whole name."""
    return fnmatchcase(name, pattern)


def in_layers(name: str, layers: str | int | None) -> bool:
    """Tell whether a tensor lies in a layer, or in a range of layers with both ends.

    >>> in_layers("h.3.w", "0-3"), in_layers("h.4.w", "0-3"), in_layers("head", None)
    (True, False, True)

    Raises:
        RecipeError: neither a number nor a range.
    """
    if layers is None:
        return True
    first, last = ends_of(layers)
    place = layer_of(name)
    return place is not None and first <= place[1] <= last


def ends_of(layers: str | int) -> tuple[int, int]:
    """Return the first and the last layer of a range.

    Raises:
        RecipeError: neither a number nor a range.
    """
    match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", str(layers))
    if not match or int(match.group(2) or match.group(1)) < int(match.group(1)):
        raise RecipeError(f"'layers' must be a layer or a range such as '0-3', got {layers!r}.")
    return int(match.group(1)), int(match.group(2) or match.group(1))


def outside(owner: str, prefix: str, count: int) -> str:
    """Return what is said of layers that a stack of layers does not have.

    >>> outside("./math", "model.layers", 4)
    "reaches outside ./math, which has 4 layers ('model.layers.0' to 'model.layers.3')."
    """
    return f"reaches outside {owner}, which has {count} layers ('{prefix}.0' to '{prefix}.{count - 1}')."


def near(pattern: str, names: Iterable[str]) -> str:
    """Return a glob that matches some name and differs in a misspelt part only, else ''.

    >>> near("*.mpl.*", ["h.0.mlp.up.weight"]), near("*self_atn*", ["h.0.self_attn.q"]), near("*.norm", ["h.0.mlp"])
    ('*.mlp.*', '*self_attn*', '')
    """
    names = list(names)
    known = {part for name in names for part in name.split(".") if not part.isdigit()}

    def mended(part: str) -> str:
        core = part.strip("*")
        if not core or core in known or re.search(r"[*?\[\]]", core):
            return part
        found = get_close_matches(core, known, n=1, cutoff=0.6)
        return part.replace(core, found[0]) if found else part

    new = ".".join(map(mended, pattern.split(".")))
    return new if new != pattern and any(matches(name, new) for name in names) else ""


def unmatched(patterns: Sequence[str], names: Iterable[str]) -> str | None:
    """Return the first glob that matches no name."""
    names = list(names)
    return next((p for p in patterns if not any(matches(n, p) for n in names)), None)
