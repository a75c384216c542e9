"""TALL masks: which entries of a sum of task vectors serve a task."""

import numpy as np
import numpy.typing as npt

from .shapes import Float


def tall_mask(
    delta: Float[np.ndarray, "*shape"], merged: Float[np.ndarray, "*shape"], tall: float
) -> npt.NDArray[np.bool_]:
    """Return where a merged task vector is nearer to a task's own than nothing is.

        m_t = |τ_t| ≥ tall |τ_MTL - τ_t|,    τ̂_t = m_t ∘ τ_MTL

    Shape: that of both arrays.
    Edge:  of one task, τ_MTL = τ_t, every entry is kept, and τ̂_t = τ_t.
    Source: Wang et al. 2024, arXiv:2405.07813, §4, eq. 4, where `tall` is λ_t (their code asks for >). With tall = 1
        an entry is kept where that makes the smaller error; smaller numbers keep more.

    >>> tall_mask(np.array([1.0, 1.0, 0.0]), np.array([1.5, -1.0, 2.0]), 1.0).tolist()
    [True, False, False]
    """
    reach = delta.dtype.type(tall) * np.abs(merged - delta)
    kept: npt.NDArray[np.bool_] = np.abs(delta) >= reach
    return kept
