"""Spectra: a small plot for each kind of matrix, a line for each model, singular values on a logarithmic axis."""

from collections.abc import Sequence
from math import floor, log10

import numpy as np

from ...ops.shapes import Float64
from .svg import line, path, picture, text

WIDE, HIGH = 202, 178
LEFT, RIGHT, TOP, BOTTOM = 34, 8, 26, 36
LINES = 8
"""Models that have a colour and a dash of their own; where there are more, all lines are alike."""

DECADE = (1.0, 2.0, 5.0)


def spectrum_figure(
    key: str, title: str, curves: Float64[np.ndarray, "task k"], names: Sequence[str], low: float, high: float
) -> str:
    """Draw singular values as shares of |τ|, the first at the left; `low` to `high` is the axis that all plots have."""
    steps = curves.shape[1]

    def place(step: int, value: float) -> tuple[float, float]:
        x = LEFT + (WIDE - LEFT - RIGHT) * (step / max(1, steps - 1) if steps > 1 else 0.5)
        return x, TOP + (HIGH - TOP - BOTTOM) * (log10(high) - log10(value)) / (log10(high) - log10(low))

    body = [text(LEFT, 14, title, kind="strong", size=12)]
    for tick in ticks(low, high):
        y = place(0, tick)[1]
        body += [line(LEFT, y, WIDE - RIGHT, y, "grid")]
        body += [text(LEFT - 6, y + 4, f"{tick:g}", kind="soft n", anchor="end", size=11)]
    for step in dict.fromkeys((0, steps // 2, steps - 1)):
        body.append(text(place(step, high)[0], HIGH - 18, str(step + 1), kind="soft n", anchor="middle", size=11))
    body.append(text((LEFT + WIDE - RIGHT) / 2, HIGH - 3, "direction", kind="soft", anchor="middle", size=11))
    for t, curve in enumerate(curves):
        points = [place(step, float(value)) for step, value in enumerate(curve) if value > 0]
        if points:
            body.append(path(points, line_class(t, len(names)), names[t]))
    about = f"Leading {steps} singular values over the norm, for {len(names)} models, on a logarithmic axis."
    return picture(key, WIDE, HIGH, f"Spectrum: {title}", about, body)


def line_class(model: int, models: int) -> str:
    """Return the class of a model's line."""
    return f"curve m{model}" if models <= LINES else "curve many"


def ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten within a range.

    >>> ticks(0.04, 0.6)
    [0.05, 0.1, 0.2, 0.5]
    """
    powers = range(floor(log10(low)), floor(log10(high)) + 1)
    found = [round(part * 10.0**power, 12) for power in powers for part in DECADE]
    return [tick for tick in found if low <= tick <= high]
