"""Groups of layers that have a scale or weights of their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape
from typing import Any

from ..errors import RecipeError
from ..recipe.depth import BEFORE_LAYERS, Depth
from ..store.layers import layer_of

EMBEDDINGS, REST = "embeddings", "rest"


@dataclass(frozen=True)
class Group:
    """Some tensors. `where`: the overrides of a recipe that match them; none: they have the recipe's own numbers."""

    name: str
    where: tuple[dict[str, Any], ...] = ()


def make_groups(names: Sequence[str], count: int) -> tuple[Group, ...]:
    """Part a model's tensors into `count` groups of layers next to each other, its embeddings, and the rest.

    Every stack of layers (text and vision) is parted for itself, into as many groups as it has layers at most.

    >>> [g.name for g in make_groups(["embed", "h.0.w", "h.1.w", "h.2.w", "norm"], 2)]
    ['0-1', '2-2', 'embeddings', 'rest']

    Raises:
        RecipeError: there are no layers.
    """
    stacks = Depth(names).layers
    if not stacks or count < 1:
        raise RecipeError(
            f"the model has no layers that could be parted into {count} groups. Search all tensors as one."
        )
    groups = []
    for prefix, layers in stacks.items():
        match = "*" if len(stacks) == 1 else f"{escape(prefix)}.*" if prefix else "[0-9]*"
        for first, last in _ranges(layers, min(count, layers)):
            name = f"{first}-{last}" if len(stacks) == 1 else f"{prefix}.{first}-{last}"
            groups.append(Group(name, ({"match": match, "layers": f"{first}-{last}"},)))
    outside = [name for name in names if layer_of(name) is None]
    embeddings = [name for name in outside if any(part in name for part in BEFORE_LAYERS)]
    if embeddings:
        groups.append(Group(EMBEDDINGS, tuple({"match": escape(name)} for name in embeddings)))
    if len(embeddings) < len(outside):
        groups.append(Group(REST))
    return tuple(groups)


def _ranges(layers: int, count: int) -> list[tuple[int, int]]:
    """Return the first and last layer of each group; the first ones are larger where it does not come out even."""
    size, more = divmod(layers, count)
    ranges, first = [], 0
    for i in range(count):
        last = first + size + (i < more) - 1
        ranges.append((first, last))
        first = last + 1
    return ranges
