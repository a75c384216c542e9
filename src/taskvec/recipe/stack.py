"""Which tensors of which models each tensor of the output is made of: name by name, or layer by layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import MismatchError, RecipeError
from ..store.checkpoint import INPUT_EMBEDDINGS, OUTPUT_HEADS, Checkpoint
from ..store.layers import layer_of
from .depth import BEFORE_LAYERS, Depth, matches, outside
from .inputs import Pool, check_types
from .schema import Part, PartEntry, Recipe

NONE = "none"
"""No layer: a part of its own for what comes before, or after, the layers."""

BASE = -1
"""The number of a recipe's base."""

Source = tuple[int, str]
"""A model or a base, by its number, and the name of a tensor there."""


@dataclass(frozen=True)
class Place:
    """A tensor of the output.

    part: in which part of the recipe. origin: whose shape and type it has, and what it is if nothing is merged.
    sources: one a model of the part, in their order. t: how deep it stands in its part, for lists over depth.
    through: how far through the output, from 0 (what comes before the layers) to 1 (the last, and what follows).
    """

    name: str
    part: int
    origin: Source
    sources: tuple[Source, ...]
    t: float
    through: float


@dataclass(frozen=True)
class Tower:
    """A stack of layers, the parts it is built of, and (once known) which layer of which origin each layer is."""

    prefix: str
    parts: tuple[int, ...]
    order: tuple[tuple[int, int], ...] = ()


def places_by_name(pool: Pool) -> list[Place]:
    """Return the places of a plain recipe: the reference's names, the same in every model."""
    number = BASE if pool.bases else 0
    names = list(pool[number].checkpoint.tensors)
    depth, models = Depth(names), range(len(pool.models))
    return [Place(n, 0, (number, n), tuple((i, n) for i in models), depth.of(n), depth.through(n)) for n in names]


class Stack:
    """The places of a recipe whose output is built layer by layer."""

    def __init__(self, recipe: Recipe, pool: Pool, numbers: Sequence[Sequence[int]], bases: Sequence[int | None]):
        """Take the models, and for each part the numbers of its models in their order, and that of its base."""
        self.recipe, self.pool, self.numbers, self.bases = recipe, pool, numbers, bases

    def build(self) -> tuple[list[Place], list[Tower]]:
        """Return the places and the towers.

        Raises:
            RecipeError: layers that a model does not have, or that are not as many in all models of a part.
            MismatchError: tensors that a model lacks, or parts whose shapes do not join.
        """
        places: list[Place] = []
        built = []
        towers = self._towers()
        for tower in towers:
            order: list[tuple[int, int]] = []
            layers = []
            for p in tower.parts:
                layers += self._layers(tower.prefix, p, order)
            through = Depth(p.name for p in layers)
            layers = [Place(p.name, p.part, p.origin, p.sources, p.t, through.of(p.name)) for p in layers]
            places += layers
            built.append(Tower(tower.prefix, tower.parts, tuple(order)))
        places += self._outside(towers)
        self._check_joins(places)
        rank = {name: i for i, name in enumerate(self._checkpoint(self._origin(0)).tensors)}
        return sorted(places, key=lambda p: (rank.get(p.name, len(rank)), p.part)), built

    def _checkpoint(self, number: int) -> Checkpoint:
        return self.pool[number].checkpoint

    def _name(self, number: int) -> str:
        return self.pool[number].name

    def _origin(self, part: int) -> int:
        base = self.bases[part]
        return self.numbers[part][0] if base is None else base

    def _towers(self) -> list[Tower]:
        grouped: dict[str | None, list[int]] = {}
        for p, part in enumerate(self.recipe.stack):
            grouped.setdefault(part.tower, []).append(p)
        return [Tower(self._prefix(name, parts[0]), tuple(parts)) for name, parts in grouped.items()]

    def _prefix(self, tower: str | None, part: int) -> str:
        """Return the beginning of the layers' names, e.g. 'model.layers'."""
        number = self._origin(part)
        stacks = list(Depth(self._checkpoint(number).tensors).layers)
        found = [s for s in stacks if tower is None or s == tower or s.startswith(f"{tower}.")]
        if len(found) == 1:
            return found[0]
        listed = ", ".join(f"'{s}'" for s in stacks) or "none"
        if tower is None:
            raise RecipeError(
                f"{self._name(number)} has {len(stacks)} stacks of layers ({listed}). Type e.g. 'tower: …'."
            )
        raise RecipeError(f"'tower: {tower}' names {len(found)} stacks of layers of {self._name(number)}: {listed}.")

    def _layers(self, prefix: str, p: int, order: list[tuple[int, int]]) -> list[Place]:
        """Return the places of a part's layers; `order` grows by the layers they come from."""
        part = self.recipe.stack[p]
        ranges = [self._range(entry.layers, number, prefix) for entry, number in self._entries(p)]
        own = ranges[0] if part.base_layers is None else self._range(part.base_layers, self._origin(p), prefix)
        if self.bases[p] is None and part.base_layers is not None:
            raise RecipeError("'base_layers' is given, but there is no base. Type 'base: …', or remove it.")
        origin_range = ranges[0] if self.bases[p] is None else own
        for (entry, _), span in zip(self._entries(p), ranges, strict=True):
            if len(span) != len(origin_range):
                raise RecipeError(
                    f"a part of the stack takes {len(span)} layers of {entry.model} but {len(origin_range)} of "
                    f"{self._name(self._origin(p))}. Give ranges of the same length."
                )
        places = []
        for offset in range(len(origin_range)):
            t = offset / (len(origin_range) - 1) if len(origin_range) > 1 else 1.0
            at = [(number, span[offset]) for (_, number), span in zip(self._entries(p), ranges, strict=True)]
            places += self._layer(prefix, p, len(order), (self._origin(p), origin_range[offset]), at, t)
            order.append((self._origin(p), origin_range[offset]))
        return places

    def _entries(self, p: int) -> list[tuple[PartEntry, int]]:
        return list(zip(self.recipe.stack[p].models, self.numbers[p], strict=True))

    def _range(self, layers: str | int | None, number: int, prefix: str) -> range:
        count = Depth(self._checkpoint(number).tensors).layers.get(prefix, 0)
        if layers is None or layers == NONE:
            return range(count if layers is None else 0)
        first, last = parse_range(layers)
        if last >= count:
            said = self._said(self._name(number), first, last) or f"'layers: {layers}'"
            raise RecipeError(f"{said} {outside(self._name(number), prefix, count)}")
        return range(first, last + 1)

    def _said(self, name: str, first: int, last: int) -> str:
        """Return what a file in mergekit's form says for a range of layers; '' if it does not say it."""
        given = [first, last + 1]
        found = list(self.recipe.origin.find("layer_range", given))
        mine = [at for at, source in found if name.endswith(str(source.get("model")).removeprefix("./"))]
        return next((f"{at}: 'layer_range: {given}'" for at in mine), "")

    def _layer(
        self, prefix: str, p: int, out: int, origin: tuple[int, int], at: list[tuple[int, int]], t: float
    ) -> list[Place]:
        suffixes = self._suffixes(prefix, *origin)
        for number, layer in at:
            self._check_suffixes(prefix, out, origin, suffixes, (number, layer))
        return [
            Place(
                f"{prefix}.{out}{s}",
                p,
                (origin[0], f"{prefix}.{origin[1]}{s}"),
                tuple((number, f"{prefix}.{layer}{s}") for number, layer in at),
                t,
                0.0,
            )
            for s in suffixes
        ]

    def _suffixes(self, prefix: str, number: int, layer: int) -> list[str]:
        head = f"{prefix}.{layer}"
        return [n[len(head) :] for n in self._checkpoint(number).tensors if n.startswith(f"{head}.") or n == head]

    def _check_suffixes(
        self, prefix: str, out: int, origin: tuple[int, int], suffixes: list[str], other: tuple[int, int]
    ) -> None:
        theirs = set(self._suffixes(prefix, *other))
        for one, two, names in ((other, origin, set(suffixes) - theirs), (origin, other, theirs - set(suffixes))):
            for suffix in sorted(names):
                delta = one == other and self.pool[other[0]].kind == "delta"
                name = f"{prefix}.{out}{suffix}"
                if not delta and not self._ignored(name):
                    raise MismatchError(
                        f"{self._name(one[0])} has no '{prefix}.{one[1]}{suffix}', which layer {two[1]} of "
                        f"{self._name(two[0])} would be merged with. Add '{name}' (its name in the output) to "
                        f"'ignore', or choose other layers."
                    )

    def _ignored(self, name: str) -> bool:
        return any(matches(name, pattern) for pattern in self.recipe.ignore)

    def _outside(self, towers: Sequence[Tower]) -> list[Place]:
        """Return the places outside the layers: what comes before them by the first part, the rest by the last."""
        places: dict[str, Place] = {}
        for tower in towers:
            mine = tower.prefix.rpartition(".")[0] if len(towers) > 1 else ""
            for p, before in ((tower.parts[0], True), (tower.parts[-1], False)):
                number = self._origin(p)
                for name in self._checkpoint(number).tensors:
                    inside = any(name.startswith(f"{t.prefix}.") for t in towers)
                    foreign = layer_of(name) is not None and len(towers) == 1 and not inside
                    if inside or not name.startswith(mine) or foreign or before != _is_before(name):
                        continue
                    sources = tuple((k, name) for k in self.numbers[p])
                    places.setdefault(name, Place(name, p, (number, name), sources, 0.0, 0.0 if before else 1.0))
        last = towers[0].parts[-1]
        for name in self._heads(last):
            sources = tuple((k, name) for k in self.numbers[last])
            places.setdefault(name, Place(name, last, (self._origin(last), name), sources, 0.0, 1.0))
        for name in self._checkpoint(self._origin(0)).tensors:
            if name not in places and not any(name.startswith(f"{t.prefix}.") for t in towers):
                sources = tuple((k, name) for k in self.numbers[0])
                places[name] = Place(name, 0, (self._origin(0), name), sources, 0.0, 1.0)
        for place in places.values():
            for number, name in place.sources:
                if self._checkpoint(number).resolve(name) is None and self.pool[number].kind == "weights":
                    raise MismatchError(f"{self._name(number)} lacks '{name}', which the stack takes from it.")
        for tower in towers:
            self._check_extra(places, towers, tower.parts[0], True)
            self._check_extra(places, towers, tower.parts[-1], False)
        return list(places.values())

    def _heads(self, p: int) -> list[str]:
        """Return output heads that the output stores though the part's origin ties them to its embedding.

        The output takes its config, and so its ties, from the reference. A head is stored where this unties it, and
        where a model of the part has one of its own.
        """
        origin, reference = self._checkpoint(self._origin(p)), next(iter(self.pool)).checkpoint
        models = [self.pool[number].checkpoint for number in self.numbers[p]]
        return [
            name
            for name in OUTPUT_HEADS
            if name not in origin.tensors
            and origin.resolve(name)
            and ((name in reference.tensors) or any(owns_head(model, name) for model in models))
            and not self._ignored(name)
        ]

    def _check_extra(self, places: Mapping[str, Place], towers: Sequence[Tower], p: int, before: bool) -> None:
        """Refuse what a model has outside the layers, that its origin lacks, as where models are merged whole."""
        origin = self._origin(p)
        for number in self.numbers[p]:
            model = self._checkpoint(number)
            for name in model.tensors if number != origin else ():
                if layer_of(name) is not None or name in places or before != _is_before(name) or self._ignored(name):
                    continue
                if self._checkpoint(origin).resolve(name) is None or owns_head(model, name):
                    raise MismatchError(
                        f"{self._name(number)} has '{name}', which {self._name(origin)} lacks. "
                        f"Add it to 'ignore' to leave it out."
                    )

    def _check_joins(self, places: Sequence[Place]) -> None:
        """Refuse layers of other sizes than those before them, and models of other sizes in one part."""
        first: dict[str, Place] = {}
        for place in places:
            here = self._checkpoint(place.origin[0]).info(place.origin[1])
            shape = here.shape
            for number, name in place.sources if not self._ignored(place.name) else ():
                there = self._checkpoint(number).resolve(name)
                check_types((self.pool[place.origin[0]], here), (self.pool[number], there))
                if there and there.shape != shape:
                    raise MismatchError(
                        f"'{name}' is {there.shape} in {self._name(number)} but {shape} in "
                        f"{self._name(place.origin[0])}, which it would be merged with."
                    )
            kind = _kind(place.name)
            before = first.setdefault(kind, place)
            expected = self._checkpoint(before.origin[0]).info(before.origin[1]).shape
            if shape != expected and before.origin[0] != place.origin[0]:
                raise MismatchError(
                    f"the parts of the stack do not join: '{place.origin[1]}' of {self._name(place.origin[0])} is "
                    f"{shape}, but '{before.origin[1]}' of {self._name(before.origin[0])} is {expected}."
                )
        self._check_rows(places)

    def _check_rows(self, places: Sequence[Place]) -> None:
        """Refuse a head that has other rows than the embedding, if they come from different models."""
        embedding = next((p for p in places if p.name.endswith(INPUT_EMBEDDINGS)), None)
        if embedding is None:
            return
        there, others = self._rows(embedding)
        for head in (p for p in places if p.name in OUTPUT_HEADS):
            here, rows = self._rows(head)
            if here != there and rows != others:
                raise MismatchError(
                    f"the parts of the stack do not join: '{head.name}' of {here} has {rows} rows, but "
                    f"'{embedding.name}' of {there} has {others}. "
                    f"Give them one vocabulary, e.g. 'vocabulary: union'."
                )

    def _rows(self, place: Place) -> tuple[str, int]:
        number, name = place.origin
        return self._name(number), (*self._checkpoint(number).info(name).shape, 0)[0]


def owns_head(model: Checkpoint, name: str) -> bool:
    """Tell whether a model has an output head of its own: stored, and not tied to its embedding."""
    return name in OUTPUT_HEADS and name in model.tensors and model.tied_to(name) is None


def _is_before(name: str) -> bool:
    return layer_of(name) is None and any(part in name for part in BEFORE_LAYERS)


def _kind(name: str) -> str:
    """Return what a tensor is called in every layer."""
    place = layer_of(name)
    return name if place is None else f"{place[0]}.*{name[len(f'{place[0]}.{place[1]}') :]}"


def parse_range(layers: str | int) -> tuple[int, int]:
    """Read a layer, or a range of layers with both ends.

    >>> parse_range("0-3"), parse_range(5)
    ((0, 3), (5, 5))

    Raises:
        RecipeError: neither.
    """
    first, dash, last = str(layers).partition("-")
    try:
        span = int(first), int(last if dash else first)
    except ValueError:
        span = (1, 0)
    if not 0 <= span[0] <= span[1]:
        raise RecipeError(f"'layers' must be a layer or a range such as '0-3', got {layers!r}.")
    return span


def numbered(parts: Sequence[Part], bases: Sequence[str | None]) -> tuple[list[PartEntry], list[list[int]]]:
    """Return the models of all parts, each once for each base, and for each part the numbers of its models."""
    unique: dict[str, tuple[int, PartEntry]] = {}
    numbers = []
    for part, base in zip(parts, bases, strict=True):
        keys = [f"{entry.model}\0{entry.rename}\0{base}" for entry in part.models]
        for key, entry in zip(keys, part.models, strict=True):
            unique.setdefault(key, (len(unique), entry))
        numbers.append([unique[key][0] for key in keys])
    return [entry for _, entry in unique.values()], numbers
