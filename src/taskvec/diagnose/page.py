"""One page that shows a report: nothing is fetched, nothing needs a script, and it opens anywhere."""

from html import escape
from pathlib import Path

from ..errors import OutputError, RecipeError
from .advice import advise
from .page_parts.closing import closing
from .page_parts.layers import changes, conflicts
from .page_parts.mergeability import mergeability
from .page_parts.opening import opening, suggestions
from .page_parts.relations import relations
from .page_parts.shown import shown_of
from .page_parts.spectra import spectra
from .page_parts.style import style
from .page_parts.tables import groups, losses, models
from .report import Report

LINKS = {
    "advice": "Advice",
    "mergeability": "Mergeability",
    "models": "Models",
    "relations": "Relations",
    "change": "Change",
    "conflict": "Conflict",
    "spectra": "Spectra",
    "rounding": "Rounding",
    "groups": "Groups",
    "how": "How measured",
}


def render(report: Report) -> str:
    """Return the page of a report as HTML: its advice, figures as SVG, and tables.

    Edge: without spectra or curvature their sections are not there; where numbers do not fit into a heat map's cells,
        they are said where the cell is pointed at, and in the tables.

    Raises:
        RecipeError: where the report has fewer than two models.
    """
    if len(report.models) < 2:
        raise RecipeError(f"a report of {len(report.models)} model has nothing to compare; inspect at least two models")
    shown = shown_of(report)
    parts = [
        suggestions(advise(report)),
        mergeability(shown),
        models(shown),
        relations(shown),
        changes(shown),
        conflicts(shown),
        spectra(shown),
        losses(shown),
        groups(shown),
        closing(shown),
    ]
    body = "".join(parts)
    links = "".join(f'<a href="#{key}">{said}</a>' for key, said in LINKS.items() if f'<section id="{key}">' in body)
    title = f"{len(report.models)} models around {report.base.rstrip('/').rsplit('/', 1)[-1]}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{style()}</style></head>\n"
        f'<body><main>{opening(shown)}<nav aria-label="On this page">{links}</nav>\n{body}'
        "<footer>Made by taskvec inspect.</footer></main></body></html>\n"
    )


def write_page(report: Report, path: str | Path) -> Path:
    """Write the page of a report, and return where.

    Raises:
        OutputError: where it cannot be written.
    """
    target = Path(path)
    try:
        target.write_text(render(report), encoding="utf-8")
    except OSError as why:
        raise OutputError(f"cannot write the report {str(target)!r}: {why.strerror}") from why
    return target
