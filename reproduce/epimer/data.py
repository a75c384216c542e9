"""Part `data`: the same EpiMer with statistics from fewer and fewer training examples."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from taskvec.evaluate.score import Score

from .alpha import EPIMER, MATCHED, UNSCALED
from .measures import count_of, with_count
from .study import Piece, Study
from .trials import tuned
from .ways import Way

SHARES = (0.005, 0.01, 0.1, 1.0)
"""Of the training examples; the paper's."""


@dataclass(frozen=True)
class Row:
    """One share of the data, and EpiMer's scores with it."""

    way: str
    share: float
    examples: int
    scores: list[Score]


def pieces(study: Study) -> Iterator[Piece]:
    """Yield a row a share, with and without normalisation."""
    for share in SHARES:
        for way in (EPIMER, UNSCALED):
            yield partial(row_of, study, way, share)


def row_of(study: Study, way: Way, share: float) -> Row:
    """Merge with the statistics of a share of the examples."""
    found = tuned(study, with_count(study, replace(way.at(MATCHED[0]), examples=count_of(study, share))))
    return Row(way.name, share, found.way.examples, found.scores)
