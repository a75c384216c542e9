"""What the tests of searches share: a small family, and an objective whose best point is known."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from taskvec.testing import write_model

TASKS = 3
BEST = {"scale": 0.35}
NAMES = ("embed.weight", "h.0.w", "h.1.w", "h.2.w", "h.3.w", "norm.weight")


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of zeros and three models that differ from it in entries of their own: a weight is then an entry."""
    folder = tmp_path_factory.mktemp("tune")
    common = np.full(4000, 9, np.float32)
    for i in range(-1, TASKS):
        tensors = {name: np.zeros(8, np.float32) for name in NAMES} | {"common": common}
        if i >= 0:
            for name in NAMES:
                tensors[name][i] = 1
        write_model(folder / (f"m{i}" if i >= 0 else "base"), tensors)
    return folder


@pytest.fixture
def recipe(family: Path) -> Callable[..., tv.Recipe]:
    """Return what makes a recipe of task arithmetic over the family."""

    def make(method: str = "task_arithmetic", **keys: Any) -> tv.Recipe:
        models = [{"model": str(family / f"m{i}")} for i in range(TASKS)]
        data = {"method": method, "base": str(family / "base"), "models": models}
        return tv.Recipe.model_validate(data | keys)

    return make


class Quadratic:
    """Minus the squared distance from an aim; a look at a share of the examples is off by some noise of the point."""

    def __init__(
        self, aim: Mapping[str, np.ndarray] | float, noise: float = 0.0, stop_after: int | None = None
    ) -> None:
        self.aim, self.noise, self.stop_after = aim, noise, stop_after
        self.asked: list[float] = []

    def __call__(self, weights: Mapping[str, np.ndarray], share: float) -> list[float]:
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        self.asked.append(share)
        rough = self.noise * (1 - share) * np.sin(1e3 * float(weights["h.0.w"].sum()))
        aim = {name: np.full(TASKS, self.aim) for name in NAMES} if isinstance(self.aim, float) else self.aim
        off = sum((weights[name][:TASKS] - aim[name]) ** 2 for name in NAMES) / len(NAMES)
        return [-float(x) + rough for x in off]


@pytest.fixture
def quadratic() -> type[Quadratic]:
    """The class of objectives."""
    return Quadratic
