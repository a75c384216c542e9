"""A few entries of every tensor: enough to recognise a model and to compare two, without reading it."""

import hashlib

import numpy as np
import numpy.typing as npt

from ..ops.floats import Raw
from .checkpoint import Checkpoint
from .dtypes import LONG_NAMES
from .tensors import TensorInfo

CHUNKS, CHUNK = 4, 64


def places(count: int, chunks: int = CHUNKS, chunk: int = CHUNK) -> list[tuple[int, int]]:
    """Return ranges of entries spread evenly over a tensor, from its first entry to its last.

    >>> places(1000, chunks=2, chunk=10), places(5)
    ([(0, 10), (990, 1000)], [(0, 5)])
    """
    if count <= chunks * chunk:
        return [(0, count)]
    starts = np.linspace(0, count - chunk, chunks).astype(int).tolist()
    return [(start, start + chunk) for start in starts]


def sample(checkpoint: Checkpoint, info: TensorInfo, chunks: int = CHUNKS) -> Raw:
    """Return the entries at `places`, joined."""
    parts = [checkpoint.files.raw(info, *place) for place in places(info.count, chunks)]
    return np.concatenate(parts)


def fingerprint(checkpoint: Checkpoint) -> str:
    """Recognise a model: a hash of its tensors' names, types, shapes and a sample of each one's bits.

    It does not depend on how the model is cut into files. It is no checksum: a change outside the sample goes
    unseen, while fine-tuning, which moves every tensor it trains nearly everywhere, does not.
    """
    digest = hashlib.sha256()
    for name in sorted(checkpoint.tensors):
        info = checkpoint.tensors[name]
        digest.update(f"{name}\0{info.dtype}\0{info.shape}\0".encode())
        digest.update(sample(checkpoint, info).tobytes())
    checkpoint.files.forget_all()
    return f"tv1:{digest.hexdigest()[:32]}"


def dtype_name(checkpoint: Checkpoint) -> str:
    """Return the float type that most entries have, by its long name.

    >>> dtype_name.__name__
    'dtype_name'
    """
    counts: dict[str, int] = {}
    for info in checkpoint.tensors.values():
        if info.dtype in LONG_NAMES:
            counts[info.dtype] = counts.get(info.dtype, 0) + info.count
    return LONG_NAMES[max(counts, key=lambda code: counts[code])] if counts else "float32"


Sampled = npt.NDArray[np.float64]
