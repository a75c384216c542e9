"""Numbers that arithmetic goes wrong with, and sizes that loops over strips go wrong at."""

import numpy as np
import numpy.typing as npt

SIZES = (0, 1, 15, 16, 17, 1023, 1024, 1025, 2049, 5001)
"""Around the 16 lanes of a sift and of an inner product, and the 1024 entries of a strip."""

ODD = (0.0, -0.0, 1e-45, -1e-45, 1.1754942e-38, -3e-39, 1.0, -1.0, 1.0, 2.5, -2.5, 1e-20, -65504.0, 3e17)
"""Zeros of both signs, subnormals, equals and opposites, small and large; no sum or square of them overflows."""


def floats32(rng: np.random.Generator, *shape: int) -> npt.NDArray[np.float32]:
    """Noise, with every third entry an odd one."""
    x = rng.standard_normal(shape).astype(np.float32)
    odd = rng.choice(np.array(ODD, np.float32), shape)
    return np.where(rng.random(shape) < 1 / 3, odd, x)


def bf16(x: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """The upper halves: bf16, cut off."""
    return (np.ascontiguousarray(x).view(np.uint32) >> 16).astype(np.uint16)


def float_of(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """The number that a bf16 is."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
