"""Model Stock: Jang et al. 2024, arXiv:2403.19522, §4."""

import math
from collections.abc import Sequence


def inner(x: Sequence[float], y: Sequence[float]) -> float:
    """⟨x, y⟩."""
    return math.fsum(a * b for a, b in zip(x, y, strict=True))


def cosine(x: Sequence[float], y: Sequence[float]) -> float:
    """The cosine of the angle between two vectors; 0 where one of them is zero."""
    norms = math.sqrt(inner(x, x)) * math.sqrt(inner(y, y))
    return inner(x, y) / norms if norms else 0.0


def ratio(deltas: Sequence[Sequence[float]]) -> float:
    """t = T cos θ / (1 + (T - 1) cos θ) of the mean cosine over pairs (eq. 4), never outside [0, 1]."""
    tasks = len(deltas)
    pairs = [cosine(deltas[i], deltas[j]) for i in range(tasks) for j in range(i)]
    cos = max(0.0, sum(pairs) / len(pairs))
    return min(1.0, tasks * cos / (1 + (tasks - 1) * cos))


def model_stock(deltas: Sequence[Sequence[float]], columns: int = 0) -> list[float]:
    """w_H = t w_avg + (1 - t) w_0, less w_0; of each row of so many columns, if any."""
    out = []
    for at in range(0, len(deltas[0]), columns or max(1, len(deltas[0]))):
        rows = [x[at : at + columns] if columns else x for x in deltas]
        t = ratio(rows)
        out += [t * sum(entries) / len(entries) for entries in zip(*rows, strict=True)]
    return out
