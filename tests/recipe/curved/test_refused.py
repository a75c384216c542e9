"""What goes wrong with statistics is refused while planning, in one sentence that says what to type."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from measured import write_statistics
from taskvec.testing import write_adapter, write_model

from .conftest import NORM, UP, Made, tensors


def refuse(made: tv.Recipe, error: type[Exception], match: str) -> None:
    """Plan, and look at the refusal."""
    with pytest.raises(error, match=match) as caught:
        tv.make_plan(made)
    assert "\n" not in str(caught.value)


def with_first(made: tv.Recipe, **changes: Any) -> tv.Recipe:
    """Change the first model's entry."""
    return made.model_copy(update={"models": [made.models[0].model_copy(update=changes), *made.models[1:]]})


def test_none_given(recipe: Made) -> None:
    refuse(
        recipe(kind=None),
        tv.RecipeError,
        r"'leaning' needs statistics of every model, and .*m0 has none\. Type 'statistics: …' under it, a folder made "
        r"with `taskvec curvature --model .*m0 --estimator empirical_fisher`\.",
    )


def test_one_without(recipe: Made) -> None:
    refuse(with_first(recipe(), statistics=None), tv.RecipeError, r"of every model, and .*m0 has none\.")


def test_an_override_that_needs_them(recipe: Made) -> None:
    made = recipe(kind=None, settings={"flat": True}, overrides=[{"match": "*up*", "settings": {"flat": False}}])
    refuse(made, tv.RecipeError, r"'leaning' needs statistics of every model, and .*m0 has none\.")


def test_the_base_without(recipe: Made) -> None:
    refuse(
        recipe("leaning_on_base"),
        tv.RecipeError,
        r"'leaning_on_base' needs statistics of the base, and .*base has none\. Type the recipe's own ",
    )


def test_the_bases_where_none_are_used(recipe: Made, soup: Path) -> None:
    refuse(
        recipe(statistics=str(soup / "stats" / "base.diagonal")),
        tv.RecipeError,
        r"'leaning' uses no statistics of the base\. Type 'statistics: …' under each model instead\.",
    )


@pytest.mark.parametrize("key", ["statistics", "task", "curvature"])
def test_a_method_that_uses_none(recipe: Made, soup: Path, key: str) -> None:
    made = recipe("task_arithmetic", "diagonal" if key == "statistics" else None)
    made = with_first(made, task="sst2") if key == "task" else made
    if key == "curvature":
        made = tv.Recipe.model_validate({**made.data, "curvature": {"tasks": "t.yaml"}})
    refuse(
        made,
        tv.RecipeError,
        rf"'task_arithmetic' uses no statistics of models\. Remove '{key}', or type a method that does: .*leaning.*\.",
    )


def test_tasks_that_are_not_measured_yet(recipe: Made) -> None:
    made = with_first(recipe(kind=None), task="sst2")
    refuse(made, tv.RecipeError, r"the statistics of .*m0 on 'sst2' are not measured yet\. `taskvec merge`")


def test_another_kind(recipe: Made) -> None:
    refuse(
        recipe(kind="kronecker"),
        tv.RecipeError,
        r"'leaning' uses statistics of the kind 'diagonal', and .*m0\.kronecker holds the kind 'kronecker' "
        r"\(by kfac\)\. Type: taskvec curvature --model .*m0 --estimator empirical_fisher\.",
    )


def test_kinds_that_differ(recipe: Made, soup: Path) -> None:
    made = with_first(recipe("pressing"), statistics=str(soup / "stats" / "m0.eigen"))
    refuse(
        made,
        tv.MismatchError,
        r"the statistics of .*m1 are by fisher \(diagonal\), those of .*m0 by ekfac \(eigen\)\. Measure both with one",
    )


def test_estimators_that_differ(recipe: Made, soup: Path, tmp_path: Path) -> None:
    other = write_statistics(tmp_path / "s", soup / "m0", estimator="ggn")
    made = with_first(recipe(), statistics=str(other))
    refuse(made, tv.MismatchError, r"m1 are by fisher \(diagonal\), those of .*m0 by ggn \(diagonal\)\.")


def test_those_of_another_model(recipe: Made, soup: Path) -> None:
    refuse(
        with_first(recipe(), statistics=str(soup / "stats" / "m2.diagonal")),
        tv.MismatchError,
        r"the statistics .*m2\.diagonal were measured of .*m2 \(tv1:\w+\), and .*m0 is tv1:\w+\. Measure it with "
        r"`taskvec curvature --model .*m0`\.",
    )


def test_a_tensor_that_one_lacks(recipe: Made, soup: Path, tmp_path: Path) -> None:
    other = write_statistics(tmp_path / "s", soup / "m0", skip=(NORM,))
    refuse(
        with_first(recipe(), statistics=str(other)),
        tv.MismatchError,
        rf"the statistics of .*m0 lack '{NORM}', which those of another model have\. Measure both alike\.",
    )


def test_a_folder_that_is_not_there(recipe: Made, tmp_path: Path) -> None:
    refuse(with_first(recipe(), statistics=str(tmp_path / "no")), tv.StoreError, r"no does not exist\. Give a folder")


def test_a_folder_of_another_kind(recipe: Made, soup: Path) -> None:
    refuse(with_first(recipe(), statistics=str(soup / "m1")), tv.FormatError, r"m1 is no folder of statistics")


@pytest.mark.parametrize("kind", ["diagonal", "kronecker"])
def test_other_shapes(recipe: Made, soup: Path, tmp_path: Path, kind: str) -> None:
    other = dict(tensors(1)) | {UP: np.ones((5, 3), np.float32)}
    write_model(tmp_path / "other", other)
    fingerprint = tv.fingerprint(tv.Checkpoint(soup / "m0"))
    stats = write_statistics(tmp_path / "s", tmp_path / "other", kind, model={"fingerprint": fingerprint})
    refuse(
        with_first(recipe("pressing", kind), statistics=str(stats)),
        tv.MismatchError,
        rf"the statistics .*s do not fit '{UP}', which is \(24, 16\): its (diagonal|input) is \(\d, 3\), not \(",
    )


def test_a_matrix_that_is_none(recipe: Made, soup: Path, tmp_path: Path) -> None:
    name = "vision.conv.weight"
    for folder in ("base", "m"):
        write_model(tmp_path / folder, {name: np.ones((8, 3, 2, 2), np.float32)})
    write_model(tmp_path / "flat", {name: np.ones((8, 12), np.float32)})
    fingerprint = tv.fingerprint(tv.Checkpoint(tmp_path / "m"))
    stats = write_statistics(tmp_path / "s", tmp_path / "flat", "kronecker", model={"fingerprint": fingerprint})
    data = {"method": "pressing", "base": str(tmp_path / "base"), "settings": {"spectral": "all"},
        "models": [{"model": str(tmp_path / "m"), "statistics": str(stats)}]}  # fmt: skip
    refuse(
        tv.Recipe.model_validate(data),
        tv.MismatchError,
        r"the statistics .*s call 'vision\.conv\.weight' a matrix, but it is \(8, 3, 2, 2\)\.",
    )


CHANGE = r"is a change of the base \(a task vector or an adapter\), and statistics are of a whole model\. Name"


def test_task_vectors_have_none(recipe: Made, soup: Path, tmp_path: Path) -> None:
    vector = tv.diff(soup / "base", soup / "m0").save(tmp_path / "m0.tv")
    refuse(with_first(recipe(), model=str(vector)), tv.RecipeError, rf"m0\.tv {CHANGE}")


def test_adapters_have_none(recipe: Made, tmp_path: Path) -> None:
    parts = {"lora_A": np.ones((2, 16), np.float32), "lora_B": np.ones((24, 2), np.float32)}
    layer = "base_model.model.model.layers.0.mlp.up_proj"
    write_adapter(tmp_path / "lora", {f"{layer}.{part}.weight": x for part, x in parts.items()})
    refuse(with_first(recipe(), model=str(tmp_path / "lora")), tv.RecipeError, rf"lora {CHANGE}")


def test_no_merge_of_adapters_by_curvature(recipe: Made, tmp_path: Path) -> None:
    made = recipe(kind=None, adapter={"rank": 2})
    with pytest.raises(tv.RecipeError, match=r"'leaning' heeds statistics of whole models, which adapters lack"):
        tv.merge_adapters(made, tmp_path / "out")


def test_stacks(recipe: Made) -> None:
    made = recipe()
    stacked = {**made.data, "stack": [{"models": made.data["models"]}]}
    del stacked["models"]
    refuse(
        tv.Recipe.model_validate(stacked),
        tv.RecipeError,
        r"'leaning' heeds statistics of models, which 'stack' does not take\. List 'models'\.",
    )


def test_rows_that_move(recipe: Made, soup: Path, tmp_path: Path) -> None:
    shapes = {"model.embed_tokens.weight": np.ones((3, 2), np.float32)}
    write_model(tmp_path / "base", shapes, tokens={"a": 0, "b": 1, "c": 2})
    write_model(tmp_path / "m", shapes, tokens={"c": 0, "b": 1, "a": 2})
    stats = write_statistics(tmp_path / "s", tmp_path / "m")
    data = {"method": "leaning", "base": str(tmp_path / "base"), "vocabulary": "union",
        "models": [{"model": str(tmp_path / "m"), "statistics": str(stats)}]}  # fmt: skip
    refuse(
        tv.Recipe.model_validate(data),
        tv.RecipeError,
        r"'vocabulary' moves the rows of .*m, and its statistics are of the rows as they were\. Remove 'vocabulary'",
    )


def test_no_output_over_statistics(recipe: Made, soup: Path) -> None:
    with pytest.raises(tv.RecipeError, match=r"would lie over the input .*m0\.diagonal"):
        tv.make_plan(recipe(), soup / "stats" / "m0.diagonal")


class TestInFiles:
    """What is refused with the line where it stands."""

    def test_statistics_and_a_task(self, typed: Callable[[str], Any]) -> None:
        with pytest.raises(tv.RecipeError, match=r"recipe\.yaml:4: \./m has both 'statistics' and 'task'\. Give"):
            typed("""
                method: leaning
                base: ./b
                models:
                - {model: ./m, statistics: ./s, task: sst2}
                curvature: {tasks: t.yaml}
            """)

    def test_a_task_without_a_file(self, typed: Callable[[str], Any]) -> None:
        with pytest.raises(
            tv.RecipeError,
            match=r"recipe\.yaml:4: 'task: sst2' is measured by 'curvature', which is missing",
        ):
            typed("""
                method: leaning
                base: ./b
                models:
                - {model: ./m, task: sst2}
            """)

    def test_a_file_without_a_task(self, typed: Callable[[str], Any]) -> None:
        with pytest.raises(tv.RecipeError, match=r"recipe\.yaml:4: 'curvature' has no effect: no model names a 'task'"):
            typed("""
                method: leaning
                base: ./b
                models: [./m]
                curvature: {tasks: t.yaml}
            """)

    def test_an_unknown_key(self, typed: Callable[[str], Any]) -> None:
        with pytest.raises(tv.RecipeError, match=r"unknown key 'exmples'\. Did you mean 'examples'\?"):
            typed("""
                method: leaning
                base: ./b
                models: [{model: ./m, task: a}]
                curvature: {tasks: t.yaml, exmples: 3}
            """)
