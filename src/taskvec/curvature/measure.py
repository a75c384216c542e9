"""Measure curvature into a folder of statistics."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import RecipeError, StoreError
from ..evaluate.model import Model
from ..finetune.lessons import Lesson
from ..progress import Progress, Silent
from ..store.lock import only_writer
from ..store.statistics import Statistics, StatisticsWriter, check_new
from .assembled import Assembled
from .cost import Cost, cost_of
from .estimate import add_up, new_sums, told
from .estimating import Estimating
from .sums import Sums
from .work import Work

EVERY = 30.0
"""Seconds between two times that sums are kept, at least."""

SHARE = 0.05
"""The share of the time that keeping them may take."""


def measure_curvature(
    model: Model,
    lesson: Lesson,
    out: Path,
    how: Estimating | None = None,
    progress: Progress | None = None,
    force: bool = False,
    tell: Callable[[Cost], None] | None = None,
    keep: bool = False,
) -> Statistics:
    """Measure the curvature of a lesson's loss around a model's weights, and write it; see `estimate` for what it is.

    The folder is there whole or not at all. Every half minute, or as often as costs a twentieth of the time, the sums
    are kept beside it; the same call goes on from there after an interruption, and gives the same numbers.

    Args:
        model: whose weights; they stay as they are.
        lesson: examples, and the head that says what is right.
        out: the folder of statistics.
        how: the estimator, how many examples, and so on.
        progress: told of every batch.
        force: replace statistics that are there, once the new ones are whole.
        tell: told beforehand what it will take.
        keep: statistics that are there already, of the same work, are returned as they are; where another run is
            measuring them, it is waited for.

    Raises:
        OutputError: `out` is there already, is being written by another run, or cannot be written.
        RecipeError: other weights were put into the model: statistics are of those in its files.
        RecipeError: the lesson has no labels.
        MismatchError: the model does not fit the head or the examples.
        NumbersError: NaN or Inf.
    """
    if not keep:
        check_new(out, force)
    if model.is_changed:
        raise RecipeError(f"{model.name} has other weights in it than its files. Load it anew to measure it.")
    work = Work(model, lesson, how or Estimating())
    facts = told(work)
    with only_writer(out, wait=keep):
        if keep and (found := _same(out, facts)):
            return found
        check_new(out, force)
        if tell:
            tell(cost_of(work))
        return _measured(work, out, facts, progress or Silent(), force)


def _same(out: Path, facts: dict[str, Any]) -> Statistics | None:
    """Return the statistics of a folder if they are of this work."""
    try:
        found = Statistics(out)
    except StoreError:
        return None
    same = all(found.facts.get(key) == value for key, value in json.loads(json.dumps(facts)).items())
    return found if same else None


def _measured(work: Work, out: Path, facts: dict[str, Any], progress: Progress, force: bool) -> Statistics:
    began = time.perf_counter()
    kept = Kept(work, new_sums(work), out, facts)
    add_up(work, kept.sums, progress, kept)
    found = Assembled(work, kept.sums)
    with StatisticsWriter(
        out, work.how.kind, {file: found.shapes(file) for file in found.names}, force=force
    ) as writer:
        for file in found.names:
            for part, values in found.parts(file).items():
                writer.add(file, part, values.cpu().numpy())
        written = writer.finish({**facts, **found.facts(), "seconds": kept.before + time.perf_counter() - began})
    kept.path.unlink(missing_ok=True)
    return written


class Kept:
    """Sums on their way, kept beside the folder that they are for, and found again there."""

    def __init__(self, work: Work, sums: Sums, out: Path, facts: dict[str, Any]) -> None:
        """Take up what an earlier run of the same work kept."""
        self.sums, self.path = sums, out.parent / f".{out.name}.sums.safetensors"
        self._of = {**facts, "batches": [list(places) for places in work.batches]}
        found = sums.load(self.path, self._of)
        self.before = sums.seconds if found else 0.0
        self._began = self._last = time.monotonic()
        self._took = 0.0

    def __call__(self) -> None:
        """Keep the sums, if it is time."""
        now = time.monotonic()
        if now - self._last < max(EVERY, self._took / SHARE):
            return
        self.sums.seconds = self.before + now - self._began
        self.sums.save(self.path, self._of)
        self._last = time.monotonic()
        self._took = self._last - now
