"""What the tests of packs share: a base and two fine-tunes, and a float64 look at what came back."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from taskvec.packs import Packed
from taskvec.testing import finetuned, tiny_tensors, write_model

NAMES = ("math", "code")


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base`, `math` and `code`; with a buffer of integers, and one matrix that none moves."""
    folder = tmp_path_factory.mktemp("family")
    base = tiny_tensors(hidden=32, vocab=100) | {"position_ids": np.arange(4, dtype=np.int64)}
    write_model(folder / "base", base, tokens={"a": 0})
    for seed, name in enumerate(NAMES):
        tuned = finetuned(base, seed, 0.02)
        tuned["model.layers.1.self_attn.q_proj.weight"] = base["model.layers.1.self_attn.q_proj.weight"]
        write_model(folder / name, tuned)
    return folder


@pytest.fixture
def packed(family: Path, tmp_path: Path) -> Callable[..., Packed]:
    """Return what packs the family, or some of it, with `small` at 512 so that its matrices are packed."""

    def make(
        method: str, names: Sequence[str] = NAMES, *, budget: Any = None, error: Any = None, **settings: Any
    ) -> Any:
        models = [family / name for name in names]
        out, more = tmp_path / f"{method}.pack", {"small": 512, **settings}
        return tv.pack(
            family / "base", models, out, method=method, settings=more, budget=budget, error=error, force=True
        )

    return make


def deltas(base: Path, model: Path) -> dict[str, np.ndarray]:
    """Return a model's change of its base, in float64."""
    here, there = tv.Checkpoint(base), tv.Checkpoint(model)
    return {n: (there[n].double() - here[n].double()).numpy() for n in here if here[n].is_floating_point()}


def error_of(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> float:
    """Return the relative error of a task vector, over all its tensors."""
    wrong = sum(float(((found[n] - wanted[n]) ** 2).sum()) for n in wanted)
    return float((wrong / sum(float((x**2).sum()) for x in wanted.values())) ** 0.5)
