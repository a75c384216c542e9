"""What the flows share: soups with tensors of several slices, and the slow way to merge them."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from measured import with_statistics
from taskvec.testing import write_model

MODELS = 3
SHAPES: dict[str, tuple[int, ...]] = {
    "model.embed_tokens.weight": (300, 340),
    "model.layers.0.mlp.up_proj.weight": (210, 170),
    "model.layers.0.input_layernorm.weight": (170,),
    "model.layers.1.mlp.up_proj.weight": (170, 210),
    "model.layers.1.input_layernorm.weight": (170,),
    "model.norm.weight": (170,),
    "logit_scale": (),
    "nothing": (0, 8),
}
NORM, UP, EMBED = "model.norm.weight", "model.layers.1.mlp.up_proj.weight", "model.embed_tokens.weight"
KINDS: dict[str, list[tuple[str, dict[str, str]]]] = {
    "bf16": [("BF16", {})] * 4,
    "f32": [("F32", {})] * 4,
    "mixed": [("BF16", {NORM: "F32"}), ("F16", {NORM: "F32"}), ("F32", {}), ("BF16", {UP: "F16"})],
    "wide": [("F32", {UP: "F64"}), ("F32", {EMBED: "F64"}), ("BF16", {}), ("F64", {})],
}
"""Of the base and the three models: the type, and that of single tensors."""


def arrays(kind: str, model: int) -> dict[str, np.ndarray]:
    """Return the tensors of the base (model 0) or of a fine-tune; with a buffer of integers."""
    base, rng = np.random.default_rng(5), np.random.default_rng(100 + model)
    out: dict[str, np.ndarray] = {}
    for name, shape in SHAPES.items():
        x = base.standard_normal(shape)
        change = 0.05 * rng.standard_normal(shape) * (rng.random(shape) < 0.8)
        out[name] = np.asarray(x + (change if model else 0), np.float32)
    return out | {"position_ids": np.arange(16, dtype=np.int64)}


def write_soup(folder: Path, kind: str, shard_size: int) -> Path:
    """Write `base`, `m0`, `m1` and `m2` into a folder."""
    for i, (dtype, dtypes) in enumerate(KINDS[kind]):
        name = f"m{i - 1}" if i else "base"
        write_model(folder / name, arrays(kind, i), dtype=dtype, dtypes=dtypes, shard_size=shard_size, tokens={"a": 0})
    return folder


@pytest.fixture(scope="session")
def soup(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return the folder of a soup of some kind, cut into shards of some size; written once."""
    made: dict[tuple[str, int], Path] = {}

    def get(kind: str = "bf16", shard_size: int = 150_000) -> Path:
        if (kind, shard_size) not in made:
            made[kind, shard_size] = write_soup(tmp_path_factory.mktemp(kind), kind, shard_size)
        return made[kind, shard_size]

    return get


@pytest.fixture
def recipe(soup: Callable[..., Path]) -> Callable[..., tv.Recipe]:
    """Return what makes a recipe over a soup; `models` may be numbers of models, or entries."""

    def make(
        method: str = "ties", models: Any = None, kind: str = "bf16", folder: Path | None = None, **keys: Any
    ) -> tv.Recipe:
        folder = folder or soup(kind)
        models = range(min(2, tv.METHODS[method].needs.tasks.stop - 1)) if models is None else models
        entries = [{"model": m} if isinstance(m, int) else dict(m) for m in models]
        for entry in entries:
            entry["model"] = str(folder / f"m{entry['model']}")
        data: dict[str, Any] = {"method": method, "models": entries}
        if tv.METHODS[method].needs.takes_base:
            data["base"] = str(folder / "base")
        return tv.Recipe.model_validate(with_statistics(data | keys))

    return make


@pytest.fixture
def merged(recipe: Callable[..., tv.Recipe], tmp_path: Path) -> Callable[..., Path]:
    """Return what runs a recipe (or makes one first) into a folder of the test's own."""
    count = 0

    def merge(made: tv.Recipe | None = None, how: dict[str, Any] | None = None, **keys: Any) -> Path:
        nonlocal count
        count += 1
        plan = tv.make_plan(made or recipe(**keys), **(how or {}))
        return tv.run(plan, tmp_path / f"{count}" / "merged").folder

    return merge


def contents(folder: Path, but: tuple[str, ...] = ("receipt.json",)) -> dict[str, str]:
    """Return the hash of every file in a folder; the receipt holds the time, so it is left out."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in but
    }
