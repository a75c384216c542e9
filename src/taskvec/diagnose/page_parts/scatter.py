"""The map of the tasks: points around the base, with names that do not cover each other."""

from collections.abc import Sequence

import numpy as np

from ...ops.shapes import Float64
from ..clusters import TaskMap
from ..words import percent
from .svg import circle, letters, line, picture, shortened, text

SIDE = 440
EDGE = 16
LONGEST = 18
SIZE = 12
SMALL, LARGE = 4.0, 9.0
MANY = 20
"""Models from which on points are small."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def map_figure(found: TaskMap, names: Sequence[str], norms: Float64[np.ndarray, " task"]) -> tuple[str, int]:
    """Draw the map, and return how many names found no room.

    Longer task vectors have larger points.
    """
    labels = shortened(names, LONGEST)
    place = _places(found.points, max(letters(label, SIZE) for label in labels))
    origin, points = place[0], place[1:]
    largest = LARGE if len(names) <= MANY else SMALL + 1
    radii = SMALL + (largest - SMALL) * norms / max(float(norms.max()), 1e-300)
    body = [
        line(EDGE, origin[1], SIDE - EDGE, origin[1], "grid"),
        line(origin[0], EDGE, origin[0], SIDE - EDGE, "grid"),
        *(line(origin[0], origin[1], x, y, "ray") for x, y in points),
        circle(origin[0], origin[1], 4, "base", "the base"),
    ]
    for (x, y), radius, name, norm in zip(points, radii, names, norms, strict=True):
        body.append(circle(x, y, radius, "point", f"{name}: |τ| = {norm:.3g}"))
    written, missing = _labels(np.vstack([points, origin]), [*labels, "base"], np.append(radii, 4.0))
    body += written
    shares = " and ".join(percent(share) for share in found.shares)
    about = f"The base and {len(names)} models; the two axes hold {shares} of the squared lengths."
    return picture("map", SIDE, SIDE, "A map of the tasks", about, body), missing


def _places(points: Float64[np.ndarray, "task 2"], room: float) -> Float64[np.ndarray, "place 2"]:
    """Return where the base and the points are drawn: to one scale both ways, with room for names at both sides."""
    all_points = np.vstack([np.zeros(2), points])
    low, high = all_points.min(axis=0), all_points.max(axis=0)
    plot = np.array([SIDE - 2 * EDGE - min(room, SIDE / 3), SIDE - 2 * EDGE - 3 * SIZE])
    reach = float(np.max((high - low) / plot))
    moved = (all_points - (low + high) / 2) / (reach if reach > 0 else 1.0)
    places: Float64[np.ndarray, "place 2"] = SIDE / 2 + moved * np.array([1.0, -1.0])
    return places


def _labels(
    points: Float64[np.ndarray, "place 2"], labels: Sequence[str], radii: Float64[np.ndarray, " place"]
) -> tuple[list[str], int]:
    """Write each name where it covers no point and no other name; leave out those that have no such place."""
    taken = [(x - r, y - r, x + r, y + r) for (x, y), r in zip(points, radii, strict=True)]
    out = []
    for (x, y), radius, label in zip(points, radii, labels, strict=True):
        free = [box for box in _around(x, y, radius + 3, letters(label, SIZE)) if _fits(box, taken)]
        if free:
            taken.append(free[0])
            kind = "halo soft" if label == "base" else "halo"
            out.append(text(free[0][0], free[0][3] - 3, label, kind=kind, size=SIZE))
    return out, len(labels) - len(out)


def _around(x: float, y: float, away: float, wide: float) -> list[Box]:
    """Return boxes for a name: at the right, at the left, above, below, and at the corners."""
    half, slant = SIZE / 2 + 1, 0.7 * away
    corners = [
        (x + away, y - half),
        (x - away - wide, y - half),
        (x - wide / 2, y - away - 2 * half),
        (x - wide / 2, y + away),
        (x + slant, y - slant - 2 * half),
        (x + slant, y + slant),
        (x - slant - wide, y - slant - 2 * half),
        (x - slant - wide, y + slant),
    ]
    return [(left, top, left + wide, top + 2 * half) for left, top in corners]


def _fits(box: Box, taken: Sequence[Box]) -> bool:
    left, top, right, bottom = box
    inside = left >= 0 and top >= 0 and right <= SIDE and bottom <= SIDE
    return inside and all(right < a or c < left or bottom < b or d < top for a, b, c, d in taken)
