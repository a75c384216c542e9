"""Means of directions, found from inner products alone: every result is the factors of a sum of the inputs.

A tensor is taken as one vector: its length, and a point on the unit sphere. A vector of zeros has no direction.
"""

import math

import numpy as np
import numpy.typing as npt

from .gram import cosines
from .shapes import Float64

NO_ARC = 1e-6
"""The sine of an angle (or the length of a mean of unit vectors) that a cosine in float64 cannot tell from nothing:
there arc and line differ by rounding only, or the arc is not defined."""

MOST_STEPS = 1000
SETTLED = 1e-15

Factors = npt.NDArray[np.float64]
"""One number a task."""


def directions(gram: Float64[np.ndarray, "task task"]) -> tuple[Factors, Float64[np.ndarray, "task task"]]:
    """Return the lengths of the vectors, and the inner products of their directions (0 for a vector of zeros).

    >>> directions(np.array([[4.0, 0.0], [0.0, 0.0]]))[1]
    array([[1., 0.],
           [0., 0.]])
    """
    norms = np.sqrt(np.diag(gram))
    inner = cosines(gram)
    np.fill_diagonal(inner, norms > 0)
    return norms, inner


def arc(gram: Float64[np.ndarray, "2 2"], t: float) -> Factors:
    """Return the factors of two vectors at t on the arc between them: sin((1 - t) Ω) / sin Ω and sin(t Ω) / sin Ω.

    Zero: where the arc is not defined (a vector of zeros, parallel or opposite vectors) it is the straight line.

    >>> arc(np.eye(2), 0.5).round(4)
    array([0.7071, 0.7071])
    """
    factors: Factors = arcs(gram[None], t)[0]
    return factors


def arcs(grams: Float64[np.ndarray, "part 2 2"], t: float) -> Float64[np.ndarray, "part 2"]:
    """Return `arc` of each of many pairs of vectors.

    >>> arcs(np.stack([np.eye(2), np.ones((2, 2))]), 0.5).round(4)
    array([[0.7071, 0.7071],
           [0.5   , 0.5   ]])
    """
    a, b = (np.sqrt(grams[:, i, i]) for i in range(2))
    defined = (a != 0) & (b != 0)
    cos = np.where(defined, grams[:, 0, 1], 1.0) / np.where(defined, a, 1.0) / np.where(defined, b, 1.0)
    angle = np.arccos(np.fmax(np.fmin(cos, 1.0), -1.0))
    sine = np.sin(angle)
    line = sine < NO_ARC
    ends = [(1 - t, np.sin((1 - t) * angle)), (t, np.sin(t * angle))]
    return np.stack([np.where(line, share, x / np.where(line, 1.0, sine)) for share, x in ends], axis=1)


def mean_direction(gram: Float64[np.ndarray, "task task"], weights: Factors) -> Factors:
    """Return the factors of Σ w_t |x_t| times the direction of Σ w_t x_t/|x_t|.

    Zero: where the directions cancel there is no mean direction, and the factors are the weights themselves.

    >>> mean_direction(np.diag([4.0, 4.0]), np.array([0.5, 0.5])).round(4)
    array([0.7071, 0.7071])
    """
    norms, inner = directions(gram)
    length = _length(inner, weights)
    if length <= NO_ARC * float(np.abs(weights).sum()):
        return np.array(weights, dtype=np.float64)
    return _per_vector(weights / length, norms) * float((weights * norms).sum())


def karcher_mean(gram: Float64[np.ndarray, "task task"]) -> Factors:
    """Return the factors of the mean length times the point of the sphere whose squared angles to all are least.

        m ← cos|T| m + sin|T| T/|T|,   T = mean of (θ_t / sin θ_t) (u_t - cos θ_t m),   until nothing moves

    The step is that of gradient descent with the inverse of the largest curvature there is, so it never overshoots.

    Zero: vectors of zeros have no say in the direction. Where the directions cancel, the plain average is taken. A
        direction opposite to m pulls nowhere.

    >>> karcher_mean(np.diag([1.0, 1.0])).round(4)
    array([0.7071, 0.7071])
    """
    norms, inner = directions(gram)
    tasks = len(norms)
    share = (norms > 0) / float(max(1, int(np.count_nonzero(norms))))
    length = _length(inner, share)
    if length <= NO_ARC:
        return np.full(tasks, 1 / tasks)
    mean = share / length
    for _ in range(MOST_STEPS):
        before = mean
        cos = np.clip((inner * mean).sum(axis=1), -1.0, 1.0)
        pull = share * [_pull(float(c)) for c in cos]
        tangent = pull - float((pull * cos).sum()) * mean
        size = _length(inner, tangent)
        mean = math.cos(size) * mean + (math.sin(size) / size if size else 1.0) * tangent
        mean = mean / _length(inner, mean)
        if np.abs(mean - before).max() <= SETTLED * np.abs(mean).max():
            break
    return _per_vector(mean, norms) * float(norms.sum() / tasks)


def _pull(cos: float) -> float:
    """Return θ / sin θ: 1 at θ = 0, and 0 at θ = π, where all ways are equally short."""
    angle = math.acos(cos)
    sine = math.sin(angle)
    return angle / sine if sine > NO_ARC else float(cos > 0)


def _length(inner: Float64[np.ndarray, "task task"], factors: Factors) -> float:
    """Return the length of a sum of the unit vectors."""
    return math.sqrt(max(0.0, float(((inner * factors).sum(axis=1) * factors).sum())))


def _per_vector(factors: Factors, norms: Factors) -> Factors:
    """Turn factors of the directions into factors of the vectors."""
    return np.where(norms == 0, 0.0, factors / np.where(norms == 0, 1.0, norms))
