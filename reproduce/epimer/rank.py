"""Part `rank`: EpiMer and TSV-M at every rank, the plain mean, and η."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from taskvec.evaluate.summary import Number, difference
from taskvec.ops.mergeability import merge_sums

from .alpha import EPIMER, TSV_M
from .bases import Bases
from .measures import measures, with_count
from .study import Piece, Study, key_of
from .trials import mean_of, tuned
from .ways import ONE, Way

RANKS = (1, 2, 4, 8, 16, 32, 48)


@dataclass(frozen=True)
class Row:
    """One rank: accuracy of TSV-M, EpiMer summed and plain, the margins, and η with its share of F(flat)."""

    rank: int
    tsv_m: Number
    epimer: Number
    plain: Number
    margin: Number
    summed: Number
    eta: float
    share: float


def pieces(study: Study) -> Iterator[Piece]:
    """Yield a row a rank; a matrix takes at most an equal share of its directions a task."""
    for rank in RANKS:
        yield partial(row_of, study, rank)


def row_of(study: Study, rank: int) -> Row:
    """Merge at one rank in three ways."""
    ways = (TSV_M.at(rank), EPIMER.at(rank), replace(EPIMER, grid=ONE).at(rank, aggregate="mean"))
    flat, summed, plain = (tuned(study, way).scores for way in ways)
    eta, whole = eta_of(study, rank)
    return Row(
        rank, mean_of(flat), mean_of(summed), mean_of(plain), difference(summed, flat), difference(summed, plain),
        eta, eta / whole if whole else 0.0,
    )  # fmt: skip


def eta_of(study: Study, rank: int) -> tuple[float, float]:
    """Return η = F(flat) - F(curved) summed over matrices, and F(flat), each task's Fisher over its trace."""
    way = with_count(study, EPIMER)
    found = study.noted(f"eta {key_of(way.estimator, way.examples, rank)}", lambda: _eta(study, way, rank))
    return found[0], found[1]


def _eta(study: Study, way: Way, rank: int) -> list[float]:
    bases, known = Bases(study.changes), measures(study, way)
    assert known, "EpiMer has statistics"
    totals = np.zeros(2)
    for name in bases.matrices:
        held = [m for task in study.every if (m := known.of(name, task))]
        if not held:
            continue  # no gradient reaches it
        atoms = bases.labelled(name, study.every, rank)
        scaled = [m.metric.times(1 / m.total) for m in held]
        sums = merge_sums(list(study.changes.deltas[name]), scaled, basis=atoms.basis, targets=atoms.targets)
        totals += [sums.eta, sums.variance("flat")]
    return [float(x) for x in totals]
