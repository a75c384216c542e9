"""Part `data`: the same EpiMer with statistics from fewer and fewer training examples."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from taskvec.evaluate.summary import Number, difference

from .alpha import EPIMER, MATCHED, UNSCALED
from .measures import count_of, facts_of, with_count
from .study import Study
from .trials import mean_of, tuned, worst_of
from .ways import Way

SHARES = (0.005, 0.01, 0.1, 1.0)
"""Of the training examples; the paper's."""


@dataclass(frozen=True)
class Row:
    """One share of the data: EpiMer's accuracy, and what it loses against the largest share."""

    way: str
    share: float
    examples: int
    mean: Number
    worst: Number
    lost: Number | None
    seconds: float


def pieces(study: Study) -> Iterator[object]:
    """Yield a row a share, without and with normalisation; from the largest, which the others are compared with, on."""
    for way in (EPIMER, UNSCALED):
        for share in SHARES:
            yield lambda way=way, share=share: row_of(study, way, share)


def row_of(study: Study, way: Way, share: float) -> Row:
    """Merge with the statistics of a share of the examples."""
    found = tuned(study, _at(study, way, share))
    whole = _whole(study, way)
    lost = difference(found.scores, tuned(study, whole).scores) if whole.key != found.way.key else None
    seconds = sum(fact["seconds"] or 0.0 for fact in facts_of(study, found.way))
    return Row(way.name, share, found.way.examples, mean_of(found.scores), worst_of(found.scores), lost, seconds)


def _at(study: Study, way: Way, share: float) -> Way:
    return with_count(study, replace(way.at(MATCHED[0]), examples=count_of(study, share)))


def _whole(study: Study, way: Way) -> Way:
    return _at(study, way, SHARES[-1])
