"""The files of MNIST and its relatives: `train-images-idx3-ubyte` and, beside it, `train-labels-idx1-ubyte`."""

import math
import struct
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import FormatError
from .examples import Source
from .files import opened
from .table import Table, unpacked

ENDING = "-images-idx3-ubyte"
UNSIGNED_BYTES = 8


def read_idx(path: Path, source: Source) -> Table:
    """Read images of unsigned bytes; their labels lie in the file of the same name with `labels-idx1`.

    Source: the format at the foot of yann.lecun.com/exdb/mnist: two zeros, the type, the number of axes, the length of
    each axis (big-endian), then the entries in row-major order.

    Raises:
        StoreError: one of the two files does not exist.
        FormatError: it is no idx file of unsigned bytes, or not the whole of one.
    """
    labels = path.with_name(path.name.replace(ENDING, "-labels-idx1-ubyte"))
    loaders = {source.image or "image": partial(_entries, path)}
    if source.label is not None:
        loaders[source.label] = partial(_entries, labels)
    return Table(name=str(path), loaders=loaders)


def _entries(path: Path) -> list[Any]:
    return unpacked(_array(path))


def _array(path: Path) -> npt.NDArray[np.uint8]:
    with opened(path) as file:
        raw = file.read()
    if len(raw) < 4 or raw[:3] != bytes([0, 0, UNSIGNED_BYTES]):
        raise FormatError(f"{path} is no idx file of unsigned bytes: it does not begin with 0, 0, {UNSIGNED_BYTES}.")
    axes, begin = raw[3], 4 + 4 * raw[3]
    if len(raw) < begin or len(raw) - begin != math.prod(shape := struct.unpack(f">{axes}I", raw[4:begin])):
        raise FormatError(f"{path} is not the whole of an idx file, or more than one: {len(raw)} bytes.")
    return np.frombuffer(raw, np.uint8, offset=begin).reshape(shape)
