"""Statistics measured on the way: before the merge, once, by every command that merges."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from taskvec.curvature import Estimating, measure_curvature
from taskvec.evaluate.model import Model
from taskvec.recipe.plan import make_plan
from taskvec.store.statistics import Statistics
from taskvec.suite import statistics
from taskvec.suite.load import load_suite
from taskvec.suite.specialists import lesson_of
from taskvec.suite.statistics import jobs_of, with_statistics

from .conftest import TASKS, Command

SPECIALISTS = {task: f"suites/tiny/specialists/{task}" for task in TASKS}


def asked(method: str = "fisher", **curvature: Any) -> dict[str, Any]:
    """A recipe that names tasks."""
    return {
        "method": method,
        "base": "base",
        "models": [{"model": path, "task": task} for task, path in SPECIALISTS.items()],
        "curvature": {"tasks": "tiny.yaml", "examples": 12, **curvature},
    }


def write(here: Path, data: dict[str, Any]) -> None:
    """Write it as recipe.yaml; JSON is YAML."""
    (here / "recipe.yaml").write_text(json.dumps(data))


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where something is measured."""

    def measure(*args: Any, **more: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(statistics, "measure_curvature", measure)


def places(here: Path) -> set[Path]:
    """Folders of statistics in the cache."""
    return {path.parent for path in (here / "kept" / "statistics").glob("*/*/statistics.json")}


def test_a_merge_measures_what_it_needs_once(here: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here, asked())
    done = command("merge", "recipe.yaml", "-o", "one")
    assert done.status == 0, done.err
    assert "the statistics of suites/tiny/specialists/taste on 'taste' (empirical_fisher, 12 examples) are" in done.err
    assert len(places(here)) == 3
    with monkeypatch.context() as patch:
        patch.setattr(statistics, "measure_curvature", None)
        again = command("merge", "recipe.yaml", "-o", "two")
    assert again.status == 0, again.err
    assert "measured first" not in again.err
    one, two = (dict(tv.Checkpoint(here / name)) for name in ("one", "two"))
    assert all((x == two[name]).all() for name, x in one.items())


def test_it_is_the_merge_with_statistics_that_were_measured_before(here: Path, command: Command) -> None:
    write(here, asked("mats", estimator="kfac", seed=3))
    assert command("merge", "recipe.yaml", "-o", "one", "--quiet").status == 0
    loaded = load_suite("tiny.yaml")
    base = Model("base", device="cpu")
    how = Estimating(estimator="kfac", examples=12, seed=3)
    models = []
    for task, path in SPECIALISTS.items():
        lesson = lesson_of(loaded, task, base)
        measure_curvature(Model(path, device="cpu", inputs="base"), lesson, here / "stats" / task, how)
        models.append({"model": path, "statistics": f"stats/{task}"})
    write(here, {"method": "mats", "base": "base", "models": models})
    assert command("merge", "recipe.yaml", "-o", "two", "--quiet").status == 0
    one, two = (dict(tv.Checkpoint(here / name)) for name in ("one", "two"))
    for name, x in one.items():
        np.testing.assert_allclose(x.numpy(), two[name].numpy(), rtol=1e-5, atol=1e-6)
    receipts = [json.loads((here / name / "receipt.json").read_text()) for name in ("one", "two")]
    assert [i["statistics"]["estimator"] for i in receipts[0]["inputs"][1:]] == ["kfac"] * 3
    assert receipts[0]["recipe"]["models"][0] == {"model": SPECIALISTS["taste"], "task": "taste"}
    assert str(here / "kept") not in (here / "one" / "README.md").read_text()


def test_a_plan_says_what_would_be_measured_and_measures_nothing(here: Path, command: Command, never: None) -> None:
    write(here, asked())
    done = command("plan", "recipe.yaml")
    assert done.status == 0, done.err
    assert "fisher: 3 models; planned once their statistics are measured." in done.out
    assert done.out.count("(empirical_fisher, 12 examples) are measured first, and kept in") == 3
    facts = json.loads(command("plan", "recipe.yaml", "--json").out)
    assert (facts["measured"], len(facts["notes"])) == (False, 3)
    assert places(here) == set()


def test_a_plan_of_what_is_measured_is_a_plan(here: Path, command: Command) -> None:
    write(here, asked())
    assert command("merge", "recipe.yaml", "-o", "one", "--quiet").status == 0
    facts = json.loads(command("plan", "recipe.yaml", "--json").out)
    assert [i.get("statistics", {}).get("kind") for i in facts["inputs"]] == [None, *["diagonal"] * 3]
    assert sum("are found in" in note for note in facts["notes"]) == 3


def test_a_search_measures_first(here: Path, command: Command) -> None:
    write(here, asked())
    words = ("--tasks", "tiny.yaml", "--device", "cpu", "--search", "scale=0.3,0.8", "--json", "-o", "best.yaml")
    done = command("tune", "recipe.yaml", *words)
    assert done.status == 0, done.err
    assert len(json.loads(done.out)["trials"]) == 2
    best = tv.load_recipe("best.yaml")[0]
    assert [entry.task for entry in best.models] == list(TASKS)
    assert best.unmeasured == best.models
    assert command("merge", "best.yaml", "-o", "tuned", "--quiet").status == 0


def test_a_benchmark_measures_its_specialists(here: Path, command: Command) -> None:
    text = (here / "tiny.yaml").read_text()
    (here / "tiny.yaml").write_text(f"{text.partition('methods:')[0]}methods: [{{method: fisher, grid: [1.0]}}]\n")
    done = command("bench", "score", "tiny.yaml", "--device", "cpu", "--json")
    assert done.status == 0, done.err
    rows = [row["name"] for row in json.loads(done.out)["models"]]
    assert {"fisher", "fisher, tuned"} <= set(rows)
    assert len(list((here / "suites/tiny/statistics").glob("*/*/statistics.json"))) == 3


class TestWhatIsKept:
    def test_other_questions_have_other_answers(self, here: Path) -> None:
        recipes = [asked(), asked(examples=10), asked(seed=1), asked("mats"), asked("regmean"), asked(estimator="ggn")]
        found = [{job.place for job in jobs_of(tv.Recipe.model_validate(r), device="cpu")} for r in recipes]
        assert [len(some) for some in found] == [3] * len(recipes)
        assert len(set.union(*found)) == 3 * len(recipes)
        assert found[0] == {job.place for job in jobs_of(tv.Recipe.model_validate(asked()), device="cpu")}

    def test_the_estimator_is_the_first_that_the_method_can_use(self, here: Path) -> None:
        for method, estimator in (("fisher", "empirical_fisher"), ("regmean", "gram"), ("mats", "kfac")):
            jobs = jobs_of(tv.Recipe.model_validate(asked(method)), device="cpu")
            assert {job.how.estimator for job in jobs} == {estimator}

    def test_gradients_where_the_settings_need_them(self, here: Path) -> None:
        data = asked("epimer")
        newton = {**data, "settings": {"targets": "newton"}}
        for one, expected in ((data, False), (newton, True)):
            assert {job.how.gradient for job in jobs_of(tv.Recipe.model_validate(one), device="cpu")} == {expected}

    def test_nothing_is_measured_where_nothing_is_used(self, here: Path, never: None) -> None:
        data = asked("epimer") | {"settings": {"metric": "deltas"}}
        recipe = with_statistics(tv.Recipe.model_validate(data), device="cpu")
        assert make_plan(recipe).curvature == {}

    def test_what_is_damaged_is_measured_again(self, here: Path) -> None:
        recipe = tv.Recipe.model_validate(asked() | {"models": [{"model": SPECIALISTS["taste"], "task": "taste"}]})
        (job,) = jobs_of(recipe, device="cpu")
        told: list[str] = []
        for _ in range(2):
            with_statistics(recipe, tell=told.append, device="cpu")
        assert len(told) == 1
        (job.place / "statistics.safetensors").write_bytes(b"torn")
        with_statistics(recipe, tell=told.append, device="cpu")
        assert len(told) == 2
        assert Statistics(job.place).kind == "diagonal"

    def test_another_model_of_the_same_name_is_measured(self, here: Path) -> None:
        recipe = tv.Recipe.model_validate(asked())
        before = [job.place for job in jobs_of(recipe, device="cpu")]
        shutil.copy(here / SPECIALISTS["pets"] / "model.safetensors", here / SPECIALISTS["taste"] / "model.safetensors")
        after = [job.place for job in jobs_of(recipe, device="cpu")]
        assert [one == two for one, two in zip(before, after, strict=True)] == [False, True, True]


class TestRefused:
    def test_an_unknown_task(self, here: Path, command: Command) -> None:
        data = asked()
        data["models"][0]["task"] = "tste"
        write(here, data)
        done = command("merge", "recipe.yaml", "-o", "one")
        assert done.status == 2
        assert "tiny.yaml has no task 'tste'. Did you mean 'taste'?" in done.err

    def test_no_such_file(self, here: Path, command: Command) -> None:
        write(here, asked(tasks="no.yaml"))
        done = command("merge", "recipe.yaml", "-o", "one")
        assert done.status == 2
        assert "no.yaml cannot be read as a file of tasks" in done.err

    def test_a_task_without_classes(self, here: Path) -> None:
        text = (here / "tiny.yaml").read_text().replace("taste: {", "taste: {kind: perplexity, ")
        (here / "tiny.yaml").write_text(text)
        with pytest.raises(tv.RecipeError, match=r"curvature is measured of the loss of a head, and task 'taste' of "):
            jobs_of(tv.Recipe.model_validate(asked()), device="cpu")

    def test_an_estimator_that_the_method_cannot_use(self, here: Path, command: Command, never: None) -> None:
        write(here, asked("regmean", estimator="kfac"))
        done = command("merge", "recipe.yaml", "-o", "one")
        assert done.status == 2
        assert "'regmean' uses statistics of the kind 'gram', and 'estimator: kfac' gives 'kronecker'" in done.err
