"""Statistics that an earlier run has found, for a run that differs in weights or scale only."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .planned import Plan
from .schedule import Group

MOST = 1 << 16
"""Numbers of a statistic that is remembered; a matrix for every row of a model is found anew."""


@dataclass(frozen=True)
class Known:
    """A search that was settled before it began."""

    value: npt.NDArray[np.floating]
    settled: bool = True


@dataclass
class Found:
    """The last value of each statistic of each group of tensors; none without `remembers`.

    A statistic depends on the inputs, the method's settings and the seed, never on weights or scale.
    """

    remembers: bool = False
    values: dict[Hashable, tuple[dict[str, Any], npt.NDArray[np.floating]]] = field(default_factory=dict)

    def get(self, plan: Plan, group: Group, name: str) -> Known | None:
        """Return a statistic of a group, if it was found with the same settings."""
        settings, value = self.values.get(_key(plan, group, name), ({}, None)) if self.remembers else ({}, None)
        return Known(value) if value is not None and settings == group.units[0].settings else None

    def put(self, plan: Plan, group: Group, name: str, value: npt.NDArray[np.floating]) -> None:
        """Remember a statistic of a group."""
        if self.remembers and value.size <= MOST:
            self.values[_key(plan, group, name)] = group.units[0].settings, value


def _key(plan: Plan, group: Group, name: str) -> Hashable:
    units = [(u.name, u.work, [(plan.pool[m].fingerprint, tensor) for m, tensor in u.sources]) for u in group.units]
    return name, plan.method.name, plan.recipe.seed, plan.space, repr(units)
