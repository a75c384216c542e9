"""More in deep layers."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import taskvec as tv
from reference.lines import lines as loop
from taskvec.merge.methods import lines
from taskvec.testing import write_model

from .inputs import Array, assert_agree, flat, quarters, stacks


@given(st.data(), stacks(), st.integers(2, 7))
def test_matches_the_slow_loop(dtype: np.dtype, data: st.DataObject, stack: Array, layers: int) -> None:
    weights, layer = data.draw(quarters(len(stack))), data.draw(st.integers(1, layers))
    deltas = stack.astype(dtype)
    merged = lines(deltas, np.array(weights), alpha=0.3, beta=0.6, depth=(layer - 1) / (layers - 1))
    expected = loop(flat(stack), weights, alpha=0.3, beta=0.6, layer=layer, layers=layers)
    assert_agree(merged, expected, deltas, np.tensordot(np.abs(weights), np.abs(stack), 1))


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_the_stream_gives_every_layer_its_factor(layers: int, tmp_path: Path) -> None:
    names = [
        "model.embed_tokens.weight",
        *(f"model.layers.{i}.w" for i in range(layers)),
        "model.norm.weight",
        "lm_head",
    ]
    for model, value in (("base", 1.0), ("m0", 2.0), ("m1", 4.0)):
        write_model(tmp_path / model, {name: np.full((3, 2), value, np.float32) for name in names}, dtype="F32")
    data = {
        "method": "lines",
        "base": str(tmp_path / "base"),
        "models": [{"model": str(tmp_path / "m0"), "weight": 2.0}, {"model": str(tmp_path / "m1")}],
        "settings": {"alpha": 0.25, "beta": 0.5},
        "overrides": [{"match": "lm_head", "settings": {"beta": 0}}],
    }
    out = tv.run(tv.make_plan(tv.Recipe.model_validate(data)), tmp_path / "out").folder
    depth = {name: i / (layers - 1) if layers > 1 else 1.0 for i, name in enumerate(names[1:-2])}
    with tv.Checkpoint(out) as got:
        factor = {name: (float(got[name][0, 0]) - 1) / (2 * 1 + 3) for name in names}
    assert factor.pop("model.embed_tokens.weight") == 0.25
    assert factor.pop("model.norm.weight") == 0.75
    assert factor.pop("lm_head") == 0.25
    assert factor == pytest.approx({name: 0.25 + 0.5 * d for name, d in depth.items()}, abs=1e-6)
