"""A signal as a task vector, for whatever takes one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..store import Checkpoint, TaskVector, fingerprint
from ..store.dtypes import is_float
from .signals import Signal


@dataclass(frozen=True)
class InHand:
    """Tensors in memory as the source of a task vector; those of the base that are missing are zeros."""

    checkpoint: Checkpoint
    tensors: Mapping[str, Any]
    name: str

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """See `store.taskvector.Source`."""
        return {name: info.shape for name, info in self.checkpoint.tensors.items() if is_float(info.dtype)}

    def entries(self, name: str, start: int, stop: int) -> npt.NDArray[np.float32]:
        """See `store.taskvector.Source`."""
        if name not in self.tensors:
            return np.zeros(stop - start, np.float32)
        part = self.tensors[name].reshape(-1)[start:stop].float().cpu().numpy()
        return np.asarray(part, dtype=np.float32)

    def describe(self) -> str:
        """See `store.taskvector.Source`."""
        return self.name


def vector_of(signal: Signal, base: Path) -> TaskVector:
    """Return a signal as a task vector of a base."""
    if isinstance(signal.tensors, TaskVector):
        return signal.tensors
    checkpoint = Checkpoint(base)
    return TaskVector(
        fingerprint(checkpoint), ((1.0, InHand(checkpoint, signal.tensors, signal.kind)),), (signal.kind,)
    )
