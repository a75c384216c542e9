"""Threads, slices, shards, memory, kernels, the order of models where it has no part: nothing changes a byte."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import taskvec as tv
from taskvec.recipe.budget import TORCH
from taskvec.testing import finetuned, tiny_tensors, write_model

from .conftest import EMBED, contents, write_soup

HOW: list[dict[str, Any]] = [
    {"threads": 1},
    {"threads": 2, "slice_": 16384},
    {"threads": 5, "slice_": 65536},
    {"threads": 2, "memory": 180_000_000},
]
ROUNDED = [("nearest", None), ("stochastic", None), ("stochastic", "float16")]


def _with_torch(how: dict[str, Any], method: str) -> dict[str, Any]:
    """Leave room for torch where a method works on whole matrices."""
    torch_too = "memory" in how and tv.METHODS[method].needs.scope == "tensor"
    return {**how, "memory": how["memory"] + TORCH} if torch_too else how


@pytest.mark.parametrize("method", list(tv.METHODS))
def test_however_it_is_run(
    merged: Callable[..., Path], recipe: Callable[..., tv.Recipe], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recipe(method, rounding="stochastic" if method in ("dare_linear", "slerp") else "nearest")
    first = contents(merged(made))
    for how in HOW:
        assert contents(merged(made, _with_torch(how, method))) == first, how
    monkeypatch.setattr("taskvec.ops.kernels.choice", "plain")
    assert contents(merged(made, {"threads": 2, "slice_": 32768})) == first, "plain kernels"


def test_however_a_factor_a_tensor_is_found(merged: Callable[..., Path], recipe: Callable[..., tv.Recipe]) -> None:
    made = recipe("della_linear", settings={"rescale": "mergekit"})
    first = contents(merged(made))
    for how in HOW[1:]:
        assert contents(merged(made, how)) == first, how


@pytest.mark.parametrize("method", ["ties", "dare_ties", "model_stock", "linear"])
def test_mixed_types_too(merged: Callable[..., Path], recipe: Callable[..., tv.Recipe], method: str) -> None:
    made = recipe(method, kind="mixed", models=[0, 1, 2][: 3 if method != "slerp" else 2])
    first = contents(merged(made, {"threads": 1}))
    assert contents(merged(made, {"threads": 3, "slice_": 16384})) == first


@pytest.mark.parametrize("kind", ["bf16", "mixed"])
@pytest.mark.parametrize("method", ["ties", "dare_linear", "linear"])
def test_however_the_inputs_are_cut(
    merged: Callable[..., Path], soup: Callable[..., Path], recipe: Callable[..., tv.Recipe], method: str, kind: str
) -> None:
    """Whole files, two sizes of shards; the tensors' order in the files follows from the cut, their bytes do not."""
    results = []
    for size in (10**9, 150_000, 60_000):
        folder = merged(recipe(method, kind=kind, folder=soup(kind, size)))
        results.append(contents(folder, but=("receipt.json", "README.md")))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("method", ["ties", "dare_ties"])
def test_however_the_output_is_cut(merged: Callable[..., Path], recipe: Callable[..., tv.Recipe], method: str) -> None:
    whole = dict(tv.Checkpoint(merged(method=method)))
    cut = merged(method=method, output={"shard_size": 80_000})
    assert len(list(cut.glob("*.safetensors"))) > 2
    for name, x in tv.Checkpoint(cut).items():
        assert torch.equal(x, whole[name])


ANY_ORDER = [name for name, m in tv.METHODS.items() if m.needs.takes_base and 3 in m.needs.tasks]


@pytest.mark.parametrize("method", ANY_ORDER)
def test_in_whatever_order_the_models_are_listed(merged: Callable[..., Path], method: str) -> None:
    """mergekit's dare_ties: the same seed in another order changes 95 % of the merged delta (peers.md C5)."""
    weights = [0.7, -0.2, 0.5] if tv.METHODS[method].needs.weighted else [1.0, 1.0, 1.0]
    settings = {"density": 0.3} if "density" in tv.METHODS[method].settings else {}
    settings |= {"trim": 1.0} if method == "dare_ties" else {}
    entries = [{"model": i, "weight": w} for i, w in enumerate(weights)]
    results = [
        contents(merged(method=method, models=order, settings=settings, dtype="float32"), ("receipt.json", "README.md"))
        for order in (entries, entries[::-1], [entries[1], entries[2], entries[0]])
    ]
    assert results[0] == results[1] == results[2]


def test_whole_models_too_up_to_a_rounding(merged: Callable[..., Path]) -> None:
    """The first one is the reference, whose order of tensors and files the output takes; so it stays first."""
    one, two = (dict(tv.Checkpoint(merged(method="linear", models=order))) for order in ([0, 1, 2], [2, 1, 0]))
    for name, x in one.items():
        assert torch.allclose(x.double(), two[name].double(), rtol=2.0**-7, atol=1e-6), name


def test_a_seed_is_a_seed(merged: Callable[..., Path]) -> None:
    def run(seed: int) -> dict[str, str]:
        return contents(merged(method="dare_linear", seed=seed), ("receipt.json", "README.md"))

    assert run(1) == run(1)
    assert run(1) != run(2)


class TestStochasticRounding:
    def test_each_entry_is_one_of_its_two_neighbours_and_the_mean_is_right(self, tmp_path: Path) -> None:
        base = tiny_tensors(layers=1, hidden=32, vocab=200)
        write_model(tmp_path / "b", base, dtype="BF16")
        write_model(tmp_path / "m", finetuned(base, 1, 0.001), dtype="F32")
        data = {"method": "task_arithmetic", "base": str(tmp_path / "b"), "models": [{"model": str(tmp_path / "m")}]}
        exact = {n: x.double() for n, x in tv.Checkpoint(tmp_path / "m").items()}
        total = dict.fromkeys(exact, 0.0)
        seeds = 20
        for seed in range(seeds):
            recipe = tv.Recipe.model_validate(data | {"rounding": "stochastic", "seed": seed})
            out = tv.Checkpoint(tv.run(tv.make_plan(recipe), tmp_path / str(seed)).folder)
            for name, x in exact.items():
                got = out[name]
                assert got.dtype == torch.bfloat16
                away = torch.nextafter(got, torch.where(x > got, torch.inf, -torch.inf).to(got)).double() - got.double()
                assert bool(((got.double() - x).abs() <= away.abs()).all())
                total[name] = total[name] + got.double()
        error, spread = 0.0, 0.0
        for name, x in exact.items():
            error += float((total[name] / seeds - x).sum())
            spread += float(((2.0**-8 * x) ** 2).sum()) / seeds
        assert abs(error) < 4 * spread**0.5

    def test_it_keeps_more_of_a_small_task_vector_on_average_than_nearest(
        self, merged: Callable[..., Path], soup: Callable[..., Path]
    ) -> None:
        """A step far below the spacing of bf16 vanishes when rounded to nearest; by chance it survives in the sum."""
        base = tv.Checkpoint(soup() / "base")[EMBED].double()
        moved = {}
        for rounding in ("nearest", "stochastic"):
            folder = merged(method="task_arithmetic", scale=0.01, rounding=rounding, models=[0])
            tau = tv.Checkpoint(soup() / "m0")[EMBED].double() - base
            moved[rounding] = float(
                ((tv.Checkpoint(folder)[EMBED].double() - base) * tau).sum() / (0.01 * tau * tau).sum()
            )
        assert moved["stochastic"] == pytest.approx(1, abs=0.1)
        assert abs(moved["nearest"] - 1) > abs(moved["stochastic"] - 1)


def test_memory_stays_under_the_plan(merged: Callable[..., Path], recipe: Callable[..., tv.Recipe]) -> None:
    plan = tv.make_plan(recipe("ties"), memory=400_000_000)
    assert plan.budget.peak <= 400_000_000


def test_a_hundred_small_tensors_and_a_large_one(tmp_path: Path) -> None:
    """More tensors than anything queues at a time, on many threads."""
    base = {f"h.{i}.w": np.full((3,), i, np.float32) for i in range(100)} | {"big": np.ones((90_000,), np.float32)}
    write_model(tmp_path / "b", base)
    for i in range(2):
        write_model(tmp_path / f"m{i}", {n: x + i + 1 for n, x in base.items()})
    models = [{"model": str(tmp_path / f"m{i}")} for i in range(2)]
    data = {"method": "task_arithmetic", "base": str(tmp_path / "b"), "models": models}
    plan = tv.make_plan(tv.Recipe.model_validate(data), threads=8, slice_=16384)
    out = tv.Checkpoint(tv.run(plan, tmp_path / "out").folder)
    assert all(out[n].numpy().tolist() == (x + 3).tolist() for n, x in base.items())


def test_soups_are_what_they_are_said_to_be(tmp_path: Path) -> None:
    folder = write_soup(tmp_path, "mixed", 60_000)
    assert len(list((folder / "base").glob("*.safetensors"))) > 3
    kinds = [{tv.Checkpoint(folder / n).info(t).dtype for t in tv.Checkpoint(folder / n)} for n in ("base", "m0", "m1")]
    assert kinds == [{"BF16", "F32", "I64"}, {"F16", "F32", "I64"}, {"F32", "I64"}]
