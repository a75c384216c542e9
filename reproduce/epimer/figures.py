"""Curves and clouds of points as SVG that opens anywhere."""

from collections.abc import Mapping, Sequence
from html import escape
from math import floor, log10

from taskvec.evaluate.figure import COLOURS

LEFT, RIGHT, TOP, BOTTOM, PLOT, HEIGHT = 64, 24, 58, 46, 560, 300

Points = Sequence[tuple[float, float]]


def curves(title: str, series: Mapping[str, Points], across: str, up: str, *, even: bool = False) -> str:
    """Return lines over one axis.

    even: the places along the axis stand evenly, as ranks that double do.
    """
    return _drawn(title, series, across, up, lines=True, even=even)


def cloud(title: str, series: Mapping[str, Points], across: str, up: str) -> str:
    """Return points without lines."""
    return _drawn(title, series, across, up, lines=False, even=False)


def _drawn(title: str, series: Mapping[str, Points], across: str, up: str, *, lines: bool, even: bool) -> str:
    places = sorted({x for points in series.values() for x, _ in points})
    values = [y for points in series.values() for _, y in points]
    ticks = places if even else _ticks(min(places), max(places))
    heights = _ticks(min(values), max(values))
    top = TOP + 18 * ((len(series) + 1) // 2)
    width, height = LEFT + PLOT + RIGHT, top + HEIGHT + BOTTOM

    def x_of(x: float) -> float:
        if even:
            return LEFT + PLOT * (places.index(x) + 0.5) / len(places)
        return LEFT + PLOT * (x - ticks[0]) / (ticks[-1] - ticks[0])

    def y_of(y: float) -> float:
        return top + HEIGHT * (1 - (y - heights[0]) / (heights[-1] - heights[0]))

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="#1a202c">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="24" font-size="15" font-weight="600">{escape(title)}</text>',
        *(_legend(i, name) for i, name in enumerate(series)),
    ]
    for y in heights:
        out.append(f'<line x1="{LEFT}" x2="{LEFT + PLOT}" y1="{y_of(y):.1f}" y2="{y_of(y):.1f}" stroke="#e2e8f0"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y_of(y) + 4:.1f}" text-anchor="end" fill="#4a5568">{y:.6g}</text>')
    for x in ticks:
        out.append(
            f'<text x="{x_of(x):.1f}" y="{top + HEIGHT + 18}" text-anchor="middle" fill="#4a5568">{x:.6g}</text>'
        )
    out.append(f'<text x="{LEFT + PLOT / 2}" y="{height - 8}" text-anchor="middle">{escape(across)}</text>')
    out.append(f'<text x="{LEFT}" y="{top - 8}" text-anchor="start" fill="#4a5568">{escape(up)}</text>')
    for i, (name, points) in enumerate(series.items()):
        out += _series(name, [(x_of(x), y_of(y), x, y) for x, y in sorted(points)], _colour(i), lines)
    return "\n".join([*out, "</svg>", ""])


def _series(name: str, points: Sequence[tuple[float, float, float, float]], colour: str, lines: bool) -> list[str]:
    out = []
    if lines:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, *_ in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
    for x, y, *said in points:
        told = f"{name}: {said[0]:.4g}, {said[1]:.4g}"
        out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"><title>{escape(told)}</title></circle>')
    return out


def _legend(number: int, name: str) -> str:
    x, y = 20 + (number % 2) * 310, 46 + 18 * (number // 2)
    point = f'<circle cx="{x}" cy="{y - 4}" r="4" fill="{_colour(number)}"/>'
    return f'{point}<text x="{x + 10}" y="{y}">{escape(name)}</text>'


def _colour(number: int) -> str:
    return COLOURS[1:][number % (len(COLOURS) - 1)]


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers from below the lowest to above the highest."""
    span = (high - low) or abs(high) or 1.0
    step = 10 ** floor(log10(span))
    step = next(s for s in (step / 5, step / 2, step, 2 * step) if span / s <= 8)
    first = floor(low / step + 1e-9)
    count = max(1, -floor(-(high - first * step) / step + 1e-9))
    return [round((first + i) * step, 12) for i in range(count + 1)]
