"""A seeded sketch of a long vector: a few thousand numbers from which inner products are estimated, with error bars.

The vector is a dictionary of tensors that comes in slices. Each tensor is cut into blocks of m consecutive entries,
m the sketch's width. A block is multiplied entry by entry by random signs, rotated by a random number of places, and
added to the sketch (CountSketch of Charikar, Chen and Farach-Colton 2002, whose bucket is here a place in a rotated
block, so that memory is read and written in long runs):

    (Sx)_h = Σ_i s_i x_i [h_i = h],    h_i = (place of i within its block + r_block) mod m

Signs and rotations are a pure function of (seed, tensor, offset), so sketches of different vectors fit each other.
Entries of one block never meet; entries i, j of different blocks meet with probability 1/m, since the rotations are
independent and uniform. As E[s_i s_j] = 0 for i ≠ j,

    E⟨Sx, Sy⟩ = ⟨x, y⟩
    Var⟨Sx, Sy⟩ = 1/m Σ_{i,j of different blocks} (x_i² y_j² + x_i y_i x_j y_j)
                = 1/m (|x|²|y|² + ⟨x,y⟩² - Σ_block (|x_b|²|y_b|² + ⟨x_b,y_b⟩²)) ≤ (|x|²|y|² + ⟨x,y⟩²) / m
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .chance import draws, words
from .gram import ExactSum
from .kernels import fused_for
from .shapes import Float32, Float64

STEP = 1 << 18
"""Entries a partial sum covers. Slices begin at multiples of it."""

WIDTH = 8192
WIDEST = 1 << 16

GROUP = 2048
"""Entries whose signs are drawn together."""

Words = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Hashing:
    """What a sketch depends on beside the vector.

    seed: of signs and rotations; sketches of one seed and width fit each other.
    width: the numbers a sketch has, a power of two from 64 to 65,536.

    Raises:
        ValueError: another width.
    """

    seed: int = 0
    width: int = WIDTH

    def __post_init__(self) -> None:
        if not 64 <= self.width <= WIDEST or self.width & (self.width - 1):
            raise ValueError(f"a sketch's width must be a power of two from 64 to {WIDEST}, got {self.width}")

    def signs(self, tensor: str, start: int, count: int) -> Words:
        """Return the signs of entries from `start` on, a multiple of `GROUP`: a bit each, 1 turns the entry around.

        Of each group, entry i has bit i // 64 of word i mod 64; so a shift gives the signs of 64 entries in a row.

        Shape: (group, 64).
        """
        groups = -(-count // GROUP)
        drawn = draws(f"{self.seed}\0signs of a sketch\0{tensor}", start // 64, groups * GROUP // 64)
        return drawn.astype("<u8", copy=False).view("<u4").reshape(groups, 64)

    def rotations(self, tensor: str, start: int, count: int) -> npt.NDArray[np.int64]:
        """Return by how many places each block is rotated."""
        first, last = start // self.width, -(-(start + count) // self.width)
        drawn = words(f"{self.seed}\0rotations of a sketch\0{tensor}", first, last - first)
        return drawn.astype(np.int64) & (self.width - 1)


class Sketching:
    """A sketch on its way: slices in, in any order and from any threads, and the same bits out.

    Within `STEP` entries blocks are added in order in float64; these partial sums are added without rounding.
    """

    def __init__(self, hashing: Hashing | None = None) -> None:
        """Begin with a vector of zeros."""
        self.hashing = hashing or Hashing()
        self._sum = ExactSum(self.hashing.width)
        self._lock = threading.Lock()

    def add(self, tensor: str, start: int, entries: Float32[np.ndarray, " n"]) -> None:
        """Add entries of a tensor, flat, from `start` on: all up to a multiple of `STEP`, or to the tensor's end.

        Raises:
            ValueError: `start` is no multiple of `STEP`.
        """
        if start % STEP:
            raise ValueError(f"a slice must begin at a multiple of {STEP}, got {start}")
        for at in range(0, entries.size, STEP):
            part = self._part(tensor, start + at, np.ascontiguousarray(entries[at : at + STEP]))
            with self._lock:
                self._sum.add(0, part)

    def _part(self, tensor: str, start: int, x: Float32[np.ndarray, " n"]) -> Float64[np.ndarray, " width"]:
        signs = self.hashing.signs(tensor, start, x.size)
        rotations = self.hashing.rotations(tensor, start, x.size)
        if fused := fused_for(x):
            part: Float64[np.ndarray, " width"] = fused.sketch(x, signs, rotations, self.hashing.width)
            return part
        return _sketch(x, signs, rotations, self.hashing.width)

    @property
    def value(self) -> Float64[np.ndarray, " width"]:
        """The sketch of what was added so far."""
        return self._sum.value


def _sketch(
    x: Float32[np.ndarray, " n"], signs: Words, rotations: npt.NDArray[np.int64], width: int
) -> Float64[np.ndarray, " width"]:
    """Add signed and rotated blocks in order; what the fused kernel does too."""
    top = (signs[:, None, :] << np.arange(31, -1, -1, dtype=np.uint32)[None, :, None]) & np.uint32(1 << 31)
    signed = (x.view(np.uint32) ^ top.reshape(-1)[: x.size]).view(np.float32)
    out = np.zeros(width)
    for at, rotation in zip(range(0, x.size, width), rotations.tolist(), strict=True):
        block = signed[at : at + width]
        head = block[: width - rotation]
        out[rotation : rotation + head.size] += head
        rest = block[width - rotation :]
        out[: rest.size] += rest
    return out


def sketch(tensors: dict[str, npt.NDArray[np.float32]], hashing: Hashing | None = None) -> npt.NDArray[np.float64]:
    """Return the sketch of a vector in memory.

    >>> one, two = {"w": np.ones(9, np.float32)}, {"w": np.arange(9, dtype=np.float32)}
    >>> round(float(sketch(one) @ sketch(two)))
    36
    """
    making = Sketching(hashing)
    for name, x in tensors.items():
        making.add(name, 0, np.ascontiguousarray(x, np.float32).reshape(-1))
    return making.value


def deviation(
    inner: npt.NDArray[np.float64] | float, norms: npt.NDArray[np.float64] | float, width: int
) -> npt.NDArray[np.float64]:
    """Return the standard deviation that an inner product estimated from sketches has at most.

        σ = √((|x|²|y|² + ⟨x,y⟩²) / m)

    Args:
        inner: ⟨x, y⟩, or its estimate; of cosines, the cosine.
        norms: |x||y|; of cosines, 1.
        width: m.

    >>> float(deviation(0.0, 1.0, 4096))
    0.015625
    """
    return np.asarray(np.sqrt((np.square(norms) + np.square(inner)) / width))


def cosines_from(
    target: npt.NDArray[np.float64],
    target_norm: float,
    rows: npt.NDArray[np.floating],
    norms: Sequence[float] | npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the cosines between a vector and others, from their sketches and true norms, and their deviations.

    An estimate is not cut off at ±1, which would bias it. A vector of zeros has cosine 0 with all.

    Shape: `target` is (width,), `rows` is (vector, width); both results are (vector,).
    """
    scale = target_norm * np.asarray(norms, np.float64)
    inner = (rows @ target.astype(rows.dtype)).astype(np.float64)
    found = np.divide(inner, scale, out=np.zeros_like(inner), where=scale != 0)
    return found, deviation(np.clip(found, -1, 1), 1.0, rows.shape[1])
