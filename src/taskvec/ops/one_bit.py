"""A task vector in one bit an entry: its signs, and how long a step is."""

import numpy as np
import numpy.typing as npt

from .shapes import Float

Bools = npt.NDArray[np.bool_]


def one_bit(delta: Float[np.ndarray, "*shape"], *, rows: bool = False) -> tuple[Bools, npt.NDArray[np.float32]]:
    """Return which entries are above 0, and the scale that makes signs the nearest to them.

        sign_i = +1 where τ_i > 0, else -1
        α = mean |τ_i|        argmin_α Σ (τ_i - α sign_i)²

    Shape: signs have that of `delta`; the scale is (1), or (row) with `rows`: one for all that share a first index.
    Zero:  an entry of 0 counts as negative; either sign is as far from it.
    Edge:  of no entries the scale is 0.
    Source: BitDelta, Liu et al. 2024, arXiv:2402.10193, §3.1, eq. 1 to 4 (their code takes +1 for an entry of 0).

    >>> one_bit(np.array([3.0, -1.0]))
    (array([ True, False]), array([2.], dtype=float32))
    """
    groups = delta.reshape(delta.shape[0], -1) if rows and delta.ndim else delta.reshape(1, -1)
    total = np.abs(groups).sum(axis=1, dtype=np.float64)
    return delta > 0, (total / max(1, groups.shape[1])).astype(np.float32)


def from_one_bit(positive: Bools, scale: npt.NDArray[np.float32]) -> Float[np.ndarray, "*shape"]:
    """Return the entries that signs stand for: scale or -scale.

    Shape: `scale` is what broadcasts to the signs.

    >>> from_one_bit(np.array([True, False]), np.array([2.0], np.float32))
    array([ 2., -2.], dtype=float32)
    """
    out: Float[np.ndarray, "*shape"] = np.where(positive, scale, -scale)
    return out
