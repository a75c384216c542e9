"""Which tensors a method of matrices takes apart, and what is said of the others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from measured import with_statistics
from taskvec.merge.curvature import Measured
from taskvec.ops.metric import Diagonal
from taskvec.testing import finetuned, write_model

SHAPES = {
    "model.embed_tokens.weight": (20, 8),
    "model.layers.0.mlp.up_proj.weight": (12, 8),
    "model.layers.0.mlp.up_proj.bias": (12,),
    "vision.patch_embed.weight": (8, 3, 2, 2),
}


@pytest.fixture
def plan(tmp_path: Path, rng: np.random.Generator) -> Callable[..., tv.Plan]:
    """Plans of three models by a method, with settings."""

    def make(method: str, **data: object) -> tv.Plan:
        base = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
        tuned = [base, *(finetuned(base, seed) for seed in range(3))]
        folders = [str(write_model(tmp_path / f"m{i}", tensors)) for i, tensors in enumerate(tuned)]
        models = [{"model": folder} for folder in folders[1:]]
        recipe = with_statistics({"method": method, "base": folders[0], "models": models, **data})
        return tv.make_plan(tv.Recipe.model_validate(recipe))

    return make


def wholes(made: tv.Plan) -> set[str]:
    """Names of what is taken apart."""
    return {unit.name for unit in made.units if unit.whole}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"model.layers.0.mlp.up_proj.weight"}),
        ({"spectral": "tables"}, {"model.layers.0.mlp.up_proj.weight", "model.embed_tokens.weight"}),
        ({"spectral": "all"}, set(SHAPES) - {"model.layers.0.mlp.up_proj.bias"}),
        ({"spectral": "none"}, set()),
    ],
    ids=["default", "tables", "all", "none"],
)
@pytest.mark.parametrize("method", [name for name, m in tv.METHODS.items() if m.needs.role])
def test_what_is_taken_apart(
    plan: Callable[..., tv.Plan], method: str, settings: dict[str, str], expected: set[str]
) -> None:
    assert wholes(plan(method, settings=settings)) == expected


def test_an_override_says_it_for_some(plan: Callable[..., tv.Plan]) -> None:
    override = {"match": "*up_proj*", "settings": {"spectral": "none"}}
    assert wholes(plan("iso_c", overrides=[override], settings={"spectral": "tables"})) == {"model.embed_tokens.weight"}


def test_a_mean_beside_a_sum_is_said(plan: Callable[..., tv.Plan]) -> None:
    (note,) = [n for n in plan("tsv_m").notes if "apart" in n]
    assert note.startswith("tsv_m takes 1 matrices apart and averages the other 3 tensors (1 tables, 1 convolutions, ")
    assert "3 times shorter than a sum" in note
    assert not [n for n in plan("tsv_m", settings={"others": "sum"}).notes if "apart" in n]
    assert not [n for n in plan("task_arithmetic").notes if "apart" in n]


def test_a_matrix_too_large_for_the_memory_is_refused_with_a_number_that_is_enough(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    tensors = {"up_proj.weight": rng.standard_normal((3000, 3000)).astype(np.float32)}
    folders = [str(write_model(tmp_path / name, tensors)) for name in "abc"]
    recipe = tv.Recipe.model_validate(
        {"method": "tsv_m", "base": folders[0], "models": [{"model": f} for f in folders[1:]]}
    )
    with pytest.raises(tv.RecipeError, match=r"needs \d+ MB at its widest tensor .* Type e\.g\. --memory") as caught:
        tv.make_plan(recipe)
    enough = int(str(caught.value).rpartition("--memory ")[2].removesuffix("MB.")) * 1_000_000
    assert tv.make_plan(recipe, memory=enough).budget.peak <= enough


EXPERTS = "model.layers.0.mlp.experts.down_proj"


@pytest.fixture
def mixtures(tmp_path: Path, rng: np.random.Generator) -> Callable[..., tuple[list[str], list[np.ndarray]]]:
    """Three models and their base, each one tensor of four experts; folders, and the tensors."""

    def make(model_type: str, shape: tuple[int, ...] = (4, 12, 8)) -> tuple[list[str], list[np.ndarray]]:
        base = {EXPERTS: rng.standard_normal(shape).astype(np.float32)}
        tensors = [base, *(finetuned(base, seed) for seed in range(3))]
        config = {"model_type": model_type}
        folders = [str(write_model(tmp_path / f"x{i}", own, config=config)) for i, own in enumerate(tensors)]
        return folders, [own[EXPERTS] for own in tensors]

    return make


def recipe_of(folders: list[str], method: str, **data: object) -> tv.Recipe:
    """A recipe of the models on their base."""
    models = [{"model": f} for f in folders[1:]]
    return tv.Recipe.model_validate(with_statistics({"method": method, "base": folders[0], "models": models, **data}))


def bends_of(made: tv.Plan, expert: int) -> dict[str, Any]:
    """What a method of curvature is given of one expert: nothing where its kind of statistics knows none."""
    if not made.method.needs.curvature:
        return {}
    known = [model.curved.statistics for model in made.listed if model.curved]
    if EXPERTS not in known[0]:
        return {"curvature": None}
    return {"curvature": [Measured(Diagonal(one.read(EXPERTS)[expert]), one.total) for one in known]}


@pytest.mark.parametrize(("model_type", "role"), [("qwen3_moe", "matrix"), ("gpt_oss", "turned")])
@pytest.mark.parametrize("method", [name for name, m in tv.METHODS.items() if m.needs.role])
def test_experts_are_merged_one_by_one(
    mixtures: Callable[..., tuple[list[str], list[np.ndarray]]], method: str, model_type: str, role: str
) -> None:
    folders, (base, *tuned) = mixtures(model_type)
    settings = {"steps": 20} if method == "wudi" else {}
    made = tv.make_plan(recipe_of(folders, method, settings=settings, dtype="float32"))
    merged = tv.merge_in_memory(made)[EXPERTS]
    deltas = np.stack([own - base for own in tuned])
    function = tv.METHODS[method].function
    alone = [function(deltas[:, e], np.ones(3), role=role, **settings, **bends_of(made, e)) for e in range(len(base))]
    np.testing.assert_allclose(merged - base, np.stack(alone), atol=2e-6)


def test_experts_are_averaged_where_nothing_is_taken_apart(
    mixtures: Callable[..., tuple[list[str], list[np.ndarray]]],
) -> None:
    folders, (_, *tuned) = mixtures("qwen3_moe")
    merged = tv.merge_in_memory(tv.make_plan(recipe_of(folders, "tsv_m", settings={"spectral": "none"})))[EXPERTS]
    np.testing.assert_allclose(merged, np.mean(tuned, axis=0), atol=1e-6)


def test_experts_of_one_row_have_no_directions(
    mixtures: Callable[..., tuple[list[str], list[np.ndarray]]],
) -> None:
    folders, _ = mixtures("qwen3_moe", (4, 1, 8))
    assert wholes(tv.make_plan(recipe_of(folders, "iso_c"))) == set()


def test_memory_is_that_of_one_expert(mixtures: Callable[..., tuple[list[str], list[np.ndarray]]]) -> None:
    folders, _ = mixtures("qwen3_moe", (32, 96, 64))
    few, _ = mixtures("qwen3_moe", (4, 96, 64))
    peaks = [tv.make_plan(recipe_of(of, "tsv_m"), threads=1).budget.peak for of in (folders, few)]
    assert peaks[0] == peaks[1]


def test_experts_go_to_several_threads_and_are_kept_for_the_next_merge(
    mixtures: Callable[..., tuple[list[str], list[np.ndarray]]], tmp_path: Path
) -> None:
    folders, _ = mixtures("qwen3_moe", (6, 12, 8))
    recipe = recipe_of(folders, "iso_cts")
    tv.run(tv.make_plan(recipe, threads=2), tmp_path / "out")
    written = tv.Checkpoint(tmp_path / "out")[EXPERTS].numpy()
    with tv.Reweighted(recipe) as models:
        for scale in (0.5, 0.7, 0.3, 1.0):
            merged = models.weigh(recipe.model_copy(update={"scale": scale}))[EXPERTS]
    np.testing.assert_allclose(merged, written, atol=1e-6)
