"""Adapters in a merge: beside a whole model, on the change that each makes, in slices of any size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from taskvec.store import Checkpoint
from taskvec.testing import finetuned, tiny_tensors, write_adapter, write_model

SIZE = {"layers": 2, "hidden": 96, "vocab": 150}
Q, UP, HEAD = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.up_proj", "lm_head"


WEIGHTS = {"one": 0.5, "two": 1, "three": -0.7, "four": 1.3, "whole": 2}
FACTOR = {"one": 4 / 2, "two": 4 / 2, "three": 4 / 8, "four": 4 / 3**0.5}
"""What each adapter's B A is multiplied by: alpha through rank, or (`use_rslora`) through its root."""


def factors(rng: np.random.Generator, rank: int = 2, **shapes: tuple[int, int]) -> dict[str, np.ndarray]:
    out = {}
    for module, (rows, columns) in shapes.items():
        out[f"base_model.model.{module}.lora_A.weight"] = 0.1 * rng.standard_normal((rank, columns)).astype(np.float32)
        out[f"base_model.model.{module}.lora_B.weight"] = rng.standard_normal((rows, rank)).astype(np.float32)
    return out


@pytest.fixture
def family(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Write `base`, the whole model `whole`, and adapters `one` to `four`, of which the second is a DoRA."""
    base = tiny_tensors(**SIZE)
    write_model(tmp_path / "base", base, dtype="BF16")
    write_model(tmp_path / "whole", finetuned(base, 1), dtype="BF16")
    write_adapter(tmp_path / "one", factors(rng, **{Q: (96, 96), UP: (288, 96), HEAD: (150, 96)}))
    magnitude = {f"base_model.model.{UP}.lora_magnitude_vector": rng.random(288).astype(np.float32) + 9}
    write_adapter(tmp_path / "two", factors(rng, **{UP: (288, 96)}) | magnitude, dtype="BF16", use_dora=True)
    write_adapter(tmp_path / "three", factors(rng, 8, **{Q: (96, 96), HEAD: (150, 96)}), dtype="F16", r=8)
    write_adapter(tmp_path / "four", factors(rng, 3, **{Q: (96, 96), UP: (288, 96)}), r=3, use_rslora=True)
    return tmp_path


def merge(folder: Path, out: str, method: str, how: dict[str, Any], **keys: Any) -> Checkpoint:
    models = [{"model": str(folder / name), "weight": weight} for name, weight in WEIGHTS.items()]
    data = {"method": method, "base": str(folder / "base"), "models": models, **keys}
    plan = tv.make_plan(tv.Recipe.model_validate(data), folder / out, **how)
    tv.run(plan, folder / out)
    return Checkpoint(folder / out)


def dense(folder: Path, adapter: str, name: str) -> np.ndarray:
    """Return what an adapter adds, from its factors, in float64."""
    base = Checkpoint(folder / "base")[name].double().numpy()
    parts = Checkpoint(folder / adapter / "adapter_model.safetensors")
    front = f"base_model.model.{name.removesuffix('.weight')}"
    if f"{front}.lora_A.weight" not in parts:
        return np.zeros_like(base)
    a, b = (parts[f"{front}.lora_{x}.weight"].double().numpy() for x in "AB")
    moved = base + FACTOR[adapter] * b @ a
    if adapter == "two":
        size = parts[f"{front}.lora_magnitude_vector"].double().numpy()
        moved *= (size / np.linalg.norm(moved, axis=1))[:, None]
    return moved - base


def test_four_adapters_and_a_whole_model(family: Path) -> None:
    merged = merge(family, "out", "task_arithmetic", {}, dtype="float32", scale=0.3)
    base, whole = Checkpoint(family / "base"), Checkpoint(family / "whole")
    assert set(merged) == set(base)
    for name in base:
        origin = base[name].double().numpy()
        change = WEIGHTS["whole"] * (whole[name].double().numpy() - origin)
        change += sum(WEIGHTS[adapter] * dense(family, adapter, name) for adapter in FACTOR)
        np.testing.assert_allclose(merged[name].double().numpy(), origin + 0.3 * change, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["ties", "dare_linear"])
def test_the_bytes_do_not_depend_on_the_slices(family: Path, method: str) -> None:
    ways: list[dict[str, Any]] = [{}, {"slice_": 1 << 14, "threads": 3}]
    outs = [merge(family, f"out{i}", method, how) for i, how in enumerate(ways)]
    files = [(out.path / "model.safetensors").read_bytes() for out in outs]
    assert files[0] == files[1]
