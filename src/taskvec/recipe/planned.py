"""A plan: everything that a run needs to know, and the hash that says whether another run may go on from it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from .._version import __version__
from ..merge import Method
from ..store.hub import locate
from ..store.layout import Layout
from ..store.sidecars import sidecars
from ..store.tensors import Files, Tensor
from ..store.vocabulary import VocabularyPlan
from .budget import Budget
from .choices import Choice
from .curved import Sides
from .inputs import Input, Pool
from .kinship import Kinship
from .schema import Recipe
from .stack import Source, Tower, owns_head
from .units import Unit, space_of


@dataclass(frozen=True)
class Plan:
    """A merge that may be run. `listed` are the models as the recipe lists them, `models` as they are added up.

    choice: what `scale: auto` has found; the recipe has the number. curvature: the statistics measured on data that go
    with a tensor of the output, by its name.
    """

    recipe: Recipe
    method: Method
    bases: tuple[Input, ...]
    listed: tuple[Input, ...]
    models: tuple[Input, ...]
    units: tuple[Unit, ...]
    towers: tuple[Tower, ...]
    vocabulary: VocabularyPlan | None
    layout: Layout
    budget: Budget
    kinship: list[Kinship]
    notes: list[str]
    choice: Choice | None = None
    curvature: Mapping[str, Sides] = field(default_factory=dict)

    @property
    def base(self) -> Input | None:
        """The recipe's base; parts of a stack may have others."""
        return self.bases[0] if self.bases else None

    @property
    def pool(self) -> Pool:
        """Everything that is read, by the numbers that units call it."""
        return Pool(self.bases, self.models)

    @property
    def reference(self) -> Input:
        """The base, or the first model: whose names, shapes, types and files the output takes."""
        return self.base or self.listed[0]

    @property
    def unties(self) -> bool:
        """Whether a stack has an output head of its own, which the reference's config would tie to the embedding."""
        checkpoint = self.reference.checkpoint
        heads = [u.name for u in self.units if checkpoint.tied_to(u.name)] if self.towers else []
        last = {number for u in self.units if u.name in heads for number, _ in (u.origin, *u.sources)}
        return any(owns_head(self.pool[number].checkpoint, name) for number in last for name in heads)

    @property
    def space(self) -> str:
        """What is merged here: `delta` or `weight`."""
        return space_of(self.method, self.recipe)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Everything that is read."""
        return (*self.bases, *self.listed)

    @property
    def passes(self) -> int:
        """How often the inputs are read: once, and before that for what finds statistics."""
        return max((self.method.needs.passes(u.settings) for u in self.units if u.merged), default=1)

    @property
    def bytes_read(self) -> int:
        """Bytes that will be read, if no pass has to be repeated."""
        return sum(self.unit_bytes(unit) for unit in self.units)

    def unit_bytes(self, unit: Unit, curved: bool = True) -> int:
        """Return the bytes that are read for one unit in all passes; its statistics once, or not at all."""
        passes = self.passes if unit.merged else 1
        return self.sources_bytes(unit) * passes + (self.curvature_bytes(unit) if curved else 0)

    def curvature_bytes(self, unit: Unit) -> int:
        """Return the bytes of the statistics of one unit."""
        return self.curvature[unit.name].nbytes if unit.name in self.curvature else 0

    def slice_of(self, unit: Unit) -> int:
        """Return how many entries of a unit are worked on at a time: whole rows or pieces where it must be those."""
        if unit.whole:
            return max(1, prod(unit.piece))
        if unit.merged and self.method.needs.scope == "row":
            return max(1, self.budget.slice // max(1, unit.columns)) * max(1, unit.columns)
        return self.budget.slice

    def sources_bytes(self, unit: Unit) -> int:
        """Return the bytes of all inputs of one unit."""
        return self._bytes_of[unit.name]

    @cached_property
    def _bytes_of(self) -> dict[str, int]:
        return {u.name: sum(tensor.nbytes for _, tensor in self.read(u)) for u in self.units}

    def origin(self, unit: Unit) -> tuple[Input, Tensor]:
        """Return whose shape and type a unit has: the base's tensor, or the first model's."""
        return self._find(unit.origin)

    def read(self, unit: Unit) -> list[tuple[Input, Tensor]]:
        """Return what is read for a unit: the base's tensor and each model's; the origin alone if it is copied."""
        base = [unit.origin] if unit.origin[0] < 0 or not unit.merged else []
        return [self._find(source) for source in (*base, *(unit.sources if unit.merged else ()))]

    def files(self, unit: Unit) -> list[tuple[Files, Tensor]]:
        """Return everything that is read for a unit, its statistics too, and by what."""
        statistics = [(known.files, part) for known in self.curvature.get(unit.name, ()) for part in known.tensors]
        return [*((model.checkpoint.files, tensor) for model, tensor in self.read(unit)), *statistics]

    def sources(self, unit: Unit) -> list[tuple[Input, Tensor]]:
        """Return the models' tensors that a unit is merged from."""
        return [self._find(source) for source in unit.sources]

    def _find(self, source: Source) -> tuple[Input, Tensor]:
        found = self.pool[source[0]]
        return found, found.checkpoint.info(source[1])

    def widest(self) -> tuple[int, float]:
        """Return the most models that a unit has, and the most bytes an entry that reading a unit's tensors takes."""
        merged = [u for u in self.units if u.merged]
        tasks = max((len(u.sources) for u in merged), default=1)
        return tasks, max((sum(tensor.scratch for _, tensor in self.read(u)) for u in merged), default=0.0)

    def digest(self) -> str:
        """Return a hash of everything that decides the output's bytes; a journal belongs to one digest."""
        inputs = (self.reference, *self.bases, *self.models)
        facts: dict[str, Any] = {
            "version": __version__,
            "method": self.method.name,
            "inputs": [i.fingerprint for i in inputs],
            "files": [_stamp(i) for i in inputs],
            "units": [asdict(u) for u in self.units],
            "headers": [hashlib.sha256(f.header).hexdigest() for f in self.layout.files],
            "stack": [asdict(tower) for tower in self.towers],
            "beside": _stamps_beside([*(i.checkpoint.folder for i in inputs), tokenizer_folder(self)]),
            "vocabulary": [self.recipe.data.get(key) for key in ("vocabulary", "chat_template")],
            "rounding": self.recipe.rounding,
            "seed": self.recipe.seed,
            "nonfinite": self.recipe.nonfinite,
            "curvature": [_stamped_statistics(i) for i in (*self.bases, *self.models)] if self.curvature else [],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


Stamp = tuple[str, int, int]
"""A file's name, its size, and when it was written."""


def _stamp(model: Input) -> list[Stamp]:
    return [_stamped(file, file.name) for file in model.checkpoint.on_disk]


def _stamped(file: Path, name: str) -> Stamp:
    stat = file.stat()
    return name, stat.st_size, stat.st_mtime_ns


def _stamped_statistics(model: Input) -> list[Any]:
    """Return what tells the statistics of a model from others: some entries, the trace of all, and the file's stamp."""
    if model.curved is None:
        return []
    statistics = model.curved.statistics
    stamps = [_stamped(file, file.name) for file in statistics.checkpoint.on_disk]
    return [model.curved.fingerprint, statistics.total, *stamps]


def _stamps_beside(folders: Sequence[Path | None]) -> list[list[Stamp]]:
    """Return the stamps of the files beside the weights, which the output's configs and tokenizer are made of."""
    out = []
    for folder in folders:
        names = [*map(str, sidecars(folder)), "config.json"] if folder else []
        out.append([_stamped(folder / name, name) for name in names if folder and (folder / name).is_file()])
    return out


def tokenizer_folder(plan: Plan) -> Path | None:
    """Return the folder whose tokenizer is copied; None where a vocabulary is written."""
    if plan.vocabulary:
        return None
    if plan.recipe.tokenizer == "base":
        return plan.reference.checkpoint.folder
    return locate(plan.recipe.tokenizer)
