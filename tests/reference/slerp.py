"""Spherical linear interpolation: Shoemake 1985, SIGGRAPH, §3.3."""

import math
from collections.abc import Sequence


def norm(x: Sequence[float]) -> float:
    """|x|."""
    return math.sqrt(math.fsum(a * a for a in x))


def angle(x: Sequence[float], y: Sequence[float]) -> float:
    """The angle between two vectors by Kahan's formula, exact for small ones too; 0 where one of them is zero."""
    p, q = norm(x), norm(y)
    if not p or not q:
        return 0.0
    apart = norm([a / p - b / q for a, b in zip(x, y, strict=True)])
    together = norm([a / p + b / q for a, b in zip(x, y, strict=True)])
    return 2 * math.atan2(apart, together)


def slerp(models: Sequence[Sequence[float]], t: float) -> list[float]:
    """sin((1 - t) Ω) / sin Ω θ_0 + sin(t Ω) / sin Ω θ_1; the straight line where there is no arc."""
    omega = angle(*models)
    if math.sin(omega) < 1e-6:
        first, second = 1 - t, t
    else:
        first, second = math.sin((1 - t) * omega) / math.sin(omega), math.sin(t * omega) / math.sin(omega)
    return [first * a + second * b for a, b in zip(*models, strict=True)]
