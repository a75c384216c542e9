"""Shapes and letters of SVG as strings; every word is escaped here."""

from collections.abc import Sequence
from html import escape

NARROW, PLAIN, BROAD = 0.4, 0.63, 0.98
"""Widths of letters over their size, of a wide face; labels get this much room."""

THIN, THICK = frozenset("fijlrtIJ.,:;'|!()[]-/ ·"), frozenset("mwMW@%…")
SEPARATORS = "/-_. "


def letters(said: str, size: float = 12) -> float:
    """Return the room that some words need."""
    return size * sum(NARROW if c in THIN else BROAD if c in THICK else PLAIN for c in said)


def short(name: str, most: int) -> str:
    """Shorten a name in its middle.

    >>> short("tweet_offensive", 9), short("sst2", 9)
    ('twee…sive', 'sst2')
    """
    if len(name) <= most:
        return name
    head = most // 2
    return f"{name[:head]}…{name[len(name) - (most - 1 - head) :]}"


def shortened(names: Sequence[str], most: int) -> list[str]:
    """Shorten names so that they stay different: what all begin with first, then middles; numbers where all else fails.

    >>> shortened(["org/llama-maths", "org/llama-code"], 10), shortened(["aaaa1bbbb", "aaaa2bbbb"], 5)
    (['…maths', '…code'], ['aa…bb', '2 aa…'])
    """
    if len(names) > 1 and max(map(len, names)) > most:
        shared = _same(names)
        names = [f"…{name[shared:]}" for name in names] if shared > 1 else names
    out: list[str] = []
    for number, name in enumerate(names, 1):
        said = short(name, most)
        out.append(said if said not in out else f"{number} {said}"[: most - 1] + "…")
    return out


def _same(names: Sequence[str]) -> int:
    """Return how many letters all names begin with, up to the last separator among them."""
    first, last = min(names), max(names)
    same = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return max(first.rfind(separator, 0, same) for separator in SEPARATORS) + 1


def text(
    x: float, y: float, said: str, *, kind: str = "", anchor: str = "start", size: float = 12, more: str = ""
) -> str:
    """Return letters whose base line begins, has its middle or ends at a point."""
    at = "" if anchor == "start" else f' text-anchor="{anchor}"'
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}"{at}{named}{more}>{escape(said)}</text>'


def rect(x: float, y: float, width: float, height: float, kind: str, title: str = "", more: str = "") -> str:
    """Return a box, which says its title when it is pointed at."""
    box = f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{height:.1f}" class="{kind}"{more}'
    return f"{box}>{_title(title)}</rect>" if title else f"{box}/>"


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """Return a straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def circle(x: float, y: float, radius: float, kind: str, title: str) -> str:
    """Return a point."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" class="{kind}">{_title(title)}</circle>'


def path(points: Sequence[tuple[float, float]], kind: str, title: str = "") -> str:
    """Return straight lines from point to point."""
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{places}" class="{kind}">{_title(title)}</polyline>'


def picture(key: str, width: float, height: float, title: str, about: str, body: Sequence[str]) -> str:
    """Return a whole drawing, with a title and a description for those who do not see it; `key` is its name here."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" style="--wide:{width:.0f}px" role="img" aria-labelledby="{key}-title {key}-about">'
        f'<title id="{key}-title">{escape(title)}</title><desc id="{key}-about">{escape(about)}</desc>'
        f"{''.join(body)}</svg>"
    )


def _title(said: str) -> str:
    return f"<title>{escape(said)}</title>" if said else ""
