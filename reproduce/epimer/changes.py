"""What fine-tuning changed: a base and its specialists' task vectors, in memory, tensor by tensor."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from taskvec.merge.matrices import Role, role_of
from taskvec.store import Checkpoint

Vector = Mapping[str, torch.Tensor]
"""A task vector, or a merged one, by the names of the base's files; tensors that are not in it stay as they are."""


@dataclass(frozen=True)
class Changes:
    """A base and its task vectors.

    base: every tensor of floats, in float32. deltas: (task, *shape), of the tensors that some task changed. roles: what
    each of these is.
    """

    base: Vector
    deltas: Vector
    roles: Mapping[str, Role]

    def of(self, task: int) -> Vector:
        """Return one task vector."""
        return {name: rows[task] for name, rows in self.deltas.items()}

    def moved(self, vector: Vector, scale: float) -> Vector:
        """Return base + scale · vector."""
        return {n: x + scale * vector[n] if n in vector else x for n, x in self.base.items()}


def load_changes(base: Path, paths: Sequence[str]) -> Changes:
    """Read a base and its specialists."""
    held: dict[str, torch.Tensor] = {}
    deltas: dict[str, torch.Tensor] = {}
    with ExitStack() as stack:
        first = stack.enter_context(Checkpoint(base))
        others = [stack.enter_context(Checkpoint(path)) for path in paths]
        for name in first:
            if not first[name].is_floating_point():
                continue
            held[name] = first[name].float()
            rows = [other[name].float() for other in others]
            if any(not torch.equal(row, held[name]) for row in rows):
                deltas[name] = torch.stack([row - held[name] for row in rows])
    return Changes(held, deltas, {name: role_of(rows.shape[1:], name) for name, rows in deltas.items()})
