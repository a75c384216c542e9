"""A few float32 arrays and a note in one safetensors file: heads and the like."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .checkpoint import Checkpoint
from .layout import Layout, OutTensor, out_file
from .writer import ShardWriter, sync_folder

Arrays = dict[str, npt.NDArray[np.float32]]


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[np.float32]], metadata: Mapping[str, str]) -> None:
    """Write float32 arrays and the header's metadata; there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = [OutTensor(name, "F32", array.shape) for name, array in arrays.items()]
    with ShardWriter(path.parent, Layout((out_file(path.name, tensors, metadata),))) as writer:
        for name, array in arrays.items():
            writer.write(name, 0, np.ascontiguousarray(array, dtype="<f4").reshape(-1))
        writer.finish()
    sync_folder(path.parent)


def load_arrays(path: Path) -> tuple[Arrays, Mapping[str, str]]:
    """Return the arrays of a file, in memory and in their shapes, and its metadata.

    Raises:
        StoreError: no such file.
        FormatError: no safetensors, or damaged.
    """
    with Checkpoint(path) as checkpoint:
        arrays: Arrays = {
            name: np.array(checkpoint.raw(name).reshape(tensor.shape), dtype=np.float32)
            for name, tensor in checkpoint.tensors.items()
        }
        return arrays, checkpoint.metadata
