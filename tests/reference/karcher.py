"""The Karcher mean on the sphere: Wang, Ye & Yin 2026, arXiv:2603.04972, §3.4."""

import math
from collections.abc import Sequence

from .slerp import angle, norm


def karcher(models: Sequence[Sequence[float]], steps: int = 100) -> list[float]:
    """m ← exp_m(mean of log_m(u_t)) from the mean direction on, times the mean norm."""
    norms = [norm(x) for x in models]
    units = [[a / n for a in x] for x, n in zip(models, norms, strict=True) if n]
    if not units:
        return [0.0] * len(models[0])
    mean = [sum(entries) / len(units) for entries in zip(*units, strict=True)]
    if norm(mean) <= 1e-6:
        return [sum(entries) / len(models) for entries in zip(*models, strict=True)]
    mean = [a / norm(mean) for a in mean]
    for _ in range(steps):
        tangent = [sum(entries) / len(units) for entries in zip(*(log(mean, u) for u in units), strict=True)]
        far = norm(tangent)
        if far < 1e-15:
            break
        mean = [math.cos(far) * m + math.sin(far) * x / far for m, x in zip(mean, tangent, strict=True)]
        mean = [a / norm(mean) for a in mean]
    scale = sum(norms) / len(norms)
    return [scale * a for a in mean]


def log(mean: Sequence[float], unit: Sequence[float]) -> list[float]:
    """The tangent at `mean` that leads to `unit`; nothing for the same point and for the opposite one."""
    dot = math.fsum(a * b for a, b in zip(mean, unit, strict=True))
    away = [b - dot * a for a, b in zip(mean, unit, strict=True)]
    far = norm(away)
    if far < 1e-9:
        return [0.0] * len(away)
    return [angle(mean, unit) * a / far for a in away]
