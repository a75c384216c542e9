"""Two colour scales of even perceived steps, for light and for dark pages; told apart by the colour-blind.

Steps are classes of CSS, so that one drawing serves both kinds of pages: `q0`, `q1`, … from little to much; `a0`, …
from opposed (orange) to agreeing (blue); `c0`, … from agreeing (blue) to conflicting (orange).
"""

from dataclasses import dataclass
from math import cos, isfinite, radians, sin
from typing import Literal

STEPS = 17
"""Odd, so that the two-sided scale has a middle."""

Point = tuple[float, float, float]
"""A colour as lightness, chroma and hue in degrees (OKLCH, Ottosson 2020)."""


@dataclass(frozen=True)
class Scale:
    """Numbers as steps of colour. kind: the letter of its classes, "q", "a" or "c"."""

    kind: str
    low: float
    high: float

    def step(self, value: float) -> int:
        """Return the step of a number; those outside get the last one.

        >>> [Scale("a", -1, 1).step(x) for x in (-1, 0, 1, 7)]
        [0, 8, 16, 16]
        """
        width = self.high - self.low
        share = (value - self.low) / width if width > 0 else 0.0
        return round(min(1.0, max(0.0, share)) * (STEPS - 1))


def sequential(values: list[float], low: float = 0.0) -> Scale:
    """Return a one-sided scale from `low`, or from 0 where no number is larger, to the largest of some numbers."""
    high = max([v for v in values if isfinite(v)], default=low)
    return Scale("q", low if high > low else 0.0, high)


def diverging(kind: Literal["a", "c"], values: list[float], middle: float, least: float) -> Scale:
    """Return a two-sided scale that reaches the number farthest from the middle, and `least` at least."""
    reach = max([least, *(abs(v - middle) for v in values if isfinite(v))])
    return Scale(kind, middle - reach, middle + reach)


LIGHT = {
    "q": ((0.975, 0.008, 210.0), (0.70, 0.10, 225.0), (0.40, 0.13, 265.0)),
    "c": ((0.50, 0.14, 255.0), (0.965, 0.004, 90.0), (0.58, 0.15, 45.0)),
    "a": ((0.58, 0.15, 45.0), (0.965, 0.004, 90.0), (0.50, 0.14, 255.0)),
}
DARK = {
    "q": ((0.27, 0.015, 265.0), (0.55, 0.11, 245.0), (0.90, 0.08, 200.0)),
    "c": ((0.74, 0.12, 245.0), (0.29, 0.004, 90.0), (0.76, 0.13, 60.0)),
    "a": ((0.76, 0.13, 60.0), (0.29, 0.004, 90.0), (0.74, 0.12, 245.0)),
}
INKS = ("#000000", "#ffffff")


def rules(scales: dict[str, tuple[Point, Point, Point]]) -> str:
    """Return the CSS of all scales: the fill of each step, and of the letters upon it."""
    out = []
    for kind, anchors in scales.items():
        for step in range(STEPS):
            fill = rgb(between(anchors, step / (STEPS - 1)))
            out.append(f".{kind}{step}{{fill:{fill}}}.i{kind}{step}{{fill:{ink(fill)}}}")
    return "".join(out)


def ink(fill: str) -> str:
    """Return the colour of letters that are read best on a colour.

    >>> ink("#ffffff"), ink("#203040")
    ('#000000', '#ffffff')
    """
    return max(INKS, key=lambda letters: contrast(letters, fill))


def contrast(first: str, second: str) -> float:
    """Return the ratio of two colours' luminances: 1 to 21, of which letters want 4.5.

    Source: WCAG 2.2, "contrast ratio".

    >>> contrast("#000000", "#ffffff")
    21.0
    """
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def between(anchors: tuple[Point, Point, Point], share: float) -> Point:
    """Return the colour at a share of the way over three anchors, straight in lightness, a and b."""
    first, second = (anchors[0], anchors[1]) if share < 0.5 else (anchors[1], anchors[2])
    part = 2 * share if share < 0.5 else 2 * share - 1
    (l0, a0, b0), (l1, a1, b1) = _lab(first), _lab(second)
    a, b = a0 + part * (a1 - a0), b0 + part * (b1 - b0)
    return l0 + part * (l1 - l0), a, b


def _lab(point: Point) -> Point:
    lightness, chroma, hue = point
    return lightness, chroma * cos(radians(hue)), chroma * sin(radians(hue))


def rgb(lab: Point) -> str:
    """Return a colour of OKLab as #rrggbb, the nearest that a screen has.

    Source: Ottosson 2020, "A perceptual color space for image processing".

    >>> rgb((1.0, 0.0, 0.0)), rgb((0.0, 0.0, 0.0))
    ('#ffffff', '#000000')
    """
    lightness, a, b = lab
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    return "#" + "".join(f"{round(255 * _gamma(min(1.0, max(0.0, part)))):02x}" for part in linear)


def _gamma(linear: float) -> float:
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
