"""A budget, in bytes or in error, chooses ranks and densities."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import taskvec as tv
from taskvec.errors import RecipeError
from taskvec.packs import Packed
from taskvec.progress import Silent
from taskvec.store.pack import Pack
from taskvec.testing import tiny_tensors, write_model

Packing = Callable[..., Packed]
SIZED = [("low_rank", {}), ("low_rank", {"factors": "int8"}), ("sparse", {}), ("sparse", {"values": "float16"})]


@pytest.mark.parametrize(("method", "settings"), SIZED, ids=str)
def test_an_error_is_kept_and_used_up(packed: Packing, method: str, settings: dict[str, object]) -> None:
    made = {error: packed(method, error=error, **settings) for error in (0.2, 0.5)}
    for error, pack in made.items():
        assert all(0.9 * error < task["error"] <= error for task in pack.tasks)
    assert made[0.5].facts["bytes"] < made[0.2].facts["bytes"]


@pytest.mark.parametrize(("method", "settings"), SIZED, ids=str)
def test_a_budget_is_kept_and_more_is_better(packed: Packing, method: str, settings: dict[str, object]) -> None:
    errors = []
    for budget in (45_000, 60_000):
        made = packed(method, budget=budget, **settings)
        assert made.facts["bytes"] <= budget
        errors.append([task["error"] for task in made.tasks])
    assert all(less < more for more, less in zip(*errors, strict=True))
    assert errors[0][0] == pytest.approx(errors[0][1], rel=0.1)  # both tasks are treated alike


def test_every_matrix_gets_the_rank_that_it_needs(tmp_path: Path) -> None:
    """A change of rank 2 in one matrix, of full rank in another."""
    base, rng = tiny_tensors(hidden=32), np.random.default_rng(0)
    thin, full = "model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"
    tuned = {**base, full: base[full] + rng.standard_normal(base[full].shape).astype(np.float32)}
    left, right = rng.standard_normal((96, 2)), rng.standard_normal((2, 32))
    tuned[thin] = (base[thin] + left @ right).astype(np.float32)
    write_model(tmp_path / "base", base)
    write_model(tmp_path / "math", tuned)
    made = tv.pack(tmp_path / "base", [tmp_path / "math"], tmp_path / "t.pack", error=0.1, settings={"small": 512})
    with Pack(made.path) as opened:
        ranks = {name: how["rank"] for name, (how,) in opened.encodings.items() if how}
    assert ranks[thin] == 2
    assert ranks[full] > 15
    assert made.facts["chosen"]["rank"] == {"least": 2, "mean": (2 + ranks[full]) / 2, "most": ranks[full]}


def test_everything_is_read_twice_at_most(packed: Packing, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    monkeypatch.setattr(Silent, "begin", lambda self, what, total, unit="B": begun.append(what))
    packed("sparse", error=0.3)
    assert begun == ["measuring", "packing"]
    begun.clear()
    packed("sparse")
    assert begun == ["packing"]


@pytest.mark.parametrize("method", ["low_rank", "sparse"])
def test_a_budget_that_is_too_small_says_the_least(packed: Packing, method: str) -> None:
    with pytest.raises(
        RecipeError, match=r"--budget 9000 bytes is too small: .* take \d+\. Type --budget \d+"
    ) as caught:
        packed(method, budget=9000)
    least = int(str(caught.value).rpartition("--budget ")[2].split(",")[0])
    assert packed(method, budget=least).facts["bytes"] <= least


@pytest.mark.parametrize("method", ["low_rank", "sparse"])
def test_an_error_that_is_too_small_says_the_least(packed: Packing, method: str) -> None:
    with pytest.raises(
        RecipeError, match=r"--error 1e-05 is too small: .* alone cost 'math' .* Type --error"
    ) as caught:
        packed(method, error=1e-5)
    least = float(str(caught.value).rpartition("--error ")[2].split(",")[0])
    assert packed(method, error=least).tasks[0]["error"] <= least


@pytest.mark.parametrize("method", ["bits", "tall", "emr", "tsv_c"])
def test_methods_of_one_size_take_neither(packed: Packing, method: str) -> None:
    with pytest.raises(RecipeError, match=f"'{method}' has one size.*--method low_rank"):
        packed(method, error=0.1)
    with pytest.raises(RecipeError, match=f"'{method}' has one size"):
        packed(method, budget=10**9)


def test_a_budget_and_an_error_at_once(packed: Packing) -> None:
    with pytest.raises(RecipeError, match="each choose the size"):
        packed("sparse", error=0.1, budget=10**6)
    with pytest.raises(RecipeError, match="between 0 and 1, got 2"):
        packed("sparse", error=2.0)


def test_a_generous_budget_keeps_everything(packed: Packing, tmp_path: Path) -> None:
    assert packed("sparse", budget=10**9, values="float32").tasks[0]["error"] == 0.0
    assert packed("low_rank", budget=10**9).tasks[0]["error"] < 5e-4  # factors in float16
