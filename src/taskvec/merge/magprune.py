"""MagPrune, what the two DELLA methods begin with: drop entries by chance, those of low rank in their row rather."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..ops.arrays import Array
from ..ops.blend import Blend, RankedDrop, blend
from ..ops.chance import Chance
from ..ops.shapes import Float
from ..ops.slices import Slice
from .registry import each
from .statistics import Question, Settings, Statistic

Rescale = Literal["own", "none", "mergekit"]
"""What kept entries are divided by: their own probability, nothing, or what gives each tensor its L1 norm back."""

Sums = npt.NDArray[np.float64]


def dropping(
    tasks: int,
    density: float | Sequence[float],
    epsilon: float | Sequence[float],
    rescale: Rescale,
    norms: Float[np.ndarray, "task 2"] | None = None,
) -> RankedDrop:
    """Return the step; `norms` are those that `Norms` finds."""
    drop = RankedDrop([each(density, t) for t in range(tasks)], [each(epsilon, t) for t in range(tasks)])
    if rescale == "own":
        return drop
    if rescale == "none" or norms is None:
        return replace(drop, divisor=np.ones(tasks))
    before, after = norms[:, 0], norms[:, 1]
    return replace(drop, divisor=np.where(after > 0, after, 1.0) / np.where(after > 0, before, 1.0))


@dataclass(frozen=True)
class Norms(Statistic):
    """The L1 norm of each task's tensor, before dropping and after; looked for only where `rescale` asks for it."""

    def wanted(self, settings: Settings) -> bool:
        """See `Statistic`."""
        return bool(settings["rescale"] == "mergekit")

    def gathers(self, settings: Settings) -> bool:
        """See `Statistic`."""
        return self.wanted(settings)

    def example(self, tasks: int) -> Sums:
        """See `Statistic`."""
        return np.ones((tasks, 2))

    def search(self, asked: Question) -> "NormSearch":
        """See `Statistic`."""
        return NormSearch(asked.tasks, asked.settings, settled=not self.wanted(asked.settings))

    def whole(self, stack: Array, settings: Settings, chance: Chance | None = None) -> Sums:
        """Return the norms (task, 2) of a whole tensor in memory."""
        search = NormSearch(stack.shape[0], settings, settled=not self.wanted(settings))
        if not search.settled:
            search.add(0, search.look(Slice.of(np.ascontiguousarray(stack), chance))[1])
            search.end_pass()
        return search.value


class NormSearch:
    """Sums of every row. Added up they are rounded once, so that slices and their order do not matter."""

    def __init__(self, tasks: int, settings: Settings, settled: bool) -> None:
        """Begin with none."""
        given = {name: settings[name] for name in ("density", "epsilon")}
        self.drop = dropping(tasks, **given, rescale="none")
        self.settled = settled
        self.rows: list[Sums] = []
        self.value = np.zeros((tasks, 2))

    def look(self, part: Slice) -> tuple[bool, Sums]:
        """See `Search`."""
        finite, rows, _ = part.gather()
        stack = rows.reshape(len(rows), -1, part.columns or part.count) if part.count else rows[:, None]
        return finite, np.stack([self._sums(stack, task, part.chance) for task in range(len(rows))])

    def _sums(self, stack: npt.NDArray[np.floating], task: int, chance: Chance) -> Sums:
        """Return a task's sums of magnitudes in each row: of all entries, and of those that are kept."""
        one = RankedDrop([self.drop.density[task]], [self.drop.reach[task]], np.ones(1))
        its_own = replace(chance, keys=(chance.keys[task] if chance.keys else str(task),))
        kept = blend(stack[task : task + 1], Blend(np.ones(1), drop=one), its_own)
        return np.stack([np.abs(x).astype(np.float64).sum(axis=-1) for x in (stack[task], kept)])

    def add(self, at: int, seen: Sums) -> None:
        """See `Search`."""
        del at
        self.rows.append(seen)

    def end_pass(self) -> None:
        """See `Search`."""
        rows = np.concatenate(self.rows, axis=-1)
        self.value = np.array([[math.fsum(sums) for sums in task] for task in rows.tolist()])
        self.rows, self.settled = [], True
