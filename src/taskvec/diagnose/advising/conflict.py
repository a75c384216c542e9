"""Which models pull against each other, and where."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ...ops.shapes import Float64
from .. import figures
from ..report import Group, Report
from ..words import FEW, number, percent, say_place
from .said import Advice

OPPOSED = -0.1
"""A cosine below this takes more than a tenth of a vector away from the other, which no chance does in a model."""

CLASHING = 0.55
"""Unrelated vectors differ in sign in half of their common largest entries; a twentieth more is a tendency."""

SURE = 4.0
"""Standard errors beyond which a figure is no chance, of many that were looked at."""

Found = tuple[float, str, str, str]
"""A figure, the two models, and the place."""


def conflict(report: Report) -> Iterator[Advice]:
    """Tell of pairs of opposed vectors and where most; where there are none, of the pair that comes nearest."""
    opposed, clashing = _opposed(report), _clashing(report)
    if opposed:
        yield _say_opposed(opposed)
    if clashing:
        yield _say_clashing(clashing, report.kept)
    if not opposed and not clashing:
        yield from _calm(report)


def _opposed(report: Report) -> list[Found]:
    """Return cosines below `OPPOSED` and beyond chance, 1/√n for n entries, lowest first."""
    found = []
    for group in report.groups:
        cos = figures.cosines(group)
        limit = min(OPPOSED, -SURE / np.sqrt(max(1, group.entries)))
        for i, j in _pairs(cos < limit):
            found.append((float(cos[i, j]), report.models[i], report.models[j], say_place(group)))
    return sorted(found)


def _clashing(report: Report) -> list[Found]:
    """Return shares of trimmed conflict above `CLASHING` and beyond chance, highest first."""
    found = []
    for group in report.groups:
        share = figures.trimmed_conflict(group)
        least = np.maximum(CLASHING, 0.5 + SURE * _error(group))
        for i, j in _pairs(share.value > least):
            found.append((float(share.value[i, j]), report.models[i], report.models[j], say_place(group)))
    return sorted(found, reverse=True)


def _error(group: Group) -> Float64[np.ndarray, "task task"]:
    """Return the standard error of a share of one half among the entries that both kept."""
    error: Float64[np.ndarray, "task task"] = np.sqrt(0.25 / np.maximum(1, group.counts.kept))
    return error


def _pairs(where: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    return [(int(i), int(j)) for i, j in zip(*np.nonzero(np.triu(where, 1)), strict=True)]


def _say_opposed(found: list[Found]) -> Advice:
    cases = [f"{a} and {b} in {place} ({number(cos)})" for cos, a, b, place in found[:FEW]]
    text = (
        f"{_count(found)} point against each other (cosine below {number(OPPOSED, 1)}), most of all "
        f"{'; '.join(cases)}. What a sum adds of one there, it takes from the other: lower weights in those layers, or "
        "a method that settles signs, would keep more of both."
    )
    behind = {"lowest_cosine": found[0][0], "cases": float(len(found))}
    return Advice("conflict", "warning", "Opposed in places", text, behind, _about(found))


def _say_clashing(found: list[Found], kept: float) -> Advice:
    cases = [f"{a} and {b} in {place} ({percent(share)})" for share, a, b, place in found[:FEW]]
    text = (
        f"Of the entries that are among the largest {percent(kept)} of both, {_count(found)} differ in sign more often "
        f"than unrelated ones would (50 %), most of all {'; '.join(cases)}."
    )
    behind = {"highest_trimmed_conflict": found[0][0], "cases": float(len(found))}
    return Advice("conflict", "warning", "Signs clash in places", text, behind, _about(found))


def _count(found: list[Found]) -> str:
    pairs = len({(a, b) for _, a, b, _ in found})
    places = len({place for *_, place in found})
    return f"{pairs} {'pair' if pairs == 1 else 'pairs'} of models, in {places} {'group' if places == 1 else 'groups'},"


def _about(found: list[Found]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for _, a, b, _ in found for name in (a, b)))


def _calm(report: Report) -> Iterator[Advice]:
    total = report.total
    cos, share = figures.cosines(total), figures.trimmed_conflict(total)
    moved = np.flatnonzero(~figures.zero_vectors(total))
    pairs = [(int(i), int(j)) for i in moved for j in moved if i < j]
    if not pairs:
        return
    i, j = min(pairs, key=lambda pair: cos[pair])
    a, b = report.models[i], report.models[j]
    text = f"No two models pull against each other: the lowest cosine is {number(cos[i, j], 3)} ({a} and {b})"
    behind = {"lowest_cosine": float(cos[i, j])}
    seen = [share.value[pair] for pair in pairs if np.isfinite(share.value[pair])]
    if seen:
        behind |= {"lowest_trimmed_conflict": float(min(seen)), "highest_trimmed_conflict": float(max(seen))}
        text += (
            f", and among the largest {percent(report.kept)} of the entries of both, signs differ in "
            f"{percent(min(seen))} to {percent(max(seen))} of cases (unrelated vectors: 50 %)"
        )
    yield Advice("conflict", "note", "No conflict stands out", text + ".", behind, (a, b))
