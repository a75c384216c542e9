"""Heat maps: a table of numbers as colours, with the numbers in the cells where they fit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, isnan

import numpy as np

from ...ops.shapes import Float64
from .colours import STEPS, Scale
from .svg import letters, picture, rect, shortened, text

LONGEST = 22
"""Letters of a label; longer names are shortened, and whole where a cell is pointed at."""

LEGEND = 58
SWATCH = 10
ROOM = 6
NUMBERS = 40
"""Width of a cell in which a number fits."""


@dataclass(frozen=True)
class Heat:
    """What a heat map shows. NaN: an empty cell; Inf: the last colour. `said` writes a number, `unit` follows it.
    legend: what the numbers are. longest: letters of a row's label.
    """

    key: str
    title: str
    about: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Float64[np.ndarray, "row column"]
    scale: Scale
    said: Callable[[float], str]
    unit: str
    legend: str
    longest: int = LONGEST


def heat_map(heat: Heat) -> str:
    """Draw a heat map: labels at the left and above, a legend below."""
    wide, high = _cell(len(heat.columns), (45, 26, 17, 12)), _cell(len(heat.rows), (30, 24, 16, 13))
    rows, columns = shortened(heat.rows, heat.longest), shortened(heat.columns, LONGEST)
    size = min(12, high - 2, wide - 2 if wide < 26 else 12)
    flat = all(letters(name, size) <= wide - 4 for name in columns)
    longest = max(letters(name, size) for name in columns)
    left = max(letters(name, size) for name in rows) + 2 * ROOM
    top = 2 * ROOM + (size if flat else 0.72 * longest + ROOM)
    width = left + wide * len(columns) + (ROOM if flat else max(ROOM, 0.72 * longest - wide / 2 + ROOM))
    body = [
        text(left - ROOM, top + (r + 0.5) * high + size / 3, n, anchor="end", size=size) for r, n in enumerate(rows)
    ]
    body += [_above(left + (c + 0.5) * wide, top - ROOM, name, size, flat) for c, name in enumerate(columns)]
    body += _cells(heat, left, top, wide, high)
    bottom = top + high * len(rows)
    body += _legend(heat, left, bottom + 22)
    wanted = left + max(STEPS * SWATCH + 20, letters(heat.legend, 11))
    return picture(heat.key, max(width, wanted), bottom + LEGEND, heat.title, heat.about, body)


def _cell(count: int, sizes: tuple[int, int, int, int]) -> int:
    return sizes[0] if count <= 12 else sizes[1] if count <= 20 else sizes[2] if count <= 50 else sizes[3]


def _above(x: float, y: float, name: str, size: float, flat: bool) -> str:
    if flat:
        return text(x, y, name, anchor="middle", size=size)
    return text(x, y, name, size=size, more=f' transform="rotate(-45 {x:.1f} {y:.1f})"')


def _cells(heat: Heat, left: float, top: float, wide: int, high: int) -> list[str]:
    out = []
    numbers = wide >= NUMBERS and high >= 20
    for (r, c), value in np.ndenumerate(heat.values):
        x, y = left + c * wide, top + r * high
        where = f"{heat.rows[r]}, {heat.columns[c]}"
        if isnan(value):
            out.append(rect(x, y, wide - 1, high - 1, "none"))
            continue
        step = f"{heat.scale.kind}{heat.scale.step(value)}"
        said = heat.said(value) if isfinite(value) else "∞"
        out.append(rect(x, y, wide - 1, high - 1, step, f"{where}: {said}{heat.unit}"))
        if numbers:
            out.append(text(x + (wide - 1) / 2, y + high / 2 + 3.5, said, kind=f"n i{step}", anchor="middle", size=11))
    return out


def _legend(heat: Heat, left: float, y: float) -> list[str]:
    """Draw what the colours are, the scale, and its ends and middle."""
    scale = heat.scale
    out = [text(left, y, heat.legend, kind="soft", size=11)]
    out += [rect(left + s * SWATCH, y + 7, SWATCH + 0.5, 8, f"{scale.kind}{s}") for s in range(STEPS)]
    ends = (scale.low, (scale.low + scale.high) / 2, scale.high)
    places = [(0.0, "start"), (STEPS / 2, "middle"), (float(STEPS), "end")]
    for (place, anchor), value in zip(places, ends if scale.high > scale.low else ends[:1], strict=False):
        said = heat.said(value) + heat.unit
        out.append(text(left + place * SWATCH, y + 28, said, kind="soft n", anchor=anchor, size=11))
    return out
