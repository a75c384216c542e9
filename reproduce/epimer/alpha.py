"""Part `alpha`: every merge with α swept beyond 1, at matched rank; each at its best α against TSV-M at its own."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from taskvec.evaluate.summary import Number, difference

from .study import Piece, Study
from .trials import Candidate, Tuned, mean_of, tuned, worst_difference, worst_of
from .ways import MEAN, ONE, PLAIN_SUM, Way

EF = "empirical_fisher"
FEW = 50
"""Examples a task for estimators that take many passes each."""

MATCHED = (16, 0)
"""Ranks at which EpiMer and TSV-M are compared: the probe's, and the rank of a matrix over T, TSV-M's own (0)."""

TSV_M = Way("TSV-M", "tsv_m")
EPIMER = Way("EpiMer, each task's Fisher over its trace", "epimer", {"normalise": "model"}, EF)
UNSCALED = replace(EPIMER, name="EpiMer, Fisher as measured", settings={"normalise": "none"})

WHOLE = (
    Way("mean", "task_arithmetic", grid=(0.125,)),
    Way("task arithmetic", "task_arithmetic", grid=PLAIN_SUM),
    Way("TIES", "ties"),
    Way("Fisher averaging", "fisher", {}, EF, grid=ONE),
    Way("Fisher averaging, scaled", "fisher", {}, EF, grid=MEAN),
    Way("RegMean", "regmean", {}, "gram", grid=ONE),
    Way("RegMean, scaled", "regmean", {}, "gram", grid=MEAN),
)
"""Merges in the whole space."""

MAIN = (TSV_M, EPIMER, UNSCALED)
SCALED = {"normalise": "model"}
VARIANTS = (
    replace(EPIMER, name="EpiMer, damping 0.1", settings={**SCALED, "damping": 0.1}),
    replace(EPIMER, name="EpiMer, normalised a tensor", settings={"normalise": "tensor"}),
    replace(EPIMER, name="EpiMer, plain mean", settings={**SCALED, "aggregate": "mean"}, grid=ONE),
    Way("EpiMer, curvature from the task vectors alone", "epimer", {**SCALED, "metric": "deltas"}),
    replace(EPIMER, name="EpiMer, GGN", estimator="ggn", examples=FEW),
    replace(EPIMER, name="EpiMer, K-FAC", estimator="kfac"),
    replace(EPIMER, name="EpiMer, safeguard", settings={**SCALED, "safeguard": True}),
    replace(EPIMER, name="EpiMer, Newton-corrected targets", settings={**SCALED, "targets": "newton"}, gradient=True),
    replace(EPIMER, name="EpiMer, projected coordinates", settings={**SCALED, "coords": "project"}),
    replace(EPIMER, name="EpiMer, Fisher with drawn labels", estimator="fisher"),
    replace(EPIMER, name="EpiMer, EK-FAC", estimator="ekfac", examples=FEW),
    replace(EPIMER, name="EpiMer, batch squares", estimator="batch_fisher"),
)

SWEPT = (0.2, 0.6, 1.0, 1.4, 1.8, 2.4)
CURVES = ("TSV-M", EPIMER.name, UNSCALED.name)
"""Merges whose whole sweep is scored on the test examples, at the first of the matched ranks."""


@dataclass(frozen=True)
class Row:
    """A line of the table: a merge at its best α, and how much better it is than TSV-M at its own best."""

    name: str
    rank: int | None
    tuned: Tuned
    mean: Number
    worst: Number
    gain: Number | None
    worst_gain: Number | None


class Point(NamedTuple):
    """One α of a sweep: accuracy of the mean and of the worst task."""

    name: str
    scale: float
    mean: float
    worst: float


def ways(study: Study) -> list[tuple[int | None, Way]]:
    """Return what is compared, what matters most first."""
    average = replace(WHOLE[0], grid=(1 / len(study.names),))
    whole = [(None, way) for way in (average, *WHOLE[1:])]
    main = [(rank, way.at(rank)) for rank in MATCHED for way in MAIN]
    return [*main, *whole, *((MATCHED[0], way.at(MATCHED[0])) for way in VARIANTS)]


def row_of(study: Study, rank: int | None, way: Way) -> Row:
    """Score one merge; what has no rank is compared with TSV-M at its own rank."""
    found = tuned(study, way)
    yardstick = None if way.method == "tsv_m" else tuned(study, TSV_M.at(rank or 0))
    gain = worst_gain = None
    if yardstick:
        gain, worst_gain = difference(found.scores, yardstick.scores), worst_difference(found.scores, yardstick.scores)
    return Row(way.name, rank, found, mean_of(found.scores), worst_of(found.scores), gain, worst_gain)


def pieces(study: Study) -> Iterator[Piece]:
    """Yield what can be done one after the other."""
    for rank, way in ways(study):
        yield partial(row_of, study, rank, way)


def curve_pieces(study: Study) -> Iterator[Piece]:
    """Yield the sweeps on the test examples, α by α."""
    for way in MAIN:
        candidate = Candidate(study, way.at(MATCHED[0]))
        for scale in SWEPT:
            yield partial(point_of, candidate, scale)


def point_of(candidate: Candidate, scale: float) -> Point:
    """Score one α of a sweep."""
    values = [score.value for score in candidate.scores(scale, "test")]
    return Point(candidate.way.name, scale, sum(values) / len(values), min(values))
