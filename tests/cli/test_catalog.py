"""`taskvec catalog …`, and recipes that name an entry of a catalogue."""

import json
from pathlib import Path

import pytest
import yaml

import taskvec as tv
from taskvec.recipe.paths import seen_from
from taskvec.recipe.write import as_yaml
from taskvec.testing import finetuned, tiny_tensors, write_model

from .conftest import Command


@pytest.fixture
def known(family: Path, command: Command) -> Path:
    """A catalogue of `math` and `code`, in the folder `known` where the test stands."""
    done = command("catalog", "add", "math", "code", "--base", "base", "-C", "known", "-q")
    assert (done.status, done.out, done.err) == (0, "", "")
    return family / "known"


class TestAdd:
    def test_says_what_was_added(self, family: Path, command: Command) -> None:
        done = command("catalog", "add", "math", "--base", "base", "-C", "known", "--dtype", "bfloat16", "--name", "m")
        assert done.status == 0
        assert done.out.startswith("m: 1056 entries as bfloat16, which lost 0.06% of it, norm ")
        assert done.out.endswith("kB\n")

    def test_tags_metrics_and_licence(self, family: Path, command: Command) -> None:
        words = ("--tag", "a", "--tag", "b", "--metric", "accuracy=0.5", "--licence", "mit", "--base-name", "org/base")
        done = command("catalog", "add", "math", "--base", "base", "-C", "known", *words, "--json")
        (facts,) = json.loads(done.out)
        assert (facts["tags"], facts["metrics"], facts["licence"]) == (["a", "b"], {"accuracy": 0.5}, "mit")
        assert facts["base_name"] == "org/base"

    def test_what_cannot_be_opened_leaves_no_empty_catalogue(self, family: Path, command: Command) -> None:
        done = command("catalog", "add", "math", "cood", "--base", "base", "-C", "known")
        assert (done.status, done.out) == (3, "")
        assert "cood does not exist" in done.err
        assert not Path("known").exists()

    def test_a_model_of_another_base_is_added_when_told_so(self, family: Path, command: Command) -> None:
        write_model(family / "base2", tiny_tensors(9))
        write_model(family / "other", finetuned(tiny_tensors(4), 0))
        words = ("catalog", "add", "other", "--base", "base2", "-C", "known")
        done = command(*words)
        assert (done.status, done.out) == (3, "")
        assert "other does not look like a fine-tune of base2" in done.err
        assert not Path("known").exists()
        assert command(*words, "--allow", "unrelated").status == 0

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["add", "math", "code", "--base", "base", "--name", "x"], "--name names one vector, and 2 are given."),
            (["add", "math", "--base", "base"], "has an entry 'math' already. Type another --name, or --force"),
            (["add", "math", "--base", "base", "--metric", "high"], "'high' is not of the form name=number. Type e.g."),
            (["add", "math"], "needs the base it was made from. Type --base BASE."),
            (["show", "maths"], "has no entry 'maths'. Did you mean 'math'?"),
            (["edit", "math", "--untag", "x"], "'math' has no tag 'x'. It has: none."),
            (["find", "tag:x"], "no entry of known has the tag 'x'. Tags: none."),
            (["remove", "math", "mat"], "has no entry 'mat'. Did you mean 'math'?"),
        ],
    )
    def test_what_makes_no_sense_is_refused(
        self, known: Path, command: Command, words: list[str], message: str
    ) -> None:
        done = command("catalog", *words, "-C", "known")
        assert done.status == 2
        assert message in done.err
        assert json.loads(command("catalog", "list", "-C", "known", "--json").out)[1]["name"] == "math"


class TestTelling:
    def test_list(self, known: Path, command: Command) -> None:
        command("catalog", "edit", "math", "-C", "known", "--tag", "sums", "--metric", "gsm=0.25")
        lines = command("catalog", "list", "-C", "known").out.splitlines()
        assert [line.split()[:2] for line in lines[1:3]] == [["code", "base"], ["math", "base"]]
        assert lines[2].rstrip().endswith("sums  gsm=0.25")
        assert lines[3].startswith("2 entries, 2 vectors in ")
        assert "code" not in command("catalog", "list", "-C", "known", "--tag", "sums").out

    def test_show(self, known: Path, command: Command) -> None:
        out = command("catalog", "show", "math", "-C", "known").out
        assert "lineage       math - base\n" in out
        assert "in a recipe   known#math\n" in out
        facts = json.loads(command("catalog", "show", "math", "-C", "known", "--json").out)
        assert Path(facts["path"]).is_file()
        assert facts["norms"].keys() == tv.TaskVector.load(facts["path"]).keys()

    def test_the_folder_may_be_named_by_the_environment(
        self, known: Path, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert "--catalog requires an argument" in command("catalog", "list").err
        monkeypatch.setenv("TASKVEC_CATALOG", str(known))
        assert "2 entries" in command("catalog", "list").out

    def test_not_a_catalogue(self, family: Path, command: Command) -> None:
        done = command("catalog", "list", "-C", "base")
        assert (done.status, done.out) == (3, "")
        assert done.err.startswith("base is not a catalogue: it has no catalog.json.")

    def test_an_index_that_is_made_anew_is_said(self, known: Path, command: Command) -> None:
        (known / "index.sqlite").write_bytes(b"")
        done = command("catalog", "list", "-C", "known")
        assert done.err == "known/index.sqlite was damaged, and was made anew from 2 vectors.\n"
        assert "2 entries" in done.out


class TestFind:
    def test_exactly_and_by_estimates(self, known: Path, command: Command) -> None:
        exact = command("catalog", "find", "math", "-C", "known").out.splitlines()
        cosine = json.loads(command("catalog", "find", "math", "-C", "known", "--json").out)["found"][0]["cosine"]
        assert exact[1].split()[:2] == ["code", f"{cosine:.4f}"]
        assert exact[2] == "1 entries compared, exact cosines"
        estimate = command("catalog", "find", "math", "-C", "known", "--estimate").out
        assert " ± 0.022 " in estimate
        assert "by sketches of 8192 numbers (95 % of estimates lie within ±)" in estimate

    def test_others_are_counted(self, known: Path, command: Command) -> None:
        base = tiny_tensors(9)
        write_model(known.parent / "base2", base)
        write_model(known.parent / "other", finetuned(base, 0))
        done = command("catalog", "find", "other", "--base", "base2", "-C", "known")
        assert (done.status, done.out) == (0, "no entry can be compared; not compared: 2 of another base\n")


class TestKeeping:
    def test_remove_gc_and_rebuild(self, known: Path, command: Command) -> None:
        assert (
            "removed math; 'taskvec catalog gc -C known' gives"
            in command("catalog", "remove", "math", "-C", "known").out
        )
        assert command("catalog", "gc", "-C", "known").out.startswith("1 files removed, ")
        assert command("catalog", "rebuild", "-C", "known").out == "known: 1 entries, 1 vectors\n"

    def test_a_rebuild_that_loses_something_fails_and_says_what(self, known: Path, command: Command) -> None:
        path = json.loads(command("catalog", "show", "math", "-C", "known", "--json").out)["path"]
        Path(path).write_bytes(Path(path).read_bytes()[:-8])
        done = command("catalog", "rebuild", "-C", "known")
        assert done.status == 3
        assert done.out == "known: 1 entries, 1 vectors\n"
        assert "is truncated" in done.err
        assert "'math' is lost: its vector" in done.err

    def test_gc_says_which_notes_it_keeps(self, known: Path, command: Command) -> None:
        path = json.loads(command("catalog", "show", "math", "-C", "known", "--json").out)["path"]
        Path(path).unlink()
        command("catalog", "rebuild", "-C", "known")
        kept = command("catalog", "gc", "-C", "known").out
        assert kept == "0 files removed, 0 B\nkept the notes of lost entries: math; --lost removes them, too\n"
        assert json.loads(command("catalog", "gc", "-C", "known", "--lost", "--json").out)["files"] == ["math.json"]


class TestInRecipes:
    RECIPE = "method: task_arithmetic\nbase: ./base\nmodels: [{}, ./code]\n"

    def test_an_entry_merges_like_the_model_it_was_made_of(self, known: Path, command: Command) -> None:
        for name, model in (("one", "./known#math"), ("two", "./math")):
            Path(f"{name}.yaml").write_text(self.RECIPE.format(model))
            assert command("merge", f"{name}.yaml", "-o", name, "-q").status == 0
        assert Path("one/model.safetensors").read_bytes() == Path("two/model.safetensors").read_bytes()
        front = yaml.safe_load(Path("one/README.md").read_text().split("---")[1])
        assert front["base_model"] == ["base", "known#math", "code"]

    def test_a_recipe_that_is_written_elsewhere_points_to_the_catalogue(self, known: Path, command: Command) -> None:
        Path("here.yaml").write_text(self.RECIPE.format("./known#math"))
        Path("recipes").mkdir()
        there = seen_from(tv.load_recipe("here.yaml")[0], Path("recipes"))
        assert there.models[0].model == "./../known#math"
        Path("recipes/there.yaml").write_text(as_yaml(there))
        for recipe in ("here.yaml", "recipes/there.yaml"):
            assert command("merge", recipe, "-o", Path(recipe).stem, "-q").status == 0
        assert Path("here/model.safetensors").read_bytes() == Path("there/model.safetensors").read_bytes()

    def test_apply_takes_one(self, known: Path, command: Command) -> None:
        assert command("apply", "base", "+1", "known#math", "-o", "edited", "-q").status == 0
        assert Path("edited/model.safetensors").is_file()

    @pytest.mark.parametrize(
        ("text", "status", "message"),
        [
            ("method: ties\nbase: ./known#math\nmodels: [./code]\n", 2, "known#math is a task vector; 'base' must be"),
            ("method: ties\nbase: ./base\nmodels: [./known#maths]\n", 2, "no entry 'maths'. Did you mean 'math'?"),
            ("method: linear\nmodels: [./known#math, ./code]\n", 2, "merges weights, but "),
            ("method: ties\nbase: ./code\nmodels: [./known#math]\n", 3, "was made from the base"),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, known: Path, command: Command, text: str, status: int, message: str
    ) -> None:
        Path("wrong.yaml").write_text(text)
        done = command("merge", "wrong.yaml", "-o", "x")
        assert (done.status, done.out) == (status, "")
        assert message in done.err
