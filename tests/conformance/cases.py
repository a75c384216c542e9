"""The methods, each with its default settings and with every other thing that a setting may be, and what they eat.

All of it is read from the table: a new method is tested by existing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from taskvec.merge import METHODS, Method
from taskvec.merge.registry import Setting
from taskvec.merge.statistics import Question, Rows
from taskvec.ops.chance import Chance
from taskvec.ops.slices import Slice

from . import curved

Floats = npt.NDArray[np.floating]
NAMES = ("math", "code", "law", "chat", "bio")


@dataclass(frozen=True)
class Case:
    """A method with settings."""

    method: Method
    settings: Mapping[str, Any] = field(default_factory=dict)
    kind: str = ""

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        return f"{self.method.name}({given})" + (f" with {self.kind}" if self.kind else "")

    def where_all_matters(self) -> "Case":
        """Keep most entries, unless told how many: where few are left, votes are never tied and a trim is idle."""
        most: dict[str, Any] = {"density": 0.8} if "density" in self.method.settings else {}
        if "best" in self.method.settings:
            most |= {"best": 2, "score": (0.7, 0.5, 0.6)}
        most |= {"common": 0.5} if "common" in self.method.settings else {}
        return replace(self, settings={**most, **self.settings})

    def where_it_matters(self) -> dict[str, Any]:
        """Give the role of a tensor to which the settings matter: a matrix, unless they are about other tensors."""
        if not self.method.needs.role:
            return {}
        if "others" in self.settings:
            return {"role": "vector"}
        return {"role": {"tables": "table", "all": "convolution"}.get(self.settings.get("spectral", ""), "matrix")}

    @property
    def tasks(self) -> int:
        """How many models: three, if the method takes as many."""
        return min(3, self.method.needs.tasks.stop - 1)

    @property
    def filled(self) -> dict[str, Any]:
        """All settings, as a plan has them."""
        return self.method.check(self.settings)

    @property
    def chance(self) -> Chance | None:
        """Random words, for the methods that draw some."""
        return Chance(3, NAMES[: self.tasks], "layers.0.weight") if self.method.needs.chance else None

    def stack(self, rng: np.random.Generator, *shape: int, dtype: Any = np.float64) -> Floats:
        """Random models or task vectors that have something in common, many equal magnitudes among them."""
        common, own = rng.standard_normal(shape), rng.standard_normal((self.tasks, *shape))
        return (np.round(32 * (common + own)) / 32 + 1e-3 * np.round(own)).astype(dtype)

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """A weight a task, not all of one sign unless a metric is multiplied by it."""
        if not self.method.needs.weighted:
            return np.ones(self.tasks)
        return np.array([0.75, 0.5 if self.method.needs.curvature else -0.5, 1.25][: self.tasks])

    def merge(
        self,
        stack: Any,
        weights: Any = None,
        *,
        order: Sequence[int] | None = None,
        start: int = 0,
        gradients: float = 1.0,
        **given: Any,
    ) -> Any:
        """Call the method, with curvature where it heeds it.

        order: the tasks' numbers. start: the first entry of a slice. gradients: what gradients are multiplied by.
        """
        chance = {"chance": self.chance} if self.method.needs.chance else {}
        if self.method.needs.curvature and "curvature" not in given:
            turned = given.get("role") == "turned"
            how: dict[str, Any] = {"kind": self.kind, "order": order, "start": start, "gradients": gradients}
            given = {**curved.given(self.method, self.filled, stack, turned=turned, **how), **given}
        return self.method.function(
            stack, self.weights if weights is None else weights, **{**self.settings, **chance, **given}
        )

    def permuted(self, order: Sequence[int]) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
        """Weights, settings a task and the names of the models, in another order."""
        given = {k: tuple(v[i] for i in order) if isinstance(v, tuple) else v for k, v in self.settings.items()}
        given |= {"order": tuple(order)} if self.method.needs.curvature else {}
        if self.chance:
            given["chance"] = replace(self.chance, keys=tuple(self.chance.keys[i] for i in order))
        return self.weights[list(order)], given


def _others(setting: Setting, tasks: int) -> Iterator[Any]:
    """What a setting may be beside its default."""
    if setting.choices:
        yield from (c for c in setting.choices if c != setting.default)
    elif setting.kind is bool:
        yield not setting.default
    else:
        low, high = (setting.interval.low, setting.interval.high) if setting.interval else (-1.0, 2.0)
        inside = [low + share * (min(high, low + 4) - low) for share in (0.3, 0.6, 0.45, 0.8, 0.5)]
        yield setting.kind(inside[0])
        if setting.per_task:
            yield tuple(inside[:tasks])


def _cases() -> Iterator[Case]:
    for method in METHODS.values():
        yield (plain := Case(method))
        yield from (Case(method, kind=kind) for kind in method.needs.curvature[1:])
        for setting in method.settings.values():
            yield from (Case(method, {setting.name: value}) for value in _others(setting, plain.tasks))


CASES = tuple(_cases())


def every(law: str = "") -> pytest.MarkDecorator:
    """Run a test for every method and setting, or for those whose method claims a law."""
    claimed = [case for case in CASES if not law or law in case.method.laws]
    assert claimed, f"no method claims {law!r}"
    return pytest.mark.parametrize("case", claimed, ids=str)


def searched(
    case: Case,
    stack: Floats,
    *,
    edges: Sequence[int],
    order: Sequence[int],
    sample: Rows,
    max_bins: int = 1 << 12,
) -> dict[str, Floats]:
    """Find a method's statistics as the stream does: blocks between `edges`, in some order, as often as asked."""
    rows = stack.reshape(len(stack), -1)
    blocks = list(pairwise(edges))
    found = {}
    for name, statistic in case.method.needs.statistics.items():
        search = statistic.search(Question(*rows.shape, rows.dtype, case.filled, lambda: sample, max_bins))
        passes = 0
        while not search.settled:
            for start, stop in (blocks[i] for i in order):
                chance = replace(case.chance or Chance(), start=start)
                columns = stack[0, 0].size if stack.ndim > 2 else 0
                finite, seen = search.look(Slice.of(np.ascontiguousarray(rows[:, start:stop]), chance, columns))
                assert finite
                search.add(start, seen)
            search.end_pass()
            passes += 1
            assert passes <= 100, f"the search for '{name}' does not end"
        found[name] = search.value
    return found
