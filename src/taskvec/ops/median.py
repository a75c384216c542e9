"""The geometric median of vectors, found from inner products alone, as the factors of a sum of the vectors."""

import math

import numpy as np
import numpy.typing as npt

from .shapes import Float64

MOST_STEPS = 10_000
SETTLED = 1e-14

SAME = 1e-13
"""Squared distances below this share of the largest square of a norm are rounding: the points are one."""

CLEAR = 1e-9
"""By how much a point must outweigh the pull of the others to be taken at once."""

Factors = npt.NDArray[np.float64]
"""One number a task."""


def geometric_median(gram: Float64[np.ndarray, "task task"], shares: Factors) -> Factors:
    """Return the factors c ≥ 0, Σ c = 1, of the point y = Σ c_t x_t that makes Σ s_t |x_t - y| least.

        y ← Σ_t x_t s_t/|x_t - y| / Σ_t s_t/|x_t - y|            Weiszfeld, from the mean
        at a point x_k: y ← (1 - η/r) T(y) + (η/r) y             Vardi & Zhang: η = s_k, r = |Σ_t≠k s_t (x_t-y)/|x_t-y||

    A point x_k that is the median (r < s_k there) is found first, without iterating. `shares` are not negative and sum
    to 1.

    Edge: where the median is not one point (two points of equal weight, an even number on a line), it is the one of
        them that the iteration reaches from the mean.

    >>> geometric_median(np.eye(3), np.array([0.2, 0.2, 0.6]))
    array([0., 0., 1.])
    """
    mean = (gram * shares).sum(axis=1)
    gram = gram - mean[:, None] - mean[None, :] + float((mean * shares).sum())  # inner products about the mean
    same = SAME * float(np.abs(np.diag(gram)).max())
    for k in np.flatnonzero(shares):
        corner = np.eye(len(shares))[k]
        here = _squares(gram, corner) <= same
        held = float(shares[here].sum())
        if _pull(gram, shares, corner, here) < held * (1 - CLEAR):
            return np.where(here, shares / held, 0.0)
    at = shares
    for _ in range(MOST_STEPS):
        before, here = at, _squares(gram, at) <= same
        held, pull = float(shares[here].sum()), _pull(gram, shares, at, here)
        if held >= pull:
            break
        rate = _rates(gram, shares, at, here)
        at = rate / float(rate.sum())
        at = (1 - held / pull) * at + held / pull * before
        if np.abs(at - before).max() <= SETTLED:
            break
    return at


def _squares(gram: Float64[np.ndarray, "task task"], at: Factors) -> Factors:
    """Return the squared distances of all points from Σ at_t x_t."""
    inner = (gram * at).sum(axis=1)
    squares: Factors = np.diag(gram) - 2 * inner + float((inner * at).sum())
    return np.clip(squares, 0.0, None)


def _rates(
    gram: Float64[np.ndarray, "task task"], shares: Factors, at: Factors, here: npt.NDArray[np.bool_]
) -> Factors:
    """Return s_t / |x_t - y|, and 0 for the points that y is at."""
    return np.asarray(np.where(here, 0.0, shares / np.sqrt(np.where(here, 1.0, _squares(gram, at)))))


def _pull(gram: Float64[np.ndarray, "task task"], shares: Factors, at: Factors, here: npt.NDArray[np.bool_]) -> float:
    """Return |Σ s_t (x_t - y)/|x_t - y|| over the points that y is not at."""
    rate = _rates(gram, shares, at, here)
    to = rate - float(rate.sum()) * at
    return math.sqrt(max(0.0, float(((gram * to).sum(axis=1) * to).sum())))
