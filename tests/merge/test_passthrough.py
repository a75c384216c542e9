"""One model as it is."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import taskvec as tv
from reference.passthrough import passthrough as loop
from taskvec.merge.methods import passthrough
from taskvec.testing import write_model

from .inputs import Array, assert_agree, flat, stacks


@given(stacks(tasks=st.just(1)), st.integers(-8, 8))
def test_matches_the_slow_loop(dtype: np.dtype, stack: Array, eighths: int) -> None:
    models = stack.astype(dtype)
    merged = passthrough(models, np.ones(1), factor=eighths / 8)
    assert_agree(merged, loop(flat(stack), factor=eighths / 8), models, np.abs(stack[0]))


def test_factor_1_keeps_every_bit_of_every_finite_number(dtype: np.dtype) -> None:
    patterns = np.arange(1 << 16, dtype=np.uint32) << 16  # every bf16
    numbers = np.concatenate([patterns, patterns | 0xFFFF, patterns | 1]).view(np.float32)
    models = numbers[np.isfinite(numbers)][None].astype(dtype)
    assert np.signbit(models[models == 0]).any()
    assert passthrough(models, np.ones(1)).tobytes() == models.tobytes()


@pytest.mark.parametrize(("kind", "bits"), [("BF16", np.uint16), ("F16", np.uint16), ("F32", np.uint32)])
def test_the_output_holds_the_bits_of_the_input(kind: str, bits: type, tmp_path: Path) -> None:
    every = np.arange(1 << 16, dtype=np.uint32)
    numbers = every.astype(np.uint16).view(np.float16).astype(np.float32) if kind == "F16" else (every << 16).view("f4")
    write_model(tmp_path / "m", {"w": numbers[np.isfinite(numbers)]}, dtype=kind)
    recipe = tv.Recipe.model_validate({"method": "passthrough", "models": [{"model": str(tmp_path / "m")}]})
    out = tv.run(tv.make_plan(recipe), tmp_path / "out").folder
    with tv.Checkpoint(tmp_path / "m") as before, tv.Checkpoint(out) as after:
        assert after.raw("w").view(bits).tobytes() == before.raw("w").view(bits).tobytes()
        assert after.raw("w").size > 60_000


def test_an_override_multiplies_some_tensors_only(tmp_path: Path) -> None:
    write_model(tmp_path / "m", {"a": np.ones(3, np.float32), "b": np.ones(3, np.float32)}, dtype="F32")
    data = {
        "method": "passthrough",
        "models": [{"model": str(tmp_path / "m")}],
        "overrides": [{"match": "b", "settings": {"factor": 0.5}}],
    }
    out = tv.run(tv.make_plan(tv.Recipe.model_validate(data)), tmp_path / "out").folder
    with tv.Checkpoint(out) as got:
        assert (got["a"].tolist(), got["b"].tolist()) == ([1, 1, 1], [0.5, 0.5, 0.5])


def test_the_factor_may_stand_under_the_model(tmp_path: Path) -> None:
    write_model(tmp_path / "m", {"a": np.ones(3, np.float32)}, dtype="F32")
    data = {"method": "passthrough", "models": [{"model": str(tmp_path / "m"), "settings": {"factor": 0.25}}]}
    out = tv.run(tv.make_plan(tv.Recipe.model_validate(data)), tmp_path / "out").folder
    with tv.Checkpoint(out) as got:
        assert got["a"].tolist() == [0.25, 0.25, 0.25]
