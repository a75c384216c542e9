"""What is packed, and how: the base, the tasks, the method with its settings, and which tensors are kept whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..progress import Progress
from ..recipe.depth import matches
from ..store import Checkpoint
from ..store.dtypes import is_float
from ..store.tensors import Tensor
from .methods import PackMethod
from .models import Task

MATRICES = ("low_rank", "tsv_c")


@dataclass
class Job:
    """A packing that is to be done; what was found of it once is not looked for again."""

    base: Checkpoint
    tasks: Sequence[Task]
    method: PackMethod
    settings: Mapping[str, Any]
    progress: Progress
    _changed: dict[tuple[int, str], bool] = field(default_factory=dict)

    @cached_property
    def tensors(self) -> list[Tensor]:
        """The base's tensors of floats, in its order."""
        return [info for info in self.base.tensors.values() if is_float(info.dtype)]

    def whole(self, info: Tensor) -> bool:
        """Tell whether a tensor is kept as it is: small, of one axis or none, empty, or asked for by its name."""
        axes = len([n for n in info.shape if n > 1]) if self.method.name in MATRICES else len(info.shape)
        flat = axes < 2 and (self.method.name in MATRICES or not self.settings["vectors"])
        asked = any(matches(info.name, pattern) for pattern in self.settings["whole"])
        return flat or asked or info.count < max(1, self.settings["small"])

    def changed(self, task: int, info: Tensor) -> bool:
        """Tell whether a task's tensor is another than the base's."""
        key = (task, info.name)
        if key not in self._changed:
            self._changed[key] = self.tasks[task].changes(info.name)
        return self._changed[key]

    @property
    def entries(self) -> int:
        """Entries of all tasks together."""
        return len(self.tasks) * sum(info.count for info in self.tensors)

    def rank(self, info: Tensor) -> int:
        """Return the rank that the settings give a matrix: a number, or an equal share of all for each task."""
        full = min(info.shape[0], info.count // max(1, info.shape[0]))
        if self.method.name == "tsv_c":
            return max(1, full // len(self.tasks))
        return min(int(self.settings["rank"]), full)
