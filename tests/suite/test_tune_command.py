"""`taskvec tune`: the recipe that it writes scores what was promised."""

import json
from pathlib import Path

import numpy as np
import pytest

import encoders
from taskvec.evaluate.classification import Classification

from .conftest import TASKS, Command

MERGE = "method: task_arithmetic\nbase: base\nmodels:\n" + "".join(f"- suites/tiny/specialists/{t}\n" for t in TASKS)
HOW = ("--tasks", "tiny.yaml", "--device", "cpu")
Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def recipe(here: Path) -> None:
    (here / "recipe.yaml").write_text(MERGE)


def promised(here: Path, command: Command, recipe: str) -> float:
    """Merge by a recipe, and return the mean of the validation scores of the folder."""
    assert command("merge", recipe, "-o", "tuned", "--quiet", "--force").status == 0
    done = command("eval", "tuned", "--base", "base", *HOW, "--split", "validation", "--json", "--fresh")
    return float(np.mean([s["value"] for s in json.loads(done.out)["models"][0]["tasks"].values()]))


class TestSearch:
    def test_a_grid(self, here: Path, command: Command) -> None:
        done = command("tune", "recipe.yaml", *HOW, "-o", "new/best.yaml", "--search", "scale=0.1,0.3,0.8", "--json")
        assert done.status == 0, done.err
        data = json.loads(done.out)
        assert [t["point"]["scale"] for t in data["trials"]] == [0.1, 0.3, 0.8]
        assert data["best"]["mean"] == max(t["mean"] for t in data["trials"])
        assert promised(here, command, "new/best.yaml") == pytest.approx(data["best"]["mean"], abs=1e-12)
        assert (here / "new/best.yaml").read_text().startswith("# Found by taskvec: grid, 3 points, 3 evaluations on ")

    def test_a_control_without_a_specialist_does_not_stop_normalising(self, here: Path, command: Command) -> None:
        text = (here / "tiny.yaml").read_text()
        for task in TASKS[:2]:
            text = text.replace(f"{task}: {{", f"{task}: {{model: suites/tiny/specialists/{task}, ")
        (here / "tiny.yaml").write_text(text)
        words = (*HOW, "--search", "scale=0.0", "--json", "--force", "-o", "best.yaml")
        plain = command("tune", "recipe.yaml", *words)
        assert "names no specialist ('model: …'), so plain scores are searched" in plain.err
        (here / "tiny.yaml").write_text(f"control: {TASKS[2]}\n{text}")
        (here / ".best.yaml.search").unlink(missing_ok=True)
        ratios = command("tune", "recipe.yaml", *words)
        assert (ratios.status, ratios.err) == (0, "")
        assert json.loads(ratios.out)["best"]["mean"] > json.loads(plain.out)["best"]["mean"]

    def test_on_the_terminal(self, here: Path, command: Command) -> None:
        done = command("tune", "recipe.yaml", *HOW, "-o", "best.yaml", "--search", "scale=0.1,0.3")
        assert done.status == 0, done.err
        assert "the best ten points" in done.out and "scale 0.3" in done.out
        assert done.out.endswith("best.yaml: the best recipe. Type: taskvec merge best.yaml -o tuned\n")

    def test_weights_by_tpe_and_groups_by_cma(self, here: Path, command: Command) -> None:
        words = (
            "--by",
            "tpe",
            "--search",
            "weights",
            "--evaluations",
            "5",
            "--json",
            "--only",
            "taste",
            "--only",
            "pets",
        )
        data = json.loads(command("tune", "recipe.yaml", *HOW, "-o", "a.yaml", *words).out)
        assert len(data["trials"]) == 5 and len(data["best"]["point"]) == 3
        words = ("--by", "cma", "--groups", "2", "--evaluations", "4", "--rounds", "0.5", "1", "--json")
        data = json.loads(command("tune", "recipe.yaml", *HOW, "-o", "b.yaml", *words).out)
        assert set(data["best"]["point"]) == {"0-0.scale", "1-1.scale", "embeddings.scale", "rest.scale"}
        assert promised(here, command, "b.yaml") == pytest.approx(data["best"]["mean"], abs=1e-12)

    def test_goes_on_where_it_stopped(self, here: Path, command: Command, monkeypatch: Patch) -> None:
        real, calls = Classification.score, []

        def score(task: Classification, model: object, share: float = 1.0) -> object:
            calls.append(share)
            if len(calls) == 10:
                raise KeyboardInterrupt
            return real(task, model, share)  # type: ignore[arg-type]

        words = ("tune", "recipe.yaml", *HOW, "-o", "best.yaml", "--search", "scale=0.1,0.2,0.3", "--json")
        with monkeypatch.context() as patch:
            patch.setattr(Classification, "score", score)
            done = command(*words)
        assert done.status == 130 and not (here / "best.yaml").exists()
        others = [w.replace("0.1,0.2", "0.1,0.25") for w in words]
        done = command(*others)
        assert done.status == 2 and ".best.yaml.search holds a search that is not this one: space " in done.err
        assert "type --restart to begin anew" in done.err
        with monkeypatch.context() as patch:
            calls = [1.0] * 20
            patch.setattr(Classification, "score", score)
            assert command(*words).status == 0
        assert len(calls) == 20 + 3 + 3  # the warm-up, and the point that was not finished
        assert command(*words).status == 3, "the recipe is there"
        assert command(*others, "--restart", "--force").status == 0

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--search", "scal"], "'scal' is nothing to search with 'task_arithmetic'. Did you mean 'scale'?"),
            (["--by", "tpe"], "'tpe' goes on for ever without a budget. Give it evaluations, minutes, or both."),
            (["--evaluations", "3"], "the grid has 21 points, which is 21 evaluations, and 3 evaluations are allowed"),
            (["--evaluations", "0"], "a budget of 0 evaluations buys nothing"),
            (["--only", "tast"], "has no task 'tast'. Did you mean 'taste'?"),
            (["--rounds", "0.5"], "the shares [0.5] must rise to 1"),
            (["--by", "adamerging", "--steps", "0"], "'steps' of AdaMerging must be above 0, got 0."),
        ],
    )
    def test_refused(self, here: Path, command: Command, words: list[str], message: str) -> None:
        done = command("tune", "recipe.yaml", *HOW, "-o", "best.yaml", *words)
        assert done.status == 2, done.err
        assert message in done.err and not (here / "best.yaml").exists()

    def test_methods_refused(self, here: Path, command: Command) -> None:
        (here / "recipe.yaml").write_text("method: linear\nmodels: [base, suites/tiny/specialists/pets]\n")
        done = command("tune", "recipe.yaml", *HOW, "-o", "best.yaml")
        assert done.status == 2 and "'linear' merges whole models here, so there is no scale to search." in done.err
        done = command("tune", "recipe.yaml", *HOW, "-o", "best.yaml", "--by", "adamerging")
        assert done.status == 2 and "AdaMerging finds the weights of task_arithmetic over a base." in done.err


def test_adamerging(here: Path, command: Command) -> None:
    words = ("--by", "adamerging", "--steps", "6", "--rate", "0.05")
    done = command("tune", "recipe.yaml", *HOW, "-o", "best.yaml", *words)
    assert done.status == 0, done.err
    assert "best.yaml: AdaMerging, a coefficient a task, 6 steps in " in done.out
    assert "mean entropy" in (here / "best.yaml").read_text().splitlines()[0]
    assert promised(here, command, "best.yaml") > 0
    done = command("tune", "recipe.yaml", *HOW, "-o", "best.yaml", *words, "--groups", "1", "--json", "--force")
    data = json.loads(done.out)
    assert len(data["entropy"]) == 6 and len(data["coefficients"]) > 30
    assert command("merge", "best.yaml", "-o", "tuned", "--quiet", "--force").status == 0


def test_a_table_of_other_labels(here: Path, command: Command) -> None:
    encoders.split_table(here / "taste.tsv", "pets", {"train": 12, "test": 6})
    done = command("tune", "recipe.yaml", *HOW, "-o", "best.yaml")
    assert done.status == 2 and "is not among good, bad." in done.err
    assert f"the validation split of task 'taste' in {Path('tiny.yaml')}" in done.err


def test_adamerging_takes_examples_without_labels(here: Path, command: Command) -> None:
    words = ("-o", "best.yaml", "--by", "adamerging", "--steps", "4", "--rate", "0.05", "--json", "--only", "taste")
    labelled = json.loads(command("tune", "recipe.yaml", *HOW, *words).out)
    text = (here / "tiny.yaml").read_text().replace("taste: {data: taste.tsv", "taste: {data: taste.tsv, label: null")
    (here / "bare.yaml").write_text(text)
    bare = ("--tasks", "bare.yaml", "--device", "cpu")
    done = command("tune", "recipe.yaml", *bare, *words, "--force")
    assert done.status == 0, done.err
    found = json.loads(done.out)
    assert len(found["entropy"]) == len(labelled["entropy"]) == 4
    done = command("eval", "base", *bare, "--only", "taste")
    assert done.status == 2 and "has no labels to compare with." in done.err
