"""What a measurement will take, said beforehand."""

from dataclasses import dataclass
from math import prod
from typing import Any

from ..store.statistics import part_shapes
from .sums import HALVES
from .sweeps import Slopes, linear_layers, passes_of, sweeps_of
from .work import Work

BYTES = 4


@dataclass(frozen=True)
class Cost:
    """What a measurement will take.

    batches: of how many the examples are. forward, backward: how often each example goes through the model, and back.
    disk: bytes that are written. memory: bytes of weights and sums, at their most; activations come to it.
    alone: passes take one example each, because some weights cannot be told apart in batches.
    """

    examples: int
    batches: int
    forward: int
    backward: int
    disk: int
    memory: int
    alone: bool


def cost_of(work: Work) -> Cost:
    """Return what a measurement will take; a few examples are run for it."""
    sweeps = [make is Slopes for make in sweeps_of(work)]
    own = 0 if work.how.estimator == "gram" else passes_of(work)
    backward = sum(1 if slopes else own for slopes in sweeps)
    parts = _parts(work)
    disk = BYTES * sum(prod(shape) for shapes in parts for shape in shapes.values())
    held = sum(p.numel() * p.element_size() for p in work.module.parameters())
    alone = work.found.alone and work.how.estimator != "batch_fisher"
    return Cost(len(work), len(work.batches), len(sweeps), backward, disk, held + (HALVES + 1) * disk, alone)


def _parts(work: Work) -> list[dict[str, Any]]:
    """Return the parts of each weight that will be measured."""
    linear = {} if work.how.kind == "diagonal" else linear_layers(work)
    names = linear if work.how.kind == "gram" else work.found.reached
    return [
        part_shapes(
            work.how.kind if name in linear else "diagonal",
            tuple(work.module.get_parameter(name).shape),
            turned=name in linear and linear[name].turned,
            gradient=work.how.gradient,
        )
        for name in names
        if name in work.places
    ]
