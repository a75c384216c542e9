"""Models that are the base, nearly each other, or mostly made of the others."""

from collections.abc import Iterator

import numpy as np

from .. import figures
from ..report import Report
from ..words import number, percent, several
from .said import Advice

REDUNDANT = 0.5
"""A vector with more than half of its energy in the others' span: what it adds is less than what it repeats."""


def kin(report: Report) -> Iterator[Advice]:
    """Tell of models equal to the base, of near copies and near opposites, and of what adds little."""
    yield from _zeros(report)
    yield from _copies(report)
    yield from _opposites(report)
    yield from _redundant(report)


def _zeros(report: Report) -> Iterator[Advice]:
    names = tuple(report.models[t] for t in np.flatnonzero(figures.zero_vectors(report.total)))
    if names:
        are = "is" if len(names) == 1 else "are"
        text = f"{several(names)} {are} equal to the base in every tensor (|τ| = 0): in a merge that only takes weight."
        yield Advice("models", "warning", "Equal to the base", text, {"zero_vectors": float(len(names))}, names)


def _copies(report: Report) -> Iterator[Advice]:
    for i, j, cos in sorted(figures.near_copies(report.total), key=lambda pair: -pair[2]):
        a, b = report.models[i], report.models[j]
        text = (
            f"{a} and {b} are near copies (cosine {number(cos, 3)}): a merge counts what they learnt twice. Leave one "
            "out, or give both half the weight."
        )
        yield Advice("models", "warning", "Near copies", text, {"cosine": cos}, (a, b))


def _opposites(report: Report) -> Iterator[Advice]:
    for i, j, cos in sorted(figures.near_opposites(report.total), key=lambda pair: pair[2]):
        a, b = report.models[i], report.models[j]
        text = f"{a} and {b} are near opposites (cosine {number(cos, 3)}): in a sum they cancel. Check what they are."
        yield Advice("models", "warning", "Near opposites", text, {"cosine": cos}, (a, b))


def _redundant(report: Report) -> Iterator[Advice]:
    inside = figures.in_span(report.total)
    in_pairs = {
        t for i, j, _ in figures.near_copies(report.total) + figures.near_opposites(report.total) for t in (i, j)
    }
    most = [int(t) for t in np.argsort(-inside) if inside[t] > REDUNDANT and t not in in_pairs]
    if most:
        names = tuple(report.models[t] for t in most)
        said = [f"{report.models[t]} ({percent(inside[t])})" for t in most]
        text = (
            f"{several(said)}: this much of the squared norm lies in the span of the other task vectors, so a weighted "
            "sum of the others holds much of it already."
        )
        yield Advice("models", "note", "Mostly in the span of others", text, {"in_span": float(inside[most[0]])}, names)
