"""What TIES and Breadcrumbs begin with: keep a band of each task's magnitudes, with the L1 norm it had if asked."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..ops.arrays import Array, per_task
from ..ops.combine import Band
from ..ops.gram import BLOCK
from ..ops.select import keep_between
from ..ops.shapes import Float
from .statistics import Magnitudes, MagnitudeSearch, Question, Rows, Settings, Stages, Statistic, Sums, flat

Rescale = Literal["none", "mergekit"]
"""What is kept is left as it is, or multiplied by what gives each task's tensor its L1 norm back."""

Found = Float[np.ndarray, "task numbers"]
"""Each task's largest kept magnitude (if there is one) and smallest; then the factor, if it was asked for."""


def band_of(ends: Found) -> Band:
    """Return the smallest and the largest magnitude kept, where the ends are one or both."""
    return ends[:, -1], ends[:, 0] if ends.shape[1] > 1 else np.full(len(ends), np.inf)


def norms_of(ends: Found) -> Sums:
    """Return each task's L1 norm before trimming and after, as a statistic."""

    def parts(rows: Rows, settings: Settings) -> list[npt.NDArray[np.float64]]:
        del settings
        blocks = (rows[:, at : at + BLOCK] for at in range(0, rows.shape[1], BLOCK))
        return [np.stack([_sizes(x), _sizes(keep_between(x, *band_of(ends)))], axis=1) for x in blocks]

    return Sums(parts, lambda tasks: (tasks, 2))


def _sizes(block: Rows) -> npt.NDArray[np.float64]:
    return np.asarray(np.abs(block).astype(np.float64).sum(axis=1))


def _with_factors(found: list[npt.NDArray[np.floating]]) -> npt.NDArray[np.floating]:
    ends, norms = found
    before, after = norms.T
    with np.errstate(invalid="ignore"):  # Inf was let pass
        factors = np.where(after == 0, 1.0, before / np.where(after == 0, 1.0, after))
    return np.concatenate([ends, factors[:, None]], axis=1)


@dataclass(frozen=True)
class Trim(Statistic):
    """The ends of each task's band and, with `rescale: mergekit`, the factor that gives back its L1 norm."""

    ends: Magnitudes

    @property
    def count(self) -> int:
        """See `Statistic`."""
        return self.ends.count

    def passes(self, settings: Settings) -> int:
        """See `Statistic`."""
        return 1 + self.gathers(settings)

    def gathers(self, settings: Settings) -> bool:
        """See `Statistic`."""
        return bool(settings["rescale"] == "mergekit")

    def search(self, asked: Question) -> MagnitudeSearch | Stages:
        """See `Statistic`: the ends, then the norms that depend on them."""
        if not self.gathers(asked.settings):
            return self.ends.search(asked)

        def begin(found: list[npt.NDArray[np.floating]]) -> Any:
            return norms_of(found[0]).search(asked) if found else self.ends.search(asked)

        return Stages(2, begin, _with_factors)

    def example(self, tasks: int) -> npt.NDArray[np.floating]:
        """See `Statistic`."""
        return np.ones((tasks, self.count + 1))

    def whole(self, stack: Array, settings: Settings) -> npt.NDArray[np.floating]:
        """Return the numbers of whole tensors in memory."""
        ends = self.ends.whole(stack, settings)
        if not self.gathers(settings):
            return ends
        return _with_factors([ends, norms_of(ends).whole(flat(stack), settings)])


def trimmed(stack: Float[Array, " task *shape"], found: Found) -> Float[Array, " task *shape"]:
    """Return what is kept, times the factor.

    >>> trimmed(np.array([[3.0, 1.0]]), np.array([[2.0, 4 / 3]]))
    array([[4., 0.]])
    """
    return keep_between(stack, *band_of(found[:, :-1])) * per_task(found[:, -1], stack)
