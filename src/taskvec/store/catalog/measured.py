"""One pass over a vector while it is written: its hash, sketch, energies, and what its stored type lost."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import NumbersError, RecipeError
from ...ops.floats import Raw, widen
from ...ops.gram import energy_parts
from ...ops.sketch import STEP, Hashing, Sketching
from ..dtypes import NAMES
from ..taskvector import TaskVector

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Measured:
    """What is known of a vector: the hash of its content, each tensor's Σ x², its sketch.

    lost: |stored - τ| / |τ|.
    """

    sha: str
    code: str
    energies: Mapping[str, float]
    sketch: F32
    count: int
    lost: float

    @property
    def norm(self) -> float:
        """√Σ x²."""
        return math.sqrt(math.fsum(self.energies.values()))


class Measuring:
    """Looks at a vector slice by slice, tensors one after the other, each from its beginning to its end."""

    def __init__(self, vector: TaskVector, code: str, hashing: Hashing, what: str) -> None:
        """Begin; `code` is the type that it is stored as, `what` is what messages call it."""
        self.vector, self.code, self.what = vector, code, what
        self.sketching = Sketching(hashing)
        self._digests = {name: hashlib.sha256() for name in vector.shapes}
        self._energies: dict[str, list[float]] = {name: [0.0] for name in vector.shapes}
        self._lost: list[float] = []
        self._moved: list[float] = []

    def see(self, name: str, start: int, wanted: F32, raw: Raw) -> None:
        """Look at entries of a tensor: as they are, and as the bits that are stored of them.

        Raises:
            NumbersError: NaN or Inf among them, or too large for the type.
        """
        stored = wanted if self.code == "F32" else widen(raw, self.code)
        energies = _energies(stored)
        if not np.isfinite(energies).all():
            self._refuse(name, wanted)
        self._digests[name].update(np.ascontiguousarray(raw).view(np.uint8).data)
        self._energies[name] += energies
        self.sketching.add(name, start, stored)
        if stored is not wanted:
            self._lost += _energies(stored - wanted)
            self._moved += _energies(wanted)

    def _refuse(self, name: str, wanted: F32) -> None:
        if np.isfinite(wanted).all():
            raise NumbersError(f"'{name}' of {self.what} is too large for its type. Type --dtype float32.")
        raise NumbersError(f"'{name}' of {self.what} holds NaN or Inf. A task vector has finite entries.")

    @property
    def value(self) -> Measured:
        """What was found.

        Raises:
            RecipeError: all entries are zero.
        """
        energies = {name: math.fsum(parts) for name, parts in self._energies.items()}
        if not any(energies.values()):
            raise RecipeError(
                f"{self.what} is a vector of zeros, without a direction. Give a model that differs from its base."
            )
        moved = math.fsum(self._moved)
        lost = math.sqrt(math.fsum(self._lost) / moved) if moved else 0.0
        count = sum(math.prod(shape) for shape in self.vector.shapes.values())
        sketch = self.sketching.value.astype(np.float32)
        return Measured(self._sha(), self.code, energies, sketch, count, lost)

    def _sha(self) -> str:
        """Return the hash of the space, the base, and every tensor's name, type, shape and bits, in order of name."""
        whole = hashlib.sha256(f"taskvec\0{self.vector.space}\0{self.vector.base}\0".encode())
        for name in sorted(self._digests):
            whole.update(f"{name}\0{self.code}\0{self.vector.shapes[name]}\0".encode())
            whole.update(self._digests[name].digest())
        return whole.hexdigest()


def _energies(x: F32) -> list[float]:
    """Return Σ x² of each block of entries."""
    return [float(part[0]) for part in energy_parts(np.ascontiguousarray(x)[None])]


def write(
    vector: TaskVector, path: Path, dtype: str, hashing: Hashing, what: str, progress: Callable[[int], None]
) -> Measured:
    """Write a vector, and return what was seen of it on the way."""
    measuring = Measuring(vector, NAMES[dtype], hashing, what)
    vector.save(path, dtype, progress, measuring.see)
    return measuring.value


def measure(vector: TaskVector, hashing: Hashing, what: str, progress: Callable[[int], None]) -> Measured:
    """Return what a stored vector is, by reading it."""
    stored = vector.terms[0][1].checkpoint
    codes = {info.dtype for info in stored.tensors.values()}
    code = codes.pop() if len(codes) == 1 else "F32"
    measuring, done = Measuring(vector, code, hashing, what), 0
    for name, shape in vector.shapes.items():
        info, count = stored.info(name), math.prod(shape)
        for start in range(0, count, STEP):
            stop = min(start + STEP, count)
            raw = stored.files.raw(info, start, stop)
            measuring.see(name, start, widen(raw, info.dtype), raw)
            stored.files.forget(info, start, stop)
            done += raw.nbytes
            progress(done)
    return measuring.value
