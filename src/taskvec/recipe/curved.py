"""Statistics measured on data, beside the models of a merge: what of them belongs to which tensor of the output."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..store.checkpoint import Checkpoint
from ..store.sample import fingerprint
from ..store.statistics import GRADIENT, Statistics
from ..store.tensors import Files, Tensor

if TYPE_CHECKING:
    from .inputs import Input


@dataclass(frozen=True)
class Curved:
    """The statistics of one model. names: what the merge calls its tensors → what its files do, where these differ."""

    statistics: Statistics
    names: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """Recognises the tensors of statistics, as models are recognised."""
        return fingerprint(self.statistics.checkpoint)

    def find(self, model: Checkpoint, name: str) -> str | None:
        """Return what the statistics call a tensor of the model (or the one it is tied to); None where they lack it."""
        own = name if name in model.tensors else model.tied_to(name) or name
        stored = self.names.get(own, own)
        return stored if stored in self.statistics else None

    @property
    def facts(self) -> dict[str, Any]:
        """What a receipt says of them."""
        told = {key: self.statistics.facts.get(key) for key in ("estimator", "kind", "data", "settings", "total")}
        return {"path": str(self.statistics.path), "fingerprint": self.fingerprint, **told}


@dataclass(frozen=True)
class Known:
    """What the statistics of one model know of one tensor. gradient: whether its gradient is read, too."""

    statistics: Statistics
    name: str
    gradient: bool = False

    @property
    def files(self) -> Files:
        """What reads them."""
        return self.statistics.checkpoint.files

    @property
    def tensors(self) -> list[Tensor]:
        """Everything that is read of it."""
        parts = [*self.statistics.parts(self.name), *([GRADIENT] if self.gradient else [])]
        return [self.statistics.tensor(self.name, part) for part in parts]


@dataclass(frozen=True)
class Sides:
    """The statistics that go with one tensor of the output: those of each task, and the base's where they are used."""

    tasks: tuple[Known, ...]
    base: Known | None = None

    def __iter__(self) -> Iterator[Known]:
        return iter((*self.tasks, *([self.base] if self.base else [])))

    @property
    def nbytes(self) -> int:
        """Bytes of all that is read."""
        return sum(tensor.nbytes for known in self for tensor in known.tensors)


def known_of(model: "Input", name: str, gradient: bool = False) -> Known | None:
    """Return what a model's statistics know of one of its tensors, or None."""
    stored = model.curved.find(model.checkpoint, name) if model.curved else None
    return Known(model.curved.statistics, stored, gradient) if model.curved and stored is not None else None
