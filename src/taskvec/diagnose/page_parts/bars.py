"""Bars: a row for each model, a panel for each figure, the number at each bar's end."""

from collections.abc import Callable, Sequence

import numpy as np

from ...ops.shapes import Float64
from .svg import letters, line, picture, rect, shortened, text

HIGH = 22
PANEL = 200
NUMBER = 62
ROOM = 6
LONGEST = 22

Panel = tuple[str, Float64[np.ndarray, " row"]]
"""What a panel is called, and a number for each row."""


def bar_figure(
    key: str, title: str, about: str, rows: Sequence[str], panels: Sequence[Panel], said: Callable[[float], str]
) -> str:
    """Draw each panel from 0 to its own largest number; the last row stands apart."""
    labels = shortened(rows, LONGEST)
    left, top = max(letters(label) for label in labels) + 2 * ROOM, 30
    body = []
    for r, label in enumerate(labels):
        body.append(text(left - ROOM, _y(r, rows, top) + 14, label, anchor="end"))
    for p, (name, values) in enumerate(panels):
        x = left + p * (PANEL + NUMBER)
        body.append(text(x, 16, name, kind="soft", size=11))
        largest = max(float(values.max()), 1e-300)
        for r, value in enumerate(values):
            y, wide = _y(r, rows, top), PANEL * float(value) / largest
            kind = "bar last" if r == len(rows) - 1 else "bar"
            body.append(rect(x, y + 3, wide, HIGH - 8, kind, f"{rows[r]}, {name}: {said(value)}", ' rx="2"'))
            body.append(text(x + wide + 5, y + 14, said(value), kind="n", size=11))
        body.append(line(x, top, x, _y(len(rows) - 1, rows, top) + HIGH, "axis"))
    width = left + len(panels) * (PANEL + NUMBER)
    return picture(key, width, _y(len(rows) - 1, rows, top) + HIGH + ROOM, title, about, body)


def _y(row: int, rows: Sequence[str], top: float) -> float:
    return top + row * HIGH + (ROOM if row == len(rows) - 1 else 0)
