"""A computed tensor, computed once and held in memory."""

from collections.abc import Sequence

from ...ops.floats import Raw
from ..tensors import Files, Tensor, TensorInfo


class Held(Tensor):
    """The entries of another tensor, in memory."""

    def __init__(self, tensor: Tensor, files: Files) -> None:
        """Compute them; `files` are those that they are computed from."""
        self.name, self.dtype, self.shape = tensor.name, tensor.dtype, tensor.shape
        files.load(tensor, 0, tensor.count)
        self._tensor, self._raw = tensor, files.raw(tensor)
        self._raw.flags.writeable = False

    @property
    def stored_as(self) -> str:
        """That of the other tensor."""
        return self._tensor.stored_as

    @property
    def on_disk(self) -> Sequence[TensorInfo]:
        """What it was computed from."""
        return self._tensor.on_disk

    @property
    def formula(self) -> str:
        """That of the other tensor."""
        return self._tensor.formula

    def ranges(self, start: int, stop: int) -> Sequence[tuple[TensorInfo, int, int]]:
        """Nothing is read any more."""
        del start, stop
        return ()

    def read(self, files: Files, start: int, stop: int) -> Raw:
        """Return a read-only view."""
        del files
        return self._raw[start:stop]
