"""A tensor by another name."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...ops.floats import Raw
from ..tensors import Files, Tensor, TensorInfo


@dataclass(frozen=True)
class Renamed(Tensor):
    """A computed tensor by another name; its entries are what they were."""

    name: str
    of: Tensor

    @property
    def dtype(self) -> str:  # type: ignore[override]
        """The other's."""
        return self.of.dtype

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """The other's."""
        return self.of.shape

    @property
    def scratch(self) -> float:  # type: ignore[override]
        """The other's."""
        return self.of.scratch

    @property
    def on_disk(self) -> Sequence[TensorInfo]:
        """The other's."""
        return self.of.on_disk

    @property
    def formula(self) -> str:
        """The other's."""
        return self.of.formula

    def read(self, files: Files, start: int, stop: int) -> Raw:
        """Read the other."""
        return self.of.read(files, start, stop)

    def ranges(self, start: int, stop: int) -> Sequence[tuple[TensorInfo, int, int]]:
        """The other's."""
        return self.of.ranges(start, stop)


def rename(tensor: Tensor, name: str) -> Tensor:
    """Return a tensor by another name; one that is stored as it is stays so."""
    if name == tensor.name:
        return tensor
    return replace(tensor, name=name) if isinstance(tensor, TensorInfo) else Renamed(name, tensor)
