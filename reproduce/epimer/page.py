"""The page of results: prose by hand, and between markers what the command writes."""

import os
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from taskvec.evaluate.rank_correlation import spearman
from taskvec.evaluate.summary import Number, difference
from taskvec.suite.page import markdown, share

from . import alpha, data, rank, span, verdict
from .alpha import MATCHED
from .figures import cloud, curves
from .measures import SHARE, count_of
from .study import Piece, Study, Unknown
from .trials import mean_of, worst_of

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "reproductions" / "epimer.md"
PARTS = ("alpha", "verdict", "data", "rank")


def known(pieces: Iterable[Piece]) -> tuple[list[Any], int]:
    """Return what is known of some pieces, and how many are not."""
    out, missing = [], 0
    for piece in pieces:
        try:
            out.append(piece())
        except Unknown:
            missing += 1
    return out, missing


def write(study: Study, page: Path = PAGE) -> None:
    """Write everything that is known into the page; `study` is frozen."""
    makers = {"alpha": _alpha, "verdict": _verdict, "data": _data, "rank": _rank}
    text = page.read_text("utf-8")
    for part in PARTS:
        text = _between(text, f"{study.loaded.slug} {part}", makers[part](study, page), page)
    page.write_text(text, "utf-8")


def _between(text: str, name: str, lines: Sequence[str], page: Path) -> str:
    begin, end = f"<!-- {name}: made by python -m reproduce.epimer -->", f"<!-- /{name} -->"
    before, found, rest = text.partition(begin)
    if not found:
        raise SystemExit(f"{page} has no '{begin}'")
    return before + begin + "\n\n" + "\n".join(lines) + "\n\n" + end + rest.partition(end)[2]


def _alpha(study: Study, page: Path) -> list[str]:
    rows, missing = known(alpha.pieces(study))
    swept, _ = known(alpha.curve_pieces(study))
    out = [_scored(study, "alpha"), "", *_fixed(study)]
    if rows:
        head = ["merge", "rank", "best α", "mean", "worst task", "mean over TSV-M", "worst over TSV-M"]
        out += ["", markdown([head, *(_alpha_line(row) for row in rows)])]
    out += _missing(missing)
    if swept:
        series = {name: [(a, 100 * mean) for n, a, mean, _ in swept if n == name] for name in alpha.CURVES}
        series |= {
            f"{name}, worst task": [(a, 100 * w) for n, a, _, w in swept if n == name] for name in alpha.CURVES[:2]
        }
        drawn = {name: places for name, places in series.items() if len(places) > 1}
        what = f"{study.loaded.name}: test accuracy over α at rank {MATCHED[0]}"
        if drawn:
            out += ["", _figure(page, f"{study.loaded.slug}-alpha", curves(what, drawn, "α", "per cent"), what)]
    return out


def _alpha_line(row: alpha.Row) -> list[str]:
    edge = ", the last tried" if row.tuned.at_edge else ""
    best = f"{row.tuned.scale:.3g}{edge}" if row.tuned.way.grid != alpha.ONE else "1, not tuned"
    ranks = {None: "", 0: "r/T"}
    gains = ["" if number is None else points(number) for number in (row.gain, row.worst_gain)]
    return [row.name, ranks.get(row.rank, str(row.rank)), best, share(row.mean), share(row.worst), *gains]


def _fixed(study: Study) -> list[str]:
    try:
        base, own = study.base_scores("test"), list(study.specialists["test"].values())
    except Unknown:
        return []
    said = [
        f"{name} {share(mean_of(s))}, worst task {share(worst_of(s))}"
        for name, s in (("base", base), ("specialists", own))
    ]
    return [f"For comparison: {'; '.join(said)}."]


def points(number: Number) -> str:
    """Say a gain in points with its interval.

    >>> points(Number(0.012, -0.003, 0.027))
    '+1.2 (-0.3 to +2.7)'
    """
    return f"{100 * number.value:+.1f} ({100 * number.low:+.1f} to {100 * number.high:+.1f})"


def _verdict(study: Study, page: Path) -> list[str]:
    cases, missing = known(verdict.pieces(study))
    out = [_scored(study, "verdict")]
    groups = {
        "All sets": cases,
        "Pairs": [c for c in cases if len(c.tasks) == 2],
        "Larger sets": [c for c in cases if len(c.tasks) > 2],
    }
    for name, group in groups.items():
        if len(group) > 5:
            out += ["", f"{name} ({len(group)}):", "", markdown(_correlations(group))]
    out += _missing(missing)
    if len(cases) > 5:
        out += ["", _losses(cases)]
        for merged in verdict.SCALES:
            out += ["", _verdict_figure(study, page, cases, merged)]
    return out


def _losses(cases: Sequence[verdict.Case]) -> str:
    """Say how large the excess loss of task arithmetic was expected to be, and was."""
    diagonal, in_span, measured = (np.median([case.excess[i] for case in cases]) for i in range(3))
    rank = spearman(*(np.array([case.excess[i] for case in cases]) for i in (1, 2)))
    return (
        f"Task arithmetic's mean excess loss on {span.EXAMPLES} training examples a task, median over sets: measured "
        f"{measured:.2g}; expected by the diagonal {diagonal:.2g}, in the span {in_span:.2g} (rank correlation of the "
        f"latter with what was measured {rank:+.2f})."
    )


def _correlations(cases: Sequence[verdict.Case]) -> list[list[str]]:
    keys = [(merged, which) for merged in verdict.SCALES for which in ("mean", "worst")]
    head = ["predicted by", "made of", *(f"{merged}, {which}" for merged, which in keys)]
    lines = [[row.name, row.made_of, *(_rho(*row.found[key]) for key in keys)] for row in verdict.correlations(cases)]
    halves = [f"{verdict.reliability(cases, merged):.2f}" if which == "mean" else "" for merged, which in keys]
    return [head, *lines, ["the same merges on half of the test examples each", "", *halves]]


def _rho(value: float, low: float, high: float) -> str:
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})"


def _verdict_figure(study: Study, page: Path, cases: Sequence[verdict.Case], merged: str) -> str:
    name = verdict.IN_SPAN["excess", "mean"]
    series = {
        said: [(c.predicted[merged][name], 100 * c.measured[merged][0]) for c in cases if test(len(c.tasks))]
        for said, test in (
            ("pairs", lambda n: n == 2),
            ("3 to 5 tasks", lambda n: 2 < n < 6),
            ("6 and more", lambda n: n > 5),
        )
    }
    what = f"{study.loaded.name}, {merged}: what was expected and what came"
    of = {said: places for said, places in series.items() if places}
    drawn = cloud(what, of, "excess loss in the span, mean task", "normalised accuracy, per cent")
    return _figure(page, f"{study.loaded.slug}-verdict-{merged.lower().replace(' ', '-')}", drawn, what)


def _data(study: Study, page: Path) -> list[str]:
    del page
    rows, missing = known(data.pieces(study))
    most = {row.way: max((r for r in rows if r.way == row.way), key=lambda r: r.share) for row in rows}
    head = ["merge", "share", "examples a task", "mean", "worst task", "over the largest share here"]
    lines = [
        [row.way, f"{100 * row.share:g} %", str(row.examples), share(mean_of(row.scores)), share(worst_of(row.scores)),
         "" if row is most[row.way] else points(difference(row.scores, most[row.way].scores))]
        for row in sorted(rows, key=lambda row: (row.way, row.share))
    ]  # fmt: skip
    return [_scored(study, "data"), *(["", markdown([head, *lines])] if rows else []), *_missing(missing)]


def _rank(study: Study, page: Path) -> list[str]:
    rows, missing = known(rank.pieces(study))
    head = [
        "k",
        "TSV-M",
        "EpiMer, summed",
        "EpiMer, plain mean",
        "summed over TSV-M",
        "summed over plain",
        "η",
        "η / F(flat)",
    ]
    lines = [
        [str(r.rank), share(r.tsv_m), share(r.epimer), share(r.plain), points(r.margin), points(r.summed),
         f"{r.eta:.3g}", f"{100 * r.share:.1f} %"]
        for r in rows
    ]  # fmt: skip
    out = [_scored(study, "rank"), *(["", markdown([head, *lines])] if rows else []), *_missing(missing)]
    if len(rows) > 1:
        what = f"{study.loaded.name}: test accuracy over the rank"
        series = {
            "TSV-M": [(r.rank, 100 * r.tsv_m.value) for r in rows],
            "EpiMer": [(r.rank, 100 * r.epimer.value) for r in rows],
        }
        out += ["", _figure(page, f"{study.loaded.slug}-rank", curves(what, series, "k", "per cent", even=True), what)]
    return out


def _figure(page: Path, name: str, drawn: str, what: str) -> str:
    folder = page.parent / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.svg").write_text(drawn, "utf-8")
    return f"![{what}](pictures/{name}.svg)"


def _missing(count: int) -> list[str]:
    return ["", f"Not run yet: {count} of these. The same command goes on where it stopped."] if count else []


def _scored(study: Study, part: str) -> str:
    counts = {split: max(len(task.examples) for task in study.tasks[split]) for split in ("validation", "test")}
    taken = f"statistics of {count_of(study)} training examples a task ({100 * SHARE:g} %) where nothing else is said"
    return (
        f"Written on {date.today()} by `python -m reproduce.epimer --suite {file_of(study)} --parts {part}` "
        f"on {machine()}: {len(study.names)} tasks, models in {study.model.precision}, up to {counts['validation']} "
        f"validation and {counts['test']} test examples a task, {taken}."
    )


def file_of(study: Study) -> str:
    """Return the suite's file as it is typed in the repository."""
    file = study.loaded.file.resolve()
    return str(file.relative_to(REPOSITORY) if file.is_relative_to(REPOSITORY) else file.name)


def machine() -> str:
    """Say what it ran on."""
    named = [x.split(":", 1)[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x]
    return f"{os.cpu_count()} cores of {named[0] if named else 'a processor'}"
