"""From a budget, in bytes or in error, to the rank of every matrix or to the least entry that is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import RecipeError
from ..ops.thin import ranks
from ..store.dtypes import BITS, NAMES
from .job import Job
from .measured import HEADER, Measured, measure

MARGIN = 0.998
"""Part of an error that is aimed at: what is measured in the end may differ a little from what was added up."""


@dataclass(frozen=True)
class Choice:
    """What was chosen: by (task, tensor) a rank, and by task the least magnitude that is kept."""

    ranks: Mapping[tuple[int, str], int] = field(default_factory=dict)
    thresholds: Sequence[float] = ()


def choose(job: Job, budget: int | None, error: float | None) -> Choice:
    """Return what a budget or an error allows; nothing where neither is given.

    Raises:
        RecipeError: a method of one size, or a budget or an error that is too small; the message says the least.
    """
    if budget is None and error is None:
        return Choice()
    if budget is not None and error is not None:
        raise RecipeError("--budget and --error each choose the size. Type one of them.")
    if not job.method.size:
        raise RecipeError(
            f"'{job.method.name}' has one size, so that no budget or error can choose it. "
            f"Type --method low_rank or --method sparse, or leave --budget and --error out."
        )
    if error is not None and not 0 < error < 1:
        raise RecipeError(f"--error must lie between 0 and 1, got {error:g}. It is |packed - own| / |own|.")
    found = measure(job)
    if job.method.size == "rank":
        return _ranks_within(found, budget) if budget is not None else _ranks_leaving(job, found, error or 0.0)
    return _within(job, found, budget) if budget is not None else _leaving(job, found, error or 0.0)


def _fixed(found: Sequence[Measured]) -> int:
    """Return what is taken whatever is chosen: tensors that are kept whole, and the header."""
    return HEADER + sum(own.fixed for own in found)


def _check_budget(budget: int, least: int) -> None:
    if budget < least:
        raise RecipeError(
            f"--budget {budget} bytes is too small: what is kept whole, and the least of all else, take {least}. "
            f"Type --budget {least}, pack fewer models, or raise 'small' (--set small=…)."
        )


def _ranks_within(found: Sequence[Measured], budget: int) -> Choice:
    matrices = [(task, m, own.norm) for task, own in enumerate(found) for m in own.matrices]
    fixed = _fixed(found)
    _check_budget(budget, fixed + int(sum(m.cost for _, m, _ in matrices)))
    taken = ranks([m.gains / norm for _, m, norm in matrices], [m.cost for _, m, _ in matrices], within=budget - fixed)
    return Choice({(task, m.name): k for (task, m, _), k in zip(matrices, taken, strict=True)})


def _ranks_leaving(job: Job, found: Sequence[Measured], error: float) -> Choice:
    chosen: dict[tuple[int, str], int] = {}
    for task, own in enumerate(found):
        left = (MARGIN * error) ** 2 * own.norm - sum(m.rounding for m in own.matrices)
        if left < 0:
            least = (sum(m.rounding for m in own.matrices) / own.norm) ** 0.5 / MARGIN
            _refuse_error(job, task, error, least, f"factors in {job.settings['factors']}", "factors=float32")
        taken = ranks([m.gains for m in own.matrices], [m.cost for m in own.matrices], leaving=left)
        chosen |= {(task, m.name): k for m, k in zip(own.matrices, taken, strict=True)}
    return Choice(chosen)


def _refuse_error(job: Job, task: int, error: float, least: float, what: str, remedy: str) -> None:
    raise RecipeError(
        f"--error {error:g} is too small: {what} alone cost '{job.tasks[task].name}' {least:.2g}. "
        f"Type --error {1.01 * least:.2g}, or --set {remedy}."
    )


def _within(job: Job, found: Sequence[Measured], budget: int) -> Choice:
    """Bisect the least magnitude that is kept, in lengths of each task vector, so that all have a like error."""
    width = BITS["I8" if job.settings["values"] == "int8" else NAMES[job.settings["values"]]].itemsize
    fixed = _fixed(found)

    def taken(threshold: float) -> int:
        kept = [own.magnitudes.count_from(threshold * own.norm**0.5) for own in found]
        return fixed + sum(own.sparse_bytes(k, width) for own, k in zip(found, kept, strict=True))

    _check_budget(budget, taken(2.0))  # no entry is twice as large as all together
    low, high = -149.0, 1.0
    if taken(0.0) <= budget:
        return Choice(thresholds=[0.0] * len(found))
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if taken(2.0**middle) <= budget else (middle, high)
    return Choice(thresholds=[float(np.float32(2.0**high * own.norm**0.5)) for own in found])


def _leaving(job: Job, found: Sequence[Measured], error: float) -> Choice:
    thresholds = []
    for task, own in enumerate(found):
        left = (MARGIN * error) ** 2 * own.norm - own.lost
        if left < 0:
            least = (own.lost / own.norm) ** 0.5 / MARGIN
            _refuse_error(job, task, error, least, "values in eight bits", "values=float32")
        thresholds.append(own.magnitudes.threshold(left))
    return Choice(thresholds=thresholds)
