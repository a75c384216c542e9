"""How far the softmax of a row moves, in digits that mean something."""

import numpy as np

from .exponential import MOST, exp, exp_beyond_linear, log1p
from .gram import sum_lanes
from .kernels import fused_for
from .shapes import Float, Float64

AT_ONCE = 1 << 15
"""Entries worked on together, so that they stay in the cache."""


def row_divergence(
    base: Float[np.ndarray, "row column"], tuned: Float[np.ndarray, "row column"]
) -> Float64[np.ndarray, " row"]:
    """Return the Kullback-Leibler divergence of each row's softmax, KL(softmax(tuned) || softmax(base)), in nats.

        q = softmax(base),  u = (tuned - base) - Σ q (tuned - base)
        B = Σ q (e^u - 1 - u)                     softmax(tuned) = q e^u / (1 + B), because Σ q u = 0
        A = Σ q u (e^u - 1)
        out = A / (1 + B) - ln(1 + B)             ≈ A / 2, half the variance of u

    Σ p ln(p / q) as it stands adds up terms of the size of u that cancel down to u²: in float32 the rows of a
    fine-tune, u ≈ 1e-3, come out as rounding errors. Here no sum cancels: all its terms are positive, and A is twice
    B.

    >>> row_divergence(np.array([[0.0, 0.0]]), np.array([[0.0, 1e-6]]))
    array([1.25e-13])
    """
    moments = np.zeros((len(base), 2))
    if base.size:
        if fused := fused_for(base, tuned):
            fused.divergence(base, tuned, moments)
        else:
            step = max(1, AT_ONCE // base.shape[1])
            for at in range(0, len(base), step):
                moments[at : at + step] = _moments(base[at : at + step], tuned[at : at + step])
    a, b = moments[:, 0], moments[:, 1]
    out: Float64[np.ndarray, " row"] = np.maximum(a / (1.0 + b) - log1p(b), 0.0)
    return out


def _moments(
    base: Float[np.ndarray, "row column"], tuned: Float[np.ndarray, "row column"]
) -> Float64[np.ndarray, "row 2"]:
    """Return A and B of each row."""
    wide = base.astype(np.float64)
    change = tuned.astype(np.float64) - wide
    q = exp(wide)
    total = sum_lanes(q)
    mean = sum_lanes(q * change) / total
    u = np.minimum(np.maximum(change - mean[:, None], -MOST), MOST)
    beyond = exp_beyond_linear(u)
    return np.stack([sum_lanes(q * (u * (beyond + u))) / total, sum_lanes(q * beyond) / total], axis=1)
