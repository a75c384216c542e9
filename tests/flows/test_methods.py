"""Every method through the stream gives, to the bit, what its function gives on whole tensors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import taskvec as tv

from .conftest import EMBED, NORM, UP
from .slow import slowly

RECIPES: dict[str, dict[str, Any]] = {
    **{name: {"method": name} for name in tv.METHODS},
    "linear, weighted": {"method": "linear", "models": [{"model": 0, "weight": 0.7}, {"model": 1, "weight": -0.2}, 2]},
    "linear, not normalised": {"method": "linear", "settings": {"normalize": False}},
    "task_arithmetic, negated and scaled": {
        "method": "task_arithmetic",
        "models": [{"model": 0, "weight": 0.4}, {"model": 1, "weight": -1}, 2],
        "scale": 0.3,
    },
    "task_arithmetic, one model": {"method": "task_arithmetic", "models": [0]},
    "task_arithmetic, λ = 0": {"method": "task_arithmetic", "scale": 0},
    "ties by tensor": {"method": "ties", "models": [0, 1, 2], "settings": {"scope": "tensor", "density": 0.3}},
    "ties as mergekit": {
        "method": "ties",
        "settings": {"scope": "tensor", "elect": "weighted", "tied": "positive", "density": 0.5},
        "models": [{"model": 0, "weight": 0.3}, {"model": 1, "weight": -0.7}, 2],
    },
    "ties, a density a model": {
        "method": "ties",
        "models": [{"model": 0, "settings": {"density": 0.1}}, 1, {"model": 2, "settings": {"density": 1.0}}],
    },
    "ties, all kept": {"method": "ties", "settings": {"density": 1.0, "combine": "count", "elect": "count"}},
    "dare_linear, half": {"method": "dare_linear", "settings": {"density": 0.5, "rescale": False}, "seed": 9},
    "dare_ties by tensor": {
        "method": "dare_ties",
        "models": [0, 1, 2],
        "settings": {"scope": "tensor", "density": 0.5, "trim": 0.4},
    },
    "dare_ties without trim": {"method": "dare_ties", "settings": {"trim": 1.0, "density": 0.4, "combine": "sum"}},
    "breadcrumbs, wide": {"method": "breadcrumbs", "models": [0, 1, 2], "settings": {"density": 0.5, "gamma": 0.2}},
    "breadcrumbs_ties as mergekit": {
        "method": "breadcrumbs_ties",
        "settings": {"density": 0.8, "gamma": 0.1, "elect": "weighted", "combine": "sum", "tied": "positive"},
    },
    "magnitude_prune by tensor": {"method": "magnitude_prune", "settings": {"scope": "tensor", "density": 0.4}},
    "della as mergekit": {
        "method": "della",
        "models": [0, {"model": 1, "settings": {"density": 0.4, "epsilon": 0.3}}, 2],
        "settings": {"rescale": "mergekit", "elect": "weighted", "tied": "positive"},
    },
    "della_linear, not rescaled": {"method": "della_linear", "settings": {"rescale": "none"}},
    "model_stock of three": {"method": "model_stock", "models": [0, 1, 2]},
    "model_soup, the best": {
        "method": "model_soup",
        "models": [{"model": m, "settings": {"score": score}} for m, score in ((0, 0.5), (1, 0.7), (2, 0.6))],
        "settings": {"best": 2},
    },
    "metagpt by tensor": {"method": "metagpt", "models": [0, 1, 2], "settings": {"scope": "tensor"}},
    "geometric_median of three": {"method": "geometric_median", "models": [0, 1, 2]},
    "geometric_median by tensor": {
        "method": "geometric_median",
        "models": [{"model": 0, "weight": -0.7}, {"model": 1, "weight": 0.9}, 2],
        "settings": {"scope": "tensor"},
    },
    "nuslerp by row": {"method": "nuslerp", "settings": {"over": "row"}},
    "nuslerp by column": {
        "method": "nuslerp",
        "settings": {"over": "column"},
        "models": [{"model": 0, "weight": 3}, 1],
    },
    "nuslerp of whole models by column": {"method": "nuslerp", "settings": {"over": "column"}, "base": None},
    "multislerp of whole models": {"method": "multislerp", "models": [0, 1, 2], "base": None},
    "slerp over depth": {"method": "slerp", "settings": {"t": [0, 1]}},
    "sce, a fifth": {"method": "sce", "models": [0, 1, 2], "settings": {"select_topk": 0.2, "tied": "positive"}},
    "ramplus_tl over the model": {
        "method": "ramplus_tl",
        "models": [0, 1, 2],
        "settings": {"scope": "model", "epsilon": 0.001},
    },
    "pcb by tensor": {"method": "pcb", "models": [0, 1, 2], "settings": {"scope": "tensor", "clip": 0.01}},
    "overrides": {
        "method": "ties",
        "settings": {"scope": "tensor"},
        "overrides": [
            {"match": "*.mlp.*", "settings": {"density": [0.1, 0.9]}, "weights": [2, [0, 1]]},
            {"layers": 1, "scale": 0.5},
        ],
        "ignore": ["model.norm.*"],
    },
    "another type": {"method": "task_arithmetic", "dtype": "float16", "ignore": [NORM]},
    "a wider type": {"method": "dare_linear", "dtype": "float32"},
}


STATED = 1e-4
"""How near methods of whole matrices promise to come in float32."""


def assert_same(folder: Path, expected: dict[str, torch.Tensor]) -> None:
    """Compare bytes; of methods of whole matrices numbers: their library rounds by where in memory an array lies."""
    recipe = json.loads((folder / "receipt.json").read_text())["recipe"]
    whole = tv.METHODS[recipe["method"]].needs.scope == "tensor"
    with tv.Checkpoint(folder) as got:
        assert set(got) == set(expected)
        for name, want in expected.items():
            have = got[name]
            assert (have.dtype, have.shape) == (want.dtype, want.shape), name
            if whole and have.is_floating_point() and have.numel():
                least = 1e-10 if have.dtype == torch.float64 else torch.finfo(have.dtype).eps + STATED
                off = float((have.double() - want.double()).abs().max())
                assert off <= least * float(want.double().abs().max()), f"{name}: {off} off"
                continue
            same = have.reshape(-1).view(torch.uint8) == want.contiguous().reshape(-1).view(torch.uint8)
            assert bool(same.all()), f"{name}: {int((~same).sum())} bytes differ"


@pytest.mark.parametrize("name", RECIPES)
def test_bf16(merged: Callable[..., Path], recipe: Callable[..., tv.Recipe], name: str) -> None:
    made = recipe(**RECIPES[name])
    assert_same(merged(made), slowly(tv.make_plan(made)))


@pytest.mark.parametrize("kind", ["f32", "mixed"])
@pytest.mark.parametrize("method", list(tv.METHODS))
def test_other_types(merged: Callable[..., Path], recipe: Callable[..., tv.Recipe], method: str, kind: str) -> None:
    made = recipe(method, kind=kind)
    assert_same(merged(made), slowly(tv.make_plan(made)))


@pytest.mark.parametrize("method", list(tv.METHODS))
def test_float64_where_an_input_is_float64(
    merged: Callable[..., Path], recipe: Callable[..., tv.Recipe], method: str
) -> None:
    local = {"settings": {"scope": "tensor"}} if "scope" in tv.METHODS[method].settings else {}
    made = recipe(method, kind="wide", **local)
    plan = tv.make_plan(made)
    work = {u.name: u.work for u in plan.units}
    assert (work[EMBED], work[NORM]) == ("F64", "F32")
    assert work[UP] == ("F64" if plan.base else "F32")
    assert_same(merged(made), slowly(plan))


@pytest.mark.parametrize("method", list(tv.METHODS))
def test_plain_kernels(
    merged: Callable[..., Path], recipe: Callable[..., tv.Recipe], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recipe(method)
    expected = slowly(tv.make_plan(made))
    monkeypatch.setattr("taskvec.ops.kernels.choice", "plain")
    assert_same(merged(made), expected)


@pytest.mark.parametrize(
    "method", ["task_arithmetic", "ties", "dare_linear", "dare_ties", "breadcrumbs", "model_stock"]
)
def test_a_saved_task_vector_is_worth_the_model_it_came_from(
    merged: Callable[..., Path],
    recipe: Callable[..., tv.Recipe],
    soup: Callable[..., Path],
    tmp_path: Path,
    method: str,
) -> None:
    saved = tv.diff(soup() / "base", soup() / "m0").save(tmp_path / "m0.tv")
    made = recipe(method)
    models = [made.models[0].model_copy(update={"model": str(saved)}), made.models[1]]
    from_vector = made.model_copy(update={"models": models})
    expected = slowly(tv.make_plan(from_vector))
    assert_same(merged(from_vector), expected)
    if not tv.METHODS[method].needs.chance:  # whose masks belong to the file's content
        assert_same(merged(made), expected)


def test_a_merge_of_one_model_with_weight_one_is_that_model(
    merged: Callable[..., Path], recipe: Callable[..., tv.Recipe], soup: Callable[..., Path]
) -> None:
    tuned = tv.Checkpoint(soup() / "m1")
    assert_same(merged(recipe("task_arithmetic", models=[1])), dict(tuned))
    assert_same(merged(recipe("linear", models=[1])), dict(tuned))


def test_nothing_times_a_merge_is_the_base(
    merged: Callable[..., Path], recipe: Callable[..., tv.Recipe], soup: Callable[..., Path]
) -> None:
    base = dict(tv.Checkpoint(soup() / "base"))
    for method in ("ties", "dare_linear", "model_stock"):
        assert_same(merged(recipe(method, scale=0)), base)


def test_negating_a_model_goes_the_other_way(
    merged: Callable[..., Path], recipe: Callable[..., tv.Recipe], soup: Callable[..., Path]
) -> None:
    base, tuned = (tv.Checkpoint(soup("f32") / n)[EMBED].numpy() for n in ("base", "m0"))
    got = tv.Checkpoint(merged(recipe("task_arithmetic", [{"model": 0, "weight": -1}], "f32")))[EMBED].numpy()
    assert np.array_equal(got, base - (tuned - base))
