"""Multi-SLERP, step by step as the docstring of mergekit 0.1.5's `multislerp` has it, without its eps."""

import math
from collections.abc import Sequence

from .slerp import norm

Vector = Sequence[float]


def multislerp(stack: Sequence[Vector], weights: Sequence[float], *, normalize: bool = True) -> list[float]:
    """Project to the tangent space at the weighted mean direction, average there, and project back."""
    total = sum(weights) if normalize else 1.0
    w = [x / total for x in weights]
    norms = [norm(x) for x in stack]
    units = [[a / n if n else 0.0 for a in x] for x, n in zip(stack, norms, strict=True)]
    mean = _sum(units, w)
    length = norm(mean)
    if length <= 1e-6 * sum(abs(x) for x in w):
        return _sum(stack, w)
    mean = [a / length for a in mean]
    tangents = []
    for unit in units:
        dot = math.fsum(a * m for a, m in zip(unit, mean, strict=True))
        tangents.append([a - dot * m for a, m in zip(unit, mean, strict=True)])
    step = _sum(tangents, w)
    far = norm(step)
    sinc = math.sin(far) / far if far else 1.0
    result = [math.cos(far) * m + sinc * s for m, s in zip(mean, step, strict=True)]
    scale = sum(x * n for x, n in zip(w, norms, strict=True))
    return [scale * a for a in result]


def _sum(vectors: Sequence[Vector], weights: Sequence[float]) -> list[float]:
    return [math.fsum(w * a for w, a in zip(weights, entries, strict=True)) for entries in zip(*vectors, strict=True)]
