"""A benchmark's results as Markdown, for docs and for reading in a terminal."""

from collections.abc import Sequence
from typing import Any

from ..evaluate.results import Results, Row
from ..evaluate.score import Score
from ..evaluate.summary import Number, difference
from .choices import said as gain
from .negation import Negation


def share(number: Number | None) -> str:
    """Say a share in per cent, with half the width of its interval.

    >>> share(Number(0.7712, 0.751, 0.79)), share(None)
    ('77.1 ±2.0', '')
    """
    if number is None:
        return ""
    half = 50 * (number.high - number.low)
    return f"{100 * number.value:.1f}" + (f" ±{half:.1f}" if half else "")


def change(number: Number) -> str:
    """Say a gain in points, with half the width of its interval.

    >>> change(Number(0.012, -0.003, 0.027))
    '+1.2 ±1.5'
    """
    return f"{100 * number.value:+.1f} ±{50 * (number.high - number.low):.1f}"


YARDSTICK = "task_arithmetic, tuned"
"""The row that tuned methods' gains are measured from."""


def methods_table(results: Results) -> list[list[str]]:
    """Return the table of methods, header first: each at its default and tuned, the best tuned one first.

    `gain` is the tuned mean over that of the yardstick, both on the same examples.
    """
    header = ["model", "λ", "mean", "normalised", "worst", "tuned λ", "mean", "normalised", "worst", "gain", "merge"]
    rows = [row for row in results.rows if not row.facts.get("choice")]
    fixed = [row for row in rows if "method" not in row.facts]
    plain = [row for row in rows if row.facts.get("tuned") is False]
    tuned = {row.name.removesuffix(", tuned"): row for row in rows if row.facts.get("tuned")}

    def best(row: Row) -> float:
        summary = results.summary(tuned.get(row.name, row))
        return summary.mean.value if summary else 0.0

    yardstick = next((row for row in rows if row.name == YARDSTICK), None)
    out = [header, *([row.name, "", *_numbers(results, row), "", "", "", "", "", ""] for row in fixed)]
    for row in sorted(plain, key=best, reverse=True):
        other = tuned.get(row.name)
        more = [_scale(other), *_numbers(results, other), _gain(other, yardstick)] if other else [""] * 5
        out.append([row.name, _scale(row), *_numbers(results, row), *more, f"{row.facts['merge_seconds']:.1f} s"])
    return out


def _scale(row: Row) -> str:
    return "" if row.facts.get("scale") is None else f"{row.facts['scale']:g}"


def _gain(row: Row, yardstick: Row | None) -> str:
    if yardstick is None or row is yardstick:
        return ""
    return change(difference(row.scores, yardstick.scores))


def _numbers(results: Results, row: Row) -> list[str]:
    summary = results.summary(row)
    if summary is None:
        return ["", "", ""]
    return [share(summary.mean), share(summary.normalised), f"{share(summary.worst)} {summary.worst_task}"]


def choices_table(found: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Return the table of ways to choose coefficients, header first."""
    header = ["choice", "data", "mean", "normalised", "over λ = 0.3", "over 1/T", "evaluations", "time"]
    return [header] + [
        [f["name"], f["data"], share(f["mean"]), share(f["normalised"]), gain(f["over_default"]), gain(f["over_mean"]),
         f"{f['evaluations']:.1f}" if f["evaluations"] else "", f"{f['seconds']:.0f} s"]
        for f in found
    ]  # fmt: skip


def tasks_table(results: Results) -> list[list[str]]:
    """Return the single tasks' scores of base, specialists, joint training and the tuned methods, header first."""
    rows = [r for r in results.rows if "method" not in r.facts and not r.facts.get("choice")]
    rows += [r for r in results.rows if r.facts.get("tuned")]
    return [["model", *results.tasks]] + [[r.name, *(f"{100 * s.value:.1f}" for s in r.scores)] for r in rows]


def negation_table(negation: Negation) -> list[list[str]]:
    """Return the table of tasks that were forgotten, header first, their mean last."""
    control = negation.before.task
    header = ["task", "α", "before", "after", f"{control}, before", f"{control}, after"]
    before = share(_number(negation.before))
    rows = [
        [r.task, f"{r.scale:g}", share(_number(r.before)), share(_number(r.target)), before, share(_number(r.control))]
        for r in negation.rows
    ]
    start, target, kept = map(share, negation.means)
    return [header, *rows, ["mean", "", start, target, before, kept]]


def _number(score: Score) -> Number:
    return Number(score.value, score.low, score.high)


def markdown(table: Sequence[Sequence[str]]) -> str:
    """Return a table as Markdown.

    >>> print(markdown([["a", "b"], ["1", "2"]]))
    | a | b |
    | --- | --- |
    | 1 | 2 |
    """
    lines = [f"| {' | '.join(row)} |" for row in table]
    return "\n".join([lines[0], f"| {' | '.join('---' for _ in table[0])} |", *lines[1:]])
