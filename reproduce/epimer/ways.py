"""The merges that are compared: a method, its settings, and the statistics that it is given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch

from taskvec.merge import find
from taskvec.merge.curvature import Measured

from .changes import Changes, Vector
from .study import key_of

SUM = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4, 2.8, 3.2)
"""α of what adds task vectors up in a basis of their own, beyond the paper's last, 1."""

PLAIN_SUM = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
"""λ of task arithmetic."""

MEAN = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
"""α of what averages: T times shorter than a sum."""

ONE = (1.0,)
"""α of what is taken as it is."""


@dataclass(frozen=True)
class Way:
    """A merge.

    name: what it is called in tables. estimator: what is measured of every specialist, on so many of its training
    examples; nothing where it is empty. examples: 0 for what the study takes by default. grid: the α that are tried.
    """

    name: str
    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    estimator: str = ""
    examples: int = 0
    gradient: bool = False
    grid: tuple[float, ...] = SUM

    @property
    def start(self) -> int:
        """The place in the grid where the search of α begins: its middle."""
        return len(self.grid) // 2

    @property
    def key(self) -> str:
        """What names the merged vector: all that decides it but the models."""
        return key_of(self.method, self.settings, self.estimator, self.examples)

    def at(self, rank: int, **more: Any) -> "Way":
        """Return it at a rank, or with other settings."""
        return replace(self, settings={**self.settings, "rank": rank, **more})


class Statistics(Protocol):
    """What was measured of every specialist."""

    def of(self, name: str, task: int) -> Measured | None:
        """Return what is known of one tensor of one specialist."""


def merged(changes: Changes, way: Way, tasks: Sequence[int], statistics: Statistics | None = None) -> Vector:
    """Return the merged task vector of some tasks, each with weight 1; λ is not in it.

    The methods' own functions are called, on whole tensors.
    """
    method = find(way.method)
    weights, out = np.ones(len(tasks)), {}
    for name, rows in changes.deltas.items():
        more: dict[str, Any] = {"role": changes.roles[name]} if method.needs.role else {}
        if statistics is not None:
            more["curvature"] = _curvature(statistics, name, tasks, method.needs.scope == "entry")
        out[name] = torch.as_tensor(method.function(rows[list(tasks)], weights, **way.settings, **more))
    return out


def _curvature(statistics: Statistics, name: str, tasks: Sequence[int], entries: bool) -> Any:
    """Return what a method is given of one tensor: metrics a task, or a diagonal's entries."""
    found = [statistics.of(name, task) for task in tasks]
    if any(x is None for x in found):
        return None
    return torch.stack([x.metric.values for x in found]) if entries else found  # type: ignore[union-attr]


Make = Callable[[], Vector]
