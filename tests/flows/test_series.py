"""Files of several recipes that build on each other."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import taskvec as tv
from taskvec.recipe.load import load_recipes
from taskvec.recipe.series import run_series, steps_folder
from taskvec.testing import finetuned, tiny_tensors, write_model

TWO = """
name: half
method: linear
models: [{model: m1}, {model: m2}]
dtype: float32
---
method: task_arithmetic
base: base
models: [half, m1]
---
"""


A, B, M1, M2 = (f"method: linear\nmodels: [{name}]\n" for name in ("a", "b", "m1", "m2"))


@pytest.fixture
def recipes(tmp_path: Path) -> Callable[[str], Path]:
    base = tiny_tensors()
    write_model(tmp_path / "base", base)
    for i in (1, 2):
        write_model(tmp_path / f"m{i}", finetuned(base, i))

    def write(text: str) -> Path:
        (tmp_path / "r.yaml").write_text(text)
        return tmp_path / "r.yaml"

    return write


def test_the_result_is_that_of_one_after_the_other(recipes: Callable[[str], Path], tmp_path: Path) -> None:
    told: list[str] = []
    run_series(load_recipes(recipes(TWO)), tmp_path / "out", tv.make_plan, tell=told.append)
    assert told[0] == "making 'half', 1 of 2"
    base, one, two, out = (tv.Checkpoint(tmp_path / n) for n in ("base", "m1", "m2", "out"))
    for name in out:
        b, x, y = (c[name].double().numpy() for c in (base, one, two))
        expected = b + ((x + y) / 2 - b) + (x - b)
        assert np.allclose(out[name].double().numpy(), expected, rtol=0, atol=1e-6)
    assert not steps_folder(tmp_path / "out").exists()


def test_the_order_of_the_documents_is_free(recipes: Callable[[str], Path], tmp_path: Path) -> None:
    first, second = TWO.split("---")[:2]
    loaded = load_recipes(recipes(f"{second}---{first}"))
    assert [one.recipe.name for one in loaded] == ["half", None]


def test_what_is_finished_is_used_again(
    recipes: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, out = load_recipes(recipes(TWO)), tmp_path / "out"

    def planner(recipe: tv.Recipe, folder: Path) -> tv.Plan:
        if recipe.name is None:
            raise KeyboardInterrupt
        return tv.make_plan(recipe, folder)

    with pytest.raises(KeyboardInterrupt):
        run_series(loaded, out, planner)
    half = steps_folder(out) / "half" / "receipt.json"
    written = half.stat().st_mtime_ns
    seen = []

    def watching(recipe: tv.Recipe, folder: Path) -> tv.Plan:
        seen.append(half.stat().st_mtime_ns)
        return tv.make_plan(recipe, folder)

    run_series(loaded, out, watching)
    assert seen == [written, written]


def test_another_recipe_is_not_taken_for_it(recipes: Callable[[str], Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_series(load_recipes(recipes(TWO)), out, tv.make_plan)
    before = (out / "model.safetensors").read_bytes()
    run_series(
        load_recipes(recipes(TWO.replace("{model: m1}", "{model: m1, weight: 3}"))), out, tv.make_plan, force=True
    )
    assert (out / "model.safetensors").read_bytes() != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "name: a\nmethod: linear\nmodels: [m1]\n---\nname: a\nmethod: linear\nmodels: [m2]",
            "two recipes have the name",
        ),
        (
            "name: a\nmethod: linear\nmodels: [m1]\n---\nmethod: linear\nmodels: [m2]",
            r"got 2 \('a', one without a name\)",
        ),
        (
            "name: a\nmethod: linear\nmodels: [b]\n---\nname: b\nmethod: linear\nmodels: [a]",
            "must make the result.*got 0",
        ),
        (
            "name: a\nmethod: linear\nmodels: [b]\n---\nname: b\nmethod: linear\nmodels: [a]\n---\n"
            "method: linear\nmodels: [b]",
            "the recipes 'a', 'b', 'None' go in a circle",
        ),
    ],
)
def test_names_that_do_not_fit_are_refused(recipes: Callable[[str], Path], text: str, message: str) -> None:
    with pytest.raises(tv.RecipeError, match=message):
        load_recipes(recipes(text))


def test_several_recipes_are_not_one(recipes: Callable[[str], Path]) -> None:
    with pytest.raises(tv.RecipeError, match="holds 2 recipes that build on each other"):
        tv.load_recipe(recipes(TWO))


def test_an_existing_output_is_refused_before_anything_is_made(recipes: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "taken" / "x").mkdir(parents=True)
    loaded = load_recipes(recipes(TWO))
    with pytest.raises(tv.OutputError, match="exists and is not empty"):
        run_series(loaded, tmp_path / "taken", tv.make_plan)
    with pytest.raises(tv.RecipeError, match="would lie over the input"):
        run_series(loaded, tmp_path / "m1", tv.make_plan, force=True)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".steps")]


@pytest.mark.parametrize("name", ["../m2", "{tmp}/m2", ".", "..", "org/half", "a+b"])
def test_a_name_is_no_path(recipes: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    name = name.replace("{tmp}", str(tmp_path))
    text = f"name: {name}\nmethod: linear\nmodels: [m1]\n---\nmethod: linear\nmodels: ['{name}', base]\n"
    loaded, out = load_recipes(recipes(text)), tmp_path / "out"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    made = []

    def planner(recipe: tv.Recipe, folder: Path) -> tv.Plan:
        made.append(folder)
        return tv.make_plan(recipe, folder)

    run_series(loaded, out, planner)
    assert made[0].resolve().parent == steps_folder(out)
    assert {path: path.stat().st_mtime_ns for path in before if path != tmp_path} == {
        path: at for path, at in before.items() if path != tmp_path
    }
    assert (out / "receipt.json").is_file()


def test_a_model_between_with_another_tokenizer_is_made_again(recipes: Callable[[str], Path], tmp_path: Path) -> None:
    for name in ("m1", "m2"):
        (tmp_path / name / "tokenizer_config.json").write_text(f'{{"name_or_path": "{name}"}}')
    out = tmp_path / "out"

    def stopping(recipe: tv.Recipe, folder: Path) -> tv.Plan:
        if recipe.name is None:
            raise KeyboardInterrupt
        return tv.make_plan(recipe, folder)

    found = []
    for name in ("m1", "m2"):
        text = TWO.replace("method: linear", f"method: linear\ntokenizer: {name}")
        with pytest.raises(KeyboardInterrupt):
            run_series(load_recipes(recipes(text)), out, stopping)
        found.append((steps_folder(out) / "half" / "tokenizer_config.json").read_text())
    assert found[0] != found[1]


def test_a_note_of_several_recipes_is_told_once(recipes: Callable[[str], Path], tmp_path: Path) -> None:
    one = "merge_method: linear\nmodels: [{model: %s}, {model: m2}]\nparameters: {weight: 1, int8_mask: true}\n"
    told: list[str] = []
    loaded = load_recipes(recipes(f"{one % 'half'}---\nname: half\n{one % 'm1'}"))
    run_series(loaded, tmp_path / "out", tv.make_plan, tell=told.append)
    assert told[0] == "making 'half', 1 of 2"
    for beginning in ("'int8_mask' has no effect", "arithmetic is float32"):
        assert len([text for text in told if text.startswith(beginning)]) == 1
