"""Nothing: the change of a tensor that an adapter does not touch."""

import threading
from collections.abc import Sequence

import numpy as np

from ...ops.floats import Raw
from ..tensors import Files, Tensor, TensorInfo

_lock = threading.Lock()
_shared = np.zeros(0, np.float32)


class Zeros(Tensor):
    """A tensor of zeros, float32. All of them are views of one block that is never written, and takes no memory."""

    dtype = "F32"

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        """Take the name and the shape that a loaded model has."""
        self.name, self.shape = name, shape

    @property
    def on_disk(self) -> Sequence[TensorInfo]:
        """Nothing."""
        return ()

    @property
    def formula(self) -> str:
        """That it is zero."""
        return "0"

    def read(self, files: Files, start: int, stop: int) -> Raw:
        """Return a read-only view of the shared zeros."""
        del files
        return _zeros(max(0, stop - start))


def _zeros(count: int) -> Raw:
    global _shared
    with _lock:
        if _shared.size < count:
            # Pages of a fresh array are the system's one page of zeros until somebody writes.
            _shared = np.zeros(max(count, 2 * _shared.size), np.float32)
            _shared.flags.writeable = False
        return _shared[:count]
