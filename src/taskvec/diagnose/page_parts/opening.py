"""The head of the page: what was looked at, in a few figures, and what it suggests."""

from collections.abc import Sequence

import numpy as np

from ...ops.coefficients import equal_energy, products_of_sum
from .. import figures
from ..advising.said import Advice
from ..words import number, percent
from .html import escape, inline, section
from .shown import Shown

WORDS = {"warning": "Take care", "suggestion": "Suggestion", "note": "Note"}


def opening(shown: Shown) -> str:
    """Return the title and the figures that matter most."""
    report = shown.report
    name = report.base.rstrip("/").rsplit("/", 1)[-1]
    full = f" The base is <code>{escape(report.base)}</code>." if name != report.base else ""
    tiles = "".join(
        f"<div><dt>{escape(what)}</dt><dd>{escape(value)}<small>{inline(more)}</small></dd></div>"
        for what, value, more in _tiles(shown)
    )
    return (
        f"<header><h1>{len(report.models)} models around {escape(name)}</h1>"
        f'<p class="lead">How they relate, and what a merge of them will meet.{full}</p>'
        f'<dl class="tiles">{tiles}</dl></header>'
    )


def _tiles(shown: Shown) -> list[tuple[str, str, str]]:
    report, total = shown.report, shown.total
    change = figures.relative_change(total)
    upper = np.triu_indices(len(report.models), 1)
    cos = figures.cosines(total)[upper]
    trimmed = figures.trimmed_conflict(total).value[upper]
    trimmed = trimmed[np.isfinite(trimmed)]
    lost = figures.lost(total.rounding)
    return [
        ("Entries", count(total.entries), f"in {total.tensors:,} tensors"),
        (
            "Mean relative change",
            percent(float(np.mean(change))),
            _range(percent(change.min()), percent(change.max())),
        ),
        ("Mean cosine", number(figures.mean_cosine(total), 3), _range(number(cos.min(), 3), number(cos.max(), 3))),
        (
            "Sign conflict",
            percent(float(trimmed.mean())) if trimmed.size else "–",
            f"{_range(percent(trimmed.min()), percent(trimmed.max()))}; chance: 50 %"
            if trimmed.size
            else "not measured",
        ),
        ("Scale by equal energy", _scale(shown), "of a plain sum"),
        (f"Rounding to {report.dtype}", percent(float(lost[-1])), "error, of the average's change"),
    ]


def _scale(shown: Shown) -> str:
    energy, _ = products_of_sum(shown.total.gram, np.ones(len(shown.names)))
    return number(equal_energy(energy, np.diagonal(shown.total.gram))) if energy > 0 else "–"


def _range(low: str, high: str) -> str:
    return f"{low} to {high}"


def count(entries: int) -> str:
    """Say a large number.

    >>> count(950), count(22_713_216), count(7_000_000_000)
    ('950', '22.7 M', '7.00 B')
    """
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if entries >= size:
            return f"{entries / size:.3g} {unit}" if entries / size >= 10 else f"{entries / size:.2f} {unit}"
    return str(entries)


def suggestions(advice: Sequence[Advice]) -> str:
    """Return the advice, the gravest first."""
    data = any(one.topic == "curvature" for one in advice)
    seen = "Of data, only what curvature was measured on was seen" if data else "No data was seen"
    lead = f"What was measured, and what that suggests. {seen}: a score on examples decides."
    items = "".join(_item(one) for one in advice)
    return section("advice", "What it suggests", lead, [f'<ul class="advice">{items}</ul>'])


def _item(one: Advice) -> str:
    source = f'<p class="source">See <code>{escape(one.source)}</code></p>' if one.source else ""
    said = f"<h3>{inline(one.title)}</h3><p>{inline(one.text)}</p>{source}"
    return f'<li class="{one.severity}"><b>{WORDS[one.severity]}</b><div>{said}</div></li>'
