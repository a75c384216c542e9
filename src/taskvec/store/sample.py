"""A few entries of every tensor: enough to recognise a model and to compare two, without reading it."""

import hashlib
from collections.abc import Sequence

import numpy as np

from ..errors import StoreError
from ..ops.floats import Raw
from .checkpoint import Checkpoint
from .dtypes import BITS, LONG_NAMES
from .tensors import Files, Tensor, TensorInfo

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


def sample(info: Tensor, chunks: int = CHUNKS) -> Raw:
    """Return the entries at `places`, joined."""
    return read_places(info, places(info.count, chunks))


def read_places(tensor: Tensor, ranges: Sequence[tuple[int, int]]) -> Raw:
    """Return the entries of several ranges of a tensor, joined."""
    if isinstance(tensor, TensorInfo):
        return _read_stored(tensor, ranges)
    files = Files()
    parts = [np.array(files.raw(tensor, *span)) for span in ranges]
    files.close()
    return np.concatenate(parts)


def _read_stored(info: TensorInfo, ranges: Sequence[tuple[int, int]]) -> Raw:
    """Read, not mapped: systems map megabytes around each entry that is touched in a map."""
    out = np.empty(sum(stop - start for start, stop in ranges), BITS[info.dtype])
    room, done = out.view(np.uint8).data, 0
    try:
        with info.file.open("rb", buffering=0) as file:
            for start, stop in ranges:
                file.seek(info.begin + start * info.itemsize)
                wanted = (stop - start) * info.itemsize
                if file.readinto(room[done : done + wanted]) != wanted:
                    raise StoreError(f"{info.file} ends inside '{info.name}': it became shorter while it was read.")
                done += wanted
    except StoreError:
        raise
    except OSError as exc:
        raise StoreError(f"{info.file} cannot be read at '{info.name}': {exc.strerror}") from exc
    return out


def fingerprint(checkpoint: Checkpoint) -> str:
    """Recognise a model: a hash of its tensors' names, types, shapes and a sample of each one's bits.

    It does not depend on how the model is cut into files. Of a computed tensor the parts on disk are sampled, and its
    formula counts. It is no checksum: a change outside the sample goes unseen, while fine-tuning, which moves every
    tensor it trains nearly everywhere, does not.
    """
    digest = hashlib.sha256()
    for name in sorted(checkpoint.tensors):
        info = checkpoint.tensors[name]
        digest.update(f"{name}\0{info.dtype}\0{info.shape}\0".encode())
        digest.update(info.formula.encode())
        for part in info.on_disk:
            digest.update(sample(part).tobytes())
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
