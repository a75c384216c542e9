"""`taskvec locate`, end to end."""

import json
from pathlib import Path

import pytest

import encoders
from taskvec.locating.contest import ROWS
from taskvec.recipe.load import load_recipe
from taskvec.store import diff

from .conftest import Command

WORDS = ("locate", "--base", "base", "--device", "cpu", "--known", "taste", "pets", "noise")
CALIBRATE = "tasks:\n  taste: {data: taste-test.tsv, splits: {train: null}}\n"


def test_printed(here: Path, command: Command) -> None:
    done = command(*WORDS, "--data", "taste-few.tsv", "--layers")
    assert done.status == 0, done.err
    assert "24 examples of 2 classes, loss " in done.out
    assert "layer by layer" in done.out and "encoder.layer.1" in done.out
    assert "gradient, euclidean: the span of the known vectors explains " in done.out
    assert "\nundecided: " in done.out
    first = done.out.splitlines()[2].split()
    assert first[0] == "taste" and float(first[1]) > 0


def test_json_recipe_and_scores(here: Path, command: Command, tmp_path: Path) -> None:
    recipe = tmp_path / "located.yaml"
    words = (*WORDS, "--data", "taste-few.tsv", "--examples", "8", "--recipe", recipe, "--evaluate", "taste-test.tsv")
    done = command(*words, "--steps", "2", "--json", "--quiet")
    assert done.status == 0, done.err
    data = json.loads(done.out)
    assert (data["nearest"], data["verdict"], data["examples"]) == ("taste", "undecided", 8)
    assert tuple(data["scores"]) == ROWS
    assert all(score["examples"] == 24 for score in data["scores"].values())
    loaded, notes = load_recipe(recipe)
    assert not notes
    assert loaded.scale == pytest.approx(data["scale"], abs=1e-6)
    text = recipe.read_text()
    assert text.startswith("# Found by taskvec locate: gradient of taste-few.tsv, euclidean; its norm is the mean o")
    assert command("merge", recipe, "-o", tmp_path / "merged", "--quiet").status == 0
    assert command("eval", tmp_path / "merged", "--base", "base", "--data", "taste-test.tsv", "--fresh").status == 0
    again = command(*words)
    assert (again.status, again.err) == (3, f"{recipe} exists. Type --force to replace it, or another name.\n")


def test_a_recipe_with_weights_a_layer(here: Path, command: Command, tmp_path: Path) -> None:
    recipe = tmp_path / "located.yaml"
    done = command(*WORDS, "--data", "taste-few.tsv", "--weights", "layer", "--recipe", recipe, "--json", "--quiet")
    assert done.status == 0, done.err
    data = json.loads(done.out)
    loaded, _ = load_recipe(recipe)
    layers = [name for name in data["groups"] if name != "outside of layers"]
    assert [o.match for o in loaded.overrides] == [f"{name}.*" for name in layers]
    first = [data["scales"][layers[0]] * share for share in data["groups"][layers[0]]["mixture"]]
    assert loaded.overrides[0].weights == pytest.approx(first, abs=1e-6)
    assert ", layer by layer." in recipe.read_text()
    assert command("merge", recipe, "-o", tmp_path / "merged", "--quiet").status == 0


def test_a_table_of_what_it_is_worth(here: Path, command: Command) -> None:
    done = command(*WORDS, "--data", "taste-few.tsv", "--evaluate", "taste-test.tsv", "--steps", "1", "-q")
    assert done.status == 0, done.err
    assert "accuracy on 24 held-out examples" in done.out
    for row in ROWS:
        assert f"\n{row}" in done.out
    assert "nearest model (taste)" in done.out


def test_calibrated(here: Path, command: Command, tmp_path: Path) -> None:
    (tmp_path / "tasks.yaml").write_text(
        f"root: {here}\n" + CALIBRATE.replace("train: null", "train: null, test: null")
    )
    done = command(*WORDS, "--data", "taste-few.tsv", "--calibrate", tmp_path / "tasks.yaml")
    assert done.status == 2 and "has no train split" in done.err
    encoders.split_table(tmp_path / "taste.tsv", "taste", {"train": 24, "test": 2})
    (tmp_path / "tasks.yaml").write_text("tasks:\n  taste: {data: taste.tsv, labels: [bad, good]}\n")
    done = command(*WORDS, "--data", "taste-few.tsv", "--calibrate", tmp_path / "tasks.yaml")
    assert done.status == 0, done.err
    assert "a known task has " in done.out and "\nretrieve: " in done.out


def test_by_a_catalogue_and_a_checkpoint(here: Path, command: Command, tmp_path: Path) -> None:
    vectors = tmp_path / "vectors"
    assert command("catalog", "add", "taste", "pets", "--base", "base", "-C", vectors, "-q").status == 0
    done = command("locate", "--base", "base", "-C", vectors, "--checkpoint", "pets", "--recipe", tmp_path / "r.yaml")
    assert done.status == 0, done.err
    assert "\nretrieve: " in done.out
    (model,) = load_recipe(tmp_path / "r.yaml")[0].models
    assert model.model.endswith("vectors#pets")
    words = ("--base", "base", "-C", vectors, "--data", "taste-few.tsv", "--evaluate", "taste-test.tsv", "--steps", "1")
    done = command("locate", *words, "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["scores"]["nearest model"]["model"] == "taste"


def test_a_model_equal_to_the_base_is_said(here: Path, command: Command) -> None:
    done = command("locate", "--base", "base", "--known", "taste", "base", "--checkpoint", "taste", "--device", "cpu")
    assert done.status == 0 and "note: 'base' is equal to the base: a task vector of zeros" in done.err


def test_a_checkpoint_beside_examples(here: Path, command: Command) -> None:
    done = command(*WORDS, "--checkpoint", "taste", "--data", "taste-few.tsv")
    assert done.status == 0, done.err
    assert done.out.startswith("24 examples of 2 classes\n")


def test_no_merge_to_write_is_told_after_what_was_found(here: Path, command: Command, tmp_path: Path) -> None:
    away = (diff(here / "base", here / "taste") * -1).save(tmp_path / "away.tv")
    words = ("locate", "--base", "base", "--device", "cpu", "--known", away, "--checkpoint", "taste")
    done = command(*words, "--recipe", tmp_path / "r.yaml")
    assert done.status == 2 and "no known vector points the task's way" in done.err
    assert "the span of the known vectors explains 100 % of it" in done.out
    done = command(*words, "--recipe", tmp_path / "r.yaml", "--json")
    assert done.status == 2 and json.loads(done.out)["recipe"] is None
    assert not (tmp_path / "r.yaml").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "one.tsv"), "all 2 examples of one.tsv are of the class 'good', so they tell nothing apart."),
        ((), "there is nothing to locate by. Give a few examples (--data), or --checkpoint MODEL."),
        (("--evaluate", "taste-test.tsv"), "--evaluate trains on a few examples of the task. Give --data."),
        (("--data", "taste-few.tsv", "-C", "x"), "give either --known or --catalog, not both."),
        (("--data", "taste-few.tsv", "--examples", "1"), "--examples must be at least 2, got 1."),
        (("--data", "taste-few.tsv", "--calibrate", "odd.yaml"), "'odd' in odd.yaml is none of the known models"),
        (("--data", "none.tsv", "--steps", "0"), "'steps' of fine-tuning must be above 0, got 0."),
        (("--data", "none.tsv", "--rate=-1"), "'rate' of fine-tuning must be above 0, got -1."),
        (("--data", "taste-few.tsv", "--evaluate", "none.tsv"), "none.tsv does not exist."),
    ],
)
def test_refused_before_work(here: Path, command: Command, words: tuple[str, ...], message: str) -> None:
    encoders.table(here / "one.tsv", [("a", "good"), ("b", "good")])
    (here / "odd.yaml").write_text("tasks:\n  odd: {data: taste-test.tsv}\n")
    done = command(*WORDS, *words)
    assert done.status in (2, 3) and message in done.err, done.err


def test_known_models_win_over_the_environment(
    here: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = tmp_path / "vectors"
    assert command("catalog", "add", "pets", "--base", "base", "-C", vectors, "-q").status == 0
    monkeypatch.setenv("TASKVEC_CATALOG", str(vectors))
    words = ("locate", "--base", "base", "--checkpoint", "taste", "--device", "cpu", "--json")
    named = [json.loads(command(*words, *more).out)["models"] for more in ((), ("--known", "taste", "noise"))]
    assert [[m["model"] for m in models] for models in named] == [["pets"], ["taste", "noise"]]


def test_no_known_model(here: Path, command: Command) -> None:
    done = command("locate", "--base", "base", "--data", "taste-few.tsv")
    assert (done.status, done.err) == (
        2, "there is no known model to locate among. Type --known MODEL …, or --catalog FOLDER.\n",
    )  # fmt: skip
