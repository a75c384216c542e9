"""What the tests of curvature in recipes share: two tiny methods, and models with statistics of every kind."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from measured import write_statistics
from taskvec.merge.curvature import Measured
from taskvec.merge.matrices import Role, Spectral, added
from taskvec.testing import write_model

SHAPES: dict[str, tuple[int, ...]] = {
    "model.embed_tokens.weight": (300, 170),
    "model.layers.0.mlp.up_proj.weight": (24, 16),
    "model.layers.0.input_layernorm.weight": (16,),
    "model.layers.1.mlp.up_proj.weight": (16, 24),
    "logit_scale": (),
}
EMBED, UP = "model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight"
NORM = "model.layers.0.input_layernorm.weight"
KINDS = ("diagonal", "gram", "kronecker", "eigen")
MODELS = 3


def leaning(deltas: Any, weights: Any, *, flat: bool = False, curvature: Any = None, base_curvature: Any = None) -> Any:
    """Sum task vectors, each entry as large as its curvature, less the base's; without any, their mean."""
    w = np.asarray(weights, deltas.dtype).reshape(-1, *(1,) * (deltas.ndim - 1))
    if flat or curvature is None:
        return np.sum(w * deltas, axis=0) / deltas.dtype.type(len(deltas))
    return np.sum(w * curvature * deltas, axis=0) - (0 if base_curvature is None else base_curvature)


def pressing(
    deltas: Any,
    weights: Any,
    *,
    push: bool = False,
    flat: bool = False,
    spectral: Spectral = "matrices",
    role: Role | None = None,
    curvature: Sequence[Measured] | None = None,
) -> Any:
    """Sum H_t τ_t / trace; with `push` less the gradient."""
    total: Any = 0
    for t in range(deltas.shape[0]):
        x = float(np.asarray(weights)[t]) * deltas[t]
        if curvature is not None and not flat:
            x = curvature[t].metric.apply(x) / curvature[t].total
            x = x - curvature[t].gradient if push else x
        total = total + x
    return total


def steps(weights: Any, *, push: bool, flat: bool, spectral: Any, role: Role | None = None) -> Any:
    """Add what is no matrix."""
    del push, flat
    return added(weights, spectral=spectral, others="sum", role=role)


def measured_by(settings: Any) -> tuple[str, ...]:
    """What `pressing` uses."""
    return () if settings["flat"] else ("metric", "gradient") if settings["push"] else ("metric",)


def enter(function: Callable[..., Any], name: str, needs: tv.Needs) -> None:
    """Put a method into the table."""
    tv.METHODS[name] = tv.Method(name, function, needs, "None 2026, §1", ("any_order",))


@pytest.fixture(autouse=True)
def methods() -> Iterator[None]:
    """Have `leaning`, `leaning_on_base` and `pressing` in the table."""
    before = dict(tv.METHODS)
    enter(
        leaning,
        "leaning",
        tv.Needs(space="delta", curvature=("diagonal",), measured=lambda s: () if s["flat"] else ("metric",)),
    )
    enter(leaning, "leaning_on_base", tv.Needs(space="delta", curvature=("diagonal",), base_curvature=True))
    enter(
        pressing,
        "pressing",
        tv.Needs(
            space="delta", scope="tensor", role=True, blend=steps, measured=measured_by,
            curvature=("kronecker", "eigen", "diagonal", "gram"),
        ),
    )  # fmt: skip
    yield
    tv.METHODS.clear()
    tv.METHODS.update(before)


def tensors(model: int, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """The base (0) or a fine-tune."""
    base, rng = np.random.default_rng(5), np.random.default_rng(100 + model)
    out = {}
    for name, shape in SHAPES.items():
        x = base.standard_normal(shape)
        out[name] = np.asarray(x + (0.05 * rng.standard_normal(shape) if model else 0), dtype)
    return out


@pytest.fixture(scope="session")
def soup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base`, `m0`, `m1`, `m2` in float32, and `stats/m0.diagonal` and so on, with gradients."""
    folder = tmp_path_factory.mktemp("curved")
    for i, name in enumerate(("base", *(f"m{m}" for m in range(MODELS)))):
        write_model(folder / name, tensors(i), shard_size=150_000)
        for kind in KINDS:
            write_statistics(folder / "stats" / f"{name}.{kind}", folder / name, kind, seed=i, gradient=kind != "gram")
    return folder


Made = Callable[..., tv.Recipe]


@pytest.fixture
def recipe(soup: Path) -> Made:
    """Return what makes a recipe of the soup's models with their statistics."""

    def make(
        method: str = "leaning", kind: str | None = "diagonal", order: Sequence[int] = (0, 1), **keys: Any
    ) -> tv.Recipe:
        stats = soup / "stats"
        models: list[dict[str, Any]] = [{"model": str(soup / f"m{i}"), "weight": 1 + 0.5 * i} for i in order]
        for entry, i in zip(models, order, strict=True):
            entry |= {"statistics": str(stats / f"m{i}.{kind}")} if kind else {}
        data = {"method": method, "base": str(soup / "base"), "models": models, **keys}
        return tv.Recipe.model_validate({k: v for k, v in data.items() if v is not None})

    return make
