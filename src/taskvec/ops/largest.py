"""The largest entries by magnitude: exactly so many, or all from a threshold on; and what each threshold leaves out."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .select import kth_largest, magnitude_bits
from .shapes import Float

SHIFT = 15
"""Bits of a float32 that a bin of magnitudes passes over: eight of its mantissa stay, so bins are 0.4 % wide."""

BINS = 1 << (31 - SHIFT)


def largest(x: Float[np.ndarray, " n"], k: int) -> npt.NDArray[np.bool_]:
    """Return where the k largest magnitudes stand: exactly k; of equal ones at the end the first.

    >>> largest(np.array([1.0, -2.0, 1.0, 0.5]), 2).tolist()
    [True, True, False, False]
    """
    size = np.abs(x)
    if k >= x.size:
        return np.ones(x.shape, np.bool_)
    least = kth_largest(x[None], k)[0]
    kept: npt.NDArray[np.bool_] = size > least
    kept[np.flatnonzero(size == least)[: k - int(np.count_nonzero(kept))]] = True
    return kept


class Magnitudes(NamedTuple):
    """How many magnitudes lie in each bin, and the sum of their squares; bins ascend."""

    counts: npt.NDArray[np.int64]
    squares: npt.NDArray[np.float64]

    @classmethod
    def none(cls) -> "Magnitudes":
        """Return empty bins."""
        return cls(np.zeros(BINS, np.int64), np.zeros(BINS))

    def add(self, x: Float[np.ndarray, " n"]) -> None:
        """Count entries, in place."""
        places = (magnitude_bits(np.asarray(x, np.float32)) >> np.uint32(SHIFT)).astype(np.intp)
        self.counts[:] += np.bincount(places, minlength=BINS)
        self.squares[:] += np.bincount(places, np.square(x, dtype=np.float64), minlength=BINS)

    def threshold(self, left: float) -> float:
        """Return the largest end of a bin below which squares of at most `left` lie; 0: nothing may be left out.

        >>> seen = Magnitudes.none()
        >>> seen.add(np.array([1.0, 2.0, 4.0], np.float32))
        >>> seen.threshold(1.0), seen.threshold(0.5)
        (2.0, 1.0)
        """
        below = np.concatenate([[0.0], np.cumsum(self.squares)[:-1]])
        fitting = np.flatnonzero((below <= left) & (self.counts > 0))
        return end_of_bin(int(fitting[-1])) if fitting.size else 0.0

    def count_from(self, threshold: float) -> int:
        """Return how many magnitudes reach a threshold, by the bin that it lies in: that many or more than do.

        >>> seen = Magnitudes.none()
        >>> seen.add(np.array([1.0, 2.0, 4.0], np.float32))
        >>> seen.count_from(2.0)
        2
        """
        return int(self.counts[bin_of(threshold) :].sum())


def bin_of(magnitude: float) -> int:
    """Return the bin that a magnitude lies in."""
    return int(np.float32(magnitude).view(np.uint32) >> np.uint32(SHIFT))


def end_of_bin(place: int) -> float:
    """Return the least magnitude of a bin.

    >>> end_of_bin(bin_of(2.0))
    2.0
    """
    return float(np.uint32(place << SHIFT).view(np.float32))
