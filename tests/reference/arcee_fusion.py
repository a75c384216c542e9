"""Arcee Fusion, as mergekit defines it, in 40 decimal digits."""

from collections.abc import Sequence
from decimal import Decimal, localcontext


def divergence(tuned: Sequence[float], base: Sequence[float]) -> float:
    """KL(softmax(tuned) || softmax(base)) = Σ p ln(p / q), as it stands."""
    with localcontext() as context:
        context.prec = 40
        x, y = [Decimal(v) for v in tuned], [Decimal(v) for v in base]
        z, w = (sum((v.exp() for v in row), Decimal(0)).ln() for row in (x, y))
        return float(sum(((u - z).exp() * ((u - z) - (v - w)) for u, v in zip(x, y, strict=True)), Decimal(0)))


def importance(tuned: Sequence[Sequence[float]], base: Sequence[Sequence[float]]) -> list[list[float]]:
    """|θ_1 - θ_0| times the divergence of the row."""
    return [
        [divergence(t, b) * abs(x - y) for x, y in zip(t, b, strict=True)] for t, b in zip(tuned, base, strict=True)
    ]


def threshold(scores: Sequence[Sequence[float]]) -> float:
    """Median + 1.5 interquartile ranges."""
    by_size = sorted(s for row in scores for s in row)
    q1, median, q3 = (by_size[int(q * (len(by_size) - 1))] for q in (0.25, 0.5, 0.75))
    return median + 1.5 * (q3 - q1)


def arcee_fusion(base: Sequence[Sequence[float]], tuned: Sequence[Sequence[float]]) -> list[list[float]]:
    """The fine-tuned entries whose score reaches the threshold, and the base's others."""
    scores = importance(tuned, base)
    least = threshold(scores)
    return [
        [x if s >= least else y for x, y, s in zip(t, b, row, strict=True)]
        for t, b, row in zip(tuned, base, scores, strict=True)
    ]
