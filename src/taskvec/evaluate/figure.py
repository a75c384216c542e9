"""Scores as a picture: a row of points with their intervals for each task, as an SVG that opens anywhere."""

from collections.abc import Sequence
from html import escape
from math import floor

from .results import Results, Row
from .score import Score

COLOURS = ("#8a8a8a", "#2b6cb0", "#c05621", "#2f855a", "#805ad5", "#b83280", "#b7791f", "#319795")
"""A colour a model; eight can be told apart."""

LEFT, RIGHT, TOP, BOTTOM, STEP, GAP, PLOT = 150, 30, 54, 42, 13, 16, 560


def figure(results: Results, title: str = "") -> str:
    """Return an SVG: tasks from top to bottom, in each the models' scores with their 95 % intervals.

    Edge: beyond eight models the first eight are drawn, and the picture says so; a metric that is no share (perplexity)
        gets an axis of its own range, and shares one that begins at the multiple of 20 % below the lowest.
    """
    rows, left_out = list(results.rows)[: len(COLOURS)], max(0, len(results.rows) - len(COLOURS))
    tasks = results.tasks
    low, high, unit = _range(rows)
    band = STEP * len(rows) + GAP
    top = TOP + 20 * ((len(rows) + 2) // 3)
    height = top + band * len(tasks) + BOTTOM
    width = LEFT + PLOT + RIGHT
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="#1a202c">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="26" font-size="15" font-weight="600">{escape(title)}</text>',
        *_legend(rows, left_out),
        *_axis(low, high, unit, top, height - BOTTOM),
    ]
    for t, task in enumerate(tasks):
        y = top + t * band
        if t % 2 == 0:
            out.append(f'<rect x="{LEFT}" y="{y}" width="{PLOT}" height="{band}" fill="#000000" opacity="0.03"/>')
        out.append(f'<text x="{LEFT - 10}" y="{y + band / 2 + 4:.1f}" text-anchor="end">{escape(task)}</text>')
        for r, row in enumerate(rows):
            score = row.of(task)
            if score:
                out += _point(score, _x(score, low, high), y + GAP / 2 + STEP * (r + 0.5), COLOURS[r], row.name)
    return "\n".join([*out, "</svg>", ""])


def _range(rows: Sequence[Row]) -> tuple[float, float, str]:
    scores = [s for row in rows for s in row.scores]
    if all(0 <= s.value <= 1 for s in scores):
        return min(0.8, floor(5 * max(0.0, min(min(s.low, s.value) for s in scores))) / 5), 1.0, "%"
    low, high = min(s.low for s in scores), max(s.high for s in scores)
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin, ""


def _place(value: float, low: float, high: float) -> float:
    return LEFT + PLOT * (min(max(value, low), high) - low) / (high - low)


def _x(score: Score, low: float, high: float) -> tuple[float, float, float]:
    return _place(score.low, low, high), _place(score.value, low, high), _place(score.high, low, high)


def _point(score: Score, x: tuple[float, float, float], y: float, colour: str, name: str) -> list[str]:
    said = f"{name}, {score.task}: {score.value:.4g} ({score.low:.4g} to {score.high:.4g})"
    return [
        f'<line x1="{x[0]:.1f}" x2="{x[2]:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}" stroke-width="2" '
        f'opacity="0.45"/>',
        f'<circle cx="{x[1]:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{escape(said)}</title></circle>',
    ]


def _legend(rows: Sequence[Row], left_out: int) -> list[str]:
    out = []
    for r, row in enumerate(rows):
        x, y = 20 + (r % 3) * 235, 48 + 20 * (r // 3)
        out.append(f'<circle cx="{x}" cy="{y - 4}" r="4" fill="{COLOURS[r]}"/>')
        name = row.name if len(row.name) <= 32 else f"…{row.name[-31:]}"
        out.append(f'<text x="{x + 10}" y="{y}">{escape(name)}</text>')
    if left_out:
        out.append(f'<text x="{LEFT + PLOT}" y="26" text-anchor="end" fill="#718096">and {left_out} more models</text>')
    return out


def _axis(low: float, high: float, unit: str, top: float, bottom: float) -> list[str]:
    out = []
    steps = max(1, round(5 * (high - low))) if unit == "%" else 5
    for i in range(steps + 1):
        value = low + (high - low) * i / steps
        x = _place(value, low, high)
        said = f"{100 * value:.0f} %" if unit == "%" else f"{value:.3g}"
        out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="#cbd5e0"/>')
        out.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle" fill="#4a5568">{said}</text>')
    return out
