"""How much each task's entry counts against the others at the same place, and against its own task's other entries."""

import numpy as np

from .exponential import exp
from .kernels import fused_for
from .shapes import Float, Float64

AT_ONCE = 1 << 14
"""Entries worked on together, so that they stay in the cache."""


def standing(
    rows: Float[np.ndarray, "task n"], low: Float64[np.ndarray, " task"], high: Float64[np.ndarray, " task"]
) -> Float[np.ndarray, "task n"]:
    """Return the square root of each entry's score, 0 where it is negative; found in float64 and rounded once.

        s_t = (clip(|x_t|, low_t, high_t) - low_t) / (high_t - low_t)
        score_t = e^(T s_t²) x_t Σ x_i                                 T tasks

    The root has the scale of the entries, so that squares of small numbers do not underflow in it.

    >>> standing(np.array([[1.0, 2.0, -2.0]]), np.array([1.0]), np.array([2.0])).round(3)
    array([[1.   , 3.297, 3.297]])
    """
    span = np.where(high > low, high - low, 1.0)
    if fused := fused_for(rows):
        roots: Float[np.ndarray, "task n"] = fused.standing(rows, low, high, span)
        return roots
    out = np.empty_like(rows)
    tasks, n = rows.shape
    for at in range(0, n, AT_ONCE):
        wide = rows[:, at : at + AT_ONCE].astype(np.float64)
        total = wide[0].copy()
        for x in wide[1:]:
            total += x
        for t, x in enumerate(wide):
            s = np.minimum(np.maximum(np.abs(x), low[t]), high[t])
            s -= low[t]
            s /= span[t]
            s *= s
            s *= tasks
            score = exp(s)
            score *= x
            score *= total
            np.maximum(score, 0.0, out=score)
            score += 0.0  # of equals, -0.0 may have been taken
            out[t, at : at + AT_ONCE] = np.sqrt(score)
    return out


def shares_above(root: Float[np.ndarray, " n"], threshold: float, top: float) -> Float64[np.ndarray, " n"]:
    """Return scores, of which these are the roots, stretched so that the threshold is 0 and the top 1; below: 0.

    Edge: where the top does not exceed the threshold, what reaches it has 1; scores of 0 have 0 in any case.

    >>> shares_above(np.array([1.0, 2.0, 3.0]), 1.0, 3.0).tolist()
    [0.0, 0.375, 1.0]
    """
    if top <= threshold:
        return ((root >= top) & (root > 0)).astype(np.float64)
    score = root.astype(np.float64) ** 2
    out: Float64[np.ndarray, " n"] = np.maximum(score - threshold**2, 0.0) / (top**2 - threshold**2)
    return out


def combine_shares(
    rows: Float[np.ndarray, "task n"],
    roots: Float[np.ndarray, "task n"],
    weights: Float[np.ndarray, " task"],
    clip: Float64[np.ndarray, "task 2"],
    ends: Float64[np.ndarray, "task 2"],
) -> Float[np.ndarray, " n"]:
    """Average the rows, each entry moved into its task's `clip`, with the shares that its score has above the ends.

        β_t = shares_above(root_t, threshold_t, top_t)          ends_t = (threshold_t, top_t)
        out = Σ w_t β_t sign(x_t) clip(|x_t|) / Σ β_t           0 where all β are

    >>> x = np.array([[1.0, -2.0], [1.0, 4.0]])
    >>> combine_shares(x, np.abs(x), np.ones(2), np.array([[0.0, 9.0]] * 2), np.array([[1.0, 4.0]] * 2)).round(3)
    array([0., 3.])
    """
    if rows.shape == roots.shape and (fused := fused_for(rows, roots)):
        combined: Float[np.ndarray, " n"] = fused.combine_shares(rows, roots, weights, clip, ends)
        return combined
    kind = rows.dtype.type
    total, share = np.zeros_like(rows[0]), np.zeros_like(rows[0])
    for x, root, w, (low, high), (threshold, top) in zip(rows, roots, weights, clip, ends, strict=True):
        beta = shares_above(root, threshold, top).astype(rows.dtype)
        size = np.minimum(np.maximum(np.abs(x), kind(low)), kind(high))
        total += kind(w) * (beta * np.copysign(size, x))
        share += beta
    out: Float[np.ndarray, " n"] = total / np.where(share == 0, kind(1), share)
    return out
