"""Numbers in eight bits and a scale."""

import numpy as np
import numpy.typing as npt

from .shapes import Float

TOP = 127
Codes = npt.NDArray[np.int8]


def to_int8(x: Float[np.ndarray, "row column"]) -> tuple[Codes, npt.NDArray[np.float32]]:
    """Return the nearest whole numbers of steps from -127 to 127, and the step of each row.

        step = max |x_j| / 127,    code_j = round(x_j / step)        |x_j - step code_j| ≤ step / 2

    Shape: `x` is (row, column), and so are the codes; steps are (row).
    Zero:  a row of zeros, or of nothing, has step 0 and codes 0.

    >>> to_int8(np.array([[1.27, -0.5], [0.0, 0.0]]))
    (array([[127, -50],
           [  0,   0]], dtype=int8), array([0.01, 0.  ], dtype=float32))
    """
    step = (np.abs(x).max(axis=1, initial=0.0) / TOP).astype(np.float32)
    divisor = np.where(step > 0, step, np.float32(1))[:, None]
    return np.clip(np.rint(x / divisor), -TOP, TOP).astype(np.int8), step


def from_int8(codes: Codes, step: npt.NDArray[np.float32]) -> Float[np.ndarray, "row column"]:
    """Return the numbers that codes stand for, in float32.

    >>> from_int8(np.array([[2, -1]], np.int8), np.array([0.5], np.float32))
    array([[ 1. , -0.5]], dtype=float32)
    """
    out: Float[np.ndarray, "row column"] = codes.astype(np.float32) * step[:, None]
    return out
