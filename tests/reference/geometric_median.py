"""The geometric median by Weiszfeld's iteration as modified by Vardi & Zhang 2000, PNAS 97:1423."""

import math
from collections.abc import Sequence

from .slerp import norm

Vector = Sequence[float]


def distance_sum(points: Sequence[Vector], weights: Sequence[float], y: Vector) -> float:
    """Σ η_i |x_i - y|, what the median makes least."""
    return math.fsum(w * norm([a - b for a, b in zip(x, y, strict=True)]) for x, w in zip(points, weights, strict=True))


def geometric_median(deltas: Sequence[Vector], weights: Sequence[float], steps: int = 300) -> list[float]:
    """y ← (1 - η/r)⁺ T(y) + min(1, η/r) y from the mean, or from a data point where that is better."""
    points = [[math.copysign(1, w) * a for a in x] for x, w in zip(deltas, weights, strict=True)]
    eta = [abs(w) for w in weights]
    total = sum(eta)
    mean = [sum(w * a for w, a in zip(eta, entries, strict=True)) / total for entries in zip(*points, strict=True)]
    y = min([mean, *points], key=lambda start: distance_sum(points, eta, start))
    for _ in range(steps):
        y = step(points, eta, y)
    return list(y)


def step(points: Sequence[Vector], eta: Sequence[float], y: Vector) -> list[float]:
    """One step; η is the weight of the points that y is at."""
    here, rate = 0.0, []
    for x, w in zip(points, eta, strict=True):
        far = norm([a - b for a, b in zip(x, y, strict=True)])
        here += w if far == 0 else 0.0
        rate.append(w / far if far else 0.0)
    if not any(rate):
        return list(y)
    entries = list(zip(*points, strict=True))
    pull = norm(
        [sum(c * (a - b) for c, a in zip(rate, column, strict=True)) for column, b in zip(entries, y, strict=True)]
    )
    if pull <= here:
        return list(y)
    to = [sum(c * a for c, a in zip(rate, column, strict=True)) / sum(rate) for column in entries]
    stay = here / pull
    return [(1 - stay) * a + stay * b for a, b in zip(to, y, strict=True)]
