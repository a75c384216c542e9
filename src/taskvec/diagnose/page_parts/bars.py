"""Bars: a row for each model, the number at each bar's end."""

from collections.abc import Callable, Sequence

import numpy as np

from ...ops.shapes import Float64
from .svg import letters, line, picture, rect, shortened, text

HIGH = 22
LONG = 220
NUMBER = 62
ROOM = 6
LONGEST = 22


def bar_figure(
    key: str,
    title: str,
    about: str,
    rows: Sequence[str],
    values: Float64[np.ndarray, " row"],
    said: Callable[[float], str],
) -> str:
    """Draw bars from 0 to the largest number; the last row stands apart."""
    labels = shortened(rows, LONGEST)
    left = max(letters(label) for label in labels) + 2 * ROOM
    largest = max(float(values.max()), 1e-300)
    body = []
    for r, (label, value) in enumerate(zip(labels, values, strict=True)):
        y, wide = _y(r, rows), LONG * float(value) / largest
        kind = "bar last" if r == len(rows) - 1 else "bar"
        body.append(text(left - ROOM, y + 14, label, anchor="end"))
        body.append(rect(left, y + 3, wide, HIGH - 8, kind, f"{rows[r]}: {said(value)}", ' rx="2"'))
        body.append(text(left + wide + 5, y + 14, said(value), kind="n", size=11))
    bottom = _y(len(rows) - 1, rows) + HIGH
    body.append(line(left, 0, left, bottom, "axis"))
    return picture(key, left + LONG + NUMBER, bottom + ROOM, title, about, body)


def _y(row: int, rows: Sequence[str]) -> float:
    return row * HIGH + (ROOM if row == len(rows) - 1 else 0)
