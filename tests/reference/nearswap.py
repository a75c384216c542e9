"""NearSwap: the model card of alchemonaut/QuartetAnemoi-70B-t0.0001, 2024."""

from collections.abc import Sequence


def nearswap(base: Sequence[float], secondary: Sequence[float], *, t: float) -> list[float]:
    """Interpolate each entry by t / |difference|, within [0, 1], and by 1 where nothing differs."""
    merged = []
    for a, b in zip(base, secondary, strict=True):
        weight = min(1.0, t / abs(a - b)) if a != b else 1.0
        merged.append((1 - weight) * a + weight * b)
    return merged
