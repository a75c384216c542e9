"""Merges that differ in their scales alone: what the method makes of the task vectors is kept from one to the next."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..ops import floats
from ..ops.slices import Finished, finish
from .arithmetic import Arithmetic, Scratch
from .planned import Plan
from .units import Unit

Held = Mapping[str, npt.NDArray[np.floating]]
"""Merged task vectors before they are scaled, flat, in the precision of the arithmetic."""


class Keeping(Arithmetic):
    """Merges, and keeps what was merged before it is scaled."""

    def __init__(self, plan: Plan, held: Held) -> None:
        """Take arrays to keep it in."""
        super().__init__(plan, keeps=True)
        self._held = held

    def merge(self, unit: Unit, start: int, stop: int, statistics: Mapping[str, Any], scratch: Scratch) -> Finished:
        """See `Arithmetic.merge`: the same bits."""
        held = self._held[unit.name][start:stop]
        if unit.whole:
            held[:] = self.merged_whole(unit, start, statistics)
            return self.finished(unit, start, held)
        part = self.part(unit, start, stop, scratch)
        finite, rows, reference = part.gather()
        if self.careful and not finite:
            self.blame(unit)
        held[:] = self.delta(unit, part, rows, statistics, scratch)
        return self.stored(unit, start, stop, held, reference, scratch)

    def stored(self, unit: Unit, start: int, stop: int, delta: Any, reference: Any, scratch: Scratch) -> Finished:
        """Return base + scale · delta as stored."""
        words = self.rounding_words(unit, start, stop)
        done = finish(delta, reference, unit.scale, unit.dtype, words, scratch.out(stop - start))
        if self.careful and not np.isfinite(done.lost + done.moved):
            self.overflow(unit, done.raw)
        return done


class Rescaling(Keeping):
    """Merges by scaling what was kept: only the base is read, and no statistic is asked for."""

    asks = False

    def merge(self, unit: Unit, start: int, stop: int, statistics: Mapping[str, Any], scratch: Scratch) -> Finished:
        """See `Arithmetic.merge`: the same bits."""
        if unit.whole:
            return self.finished(unit, start, self._held[unit.name][start:stop])
        base = self.stored_slice(self.plan.origin(unit), start, stop)
        reference = floats.widen(base.raw, base.code, unit.numpy)
        return self.stored(unit, start, stop, self._held[unit.name][start:stop], reference, scratch)


class Deltas:
    """The merged task vectors of the last merge of some models, kept once a second one asks for the same.

    The first merge with new weights or settings keeps nothing, so a search of those costs no more; from the third on
    a merge is one addition. `most`: bytes that may be kept; where they are not enough nothing is.
    """

    def __init__(self, most: int) -> None:
        """Keep nothing yet."""
        self.most = most
        self._of: Any = None
        self._held: dict[str, npt.NDArray[np.floating]] = {}
        self._whole = False

    def keeps_next(self, plan: Plan) -> bool:
        """Whether this plan's merged task vector will be kept: it is the same as that of the plan before."""
        again = not self._whole and plan.space == "delta" and _without_scales(plan) == self._of
        return again and sum(u.count * u.numpy.itemsize for u in plan.units if u.merged) <= self.most

    def arithmetic(self, plan: Plan) -> Arithmetic:
        """Return how a plan is to be run."""
        if self.keeps_next(plan):
            self._held = {u.name: np.empty(u.count, u.numpy) for u in plan.units if u.merged}
            return Keeping(plan, self._held)
        of = _without_scales(plan)
        if self._whole and of == self._of:
            return Rescaling(plan, self._held)
        self._of, self._held, self._whole = of, {}, False
        return Arithmetic(plan, keeps=True)

    def done(self, arithmetic: Arithmetic) -> None:
        """Hear that a merge came to its end, so that what it kept can be relied on."""
        self._whole = isinstance(arithmetic, Keeping)


def _without_scales(plan: Plan) -> Any:
    """Return all that a merged task vector depends on, where the inputs stay."""
    return plan.method.name, plan.recipe.seed, plan.recipe.nonfinite, [replace(u, scale=0.0) for u in plan.units]
