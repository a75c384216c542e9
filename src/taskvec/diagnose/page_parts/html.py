"""Pieces of the page; everything that comes from outside is escaped here."""

import re
from collections.abc import Iterable, Sequence
from html import escape as escape


def inline(said: str) -> str:
    """Escape words, and set what stands between backticks as code.

    >>> inline("use `ties` <now>")
    'use <code>ties</code> &lt;now&gt;'
    """
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(said).replace(" %", "\u00a0%"))


def section(key: str, title: str, lead: str, parts: Iterable[str]) -> str:
    """Return a part of the page that the navigation leads to."""
    said = f"<p>{inline(lead)}</p>" if lead else ""
    return f'<section id="{key}"><h2>{escape(title)}</h2>{said}{"".join(parts)}</section>'


def figure(title: str, how: str, svg: str) -> str:
    """Return one drawing under its title and how to read it; it scrolls by itself where it is too wide."""
    return (
        f'<figure class="sized"><figcaption><h3>{escape(title)}</h3><p>{inline(how)}</p></figcaption>'
        f"{_scroll(title, svg)}</figure>"
    )


def plots(title: str, how: str, key: str, drawings: Iterable[str]) -> str:
    """Return several small drawings that wrap, with a key to all of them."""
    return (
        f"<figure><figcaption><h3>{escape(title)}</h3><p>{inline(how)}</p></figcaption>{key}"
        f'<div class="plots">{"".join(drawings)}</div></figure>'
    )


def figures(parts: Iterable[str]) -> str:
    """Return drawings side by side where they fit."""
    return f'<div class="figures">{"".join(parts)}</div>'


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, the first column of which names its rows."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "".join(f"<tr>{_row(row)}</tr>" for row in rows)
    return _scroll(title, f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def _row(row: Sequence[str]) -> str:
    return f'<th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])


def _scroll(title: str, inside: str) -> str:
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}">{inside}</div>'
