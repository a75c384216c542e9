"""`taskvec eval`: tables, JSON, pictures, heads."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import encoders
from taskvec.evaluate.classification import Classification
from taskvec.evaluate.heads import Head
from taskvec.suite.load import load_suite
from taskvec.suite.specialists import base_of
from taskvec.suite.tasks import tasks_of

from .conftest import SUITE, TASKS, Command

TASTE = "suites/tiny/specialists/taste"
HOW = ("--tasks", "tiny.yaml", "--device", "cpu")


def values(out: str, model: int = 0) -> dict[str, float]:
    return {name: score["value"] for name, score in json.loads(out)["models"][model]["tasks"].items()}


class TestTable:
    def test_a_row_a_model(self, here: Path, command: Command) -> None:
        done = command("eval", "base", TASTE, *HOW)
        assert (done.status, done.err) == (0, "")
        head, first, second, *_ = [line for line in done.out.splitlines() if line.strip(" ─━-")]
        assert head.split() == ["model", *TASKS, "mean", "worst"]
        assert first.startswith(("base", " base")) and TASTE in second
        base = base_of(load_suite("tiny.yaml"), device="cpu")
        expected = tasks_of(load_suite("tiny.yaml"), base)[0].score(base).value
        assert first.split()[1] == f"{100 * expected:.1f}"
        assert "accuracy, with 95 % bootstrap intervals over the examples." in done.out

    def test_only_some_tasks(self, here: Path, command: Command) -> None:
        done = command("eval", "base", *HOW, "--only", "pets", "--json")
        assert list(values(done.out)) == ["pets"]

    def test_validation_examples_are_told(self, here: Path, command: Command) -> None:
        done = command("eval", "base", *HOW, "--split", "validation", "--only", "taste")
        assert done.err == "note: scores on validation examples choose settings; report those on the test split.\n"

    def test_classes(self, here: Path, command: Command) -> None:
        done = command("eval", TASTE, *HOW, "--only", "pets", "--per-class")
        lines = [line.split() for line in done.out.splitlines()]
        assert ["class", "precision", "recall", "F1", "examples"] in lines
        assert [line[-1] for line in lines if line[:1] in (["cat"], ["dog"], ["bird"])] == ["10", "10", "10"]

    def test_specialists_give_normalised_scores(self, here: Path, command: Command) -> None:
        text = SUITE
        for task in TASKS:
            text = text.replace(f"{task}: {{", f"{task}: {{model: suites/tiny/specialists/{task}, ")
        (here / "named.yaml").write_text(text)
        done = command("eval", "base", TASTE, "--tasks", "named.yaml", "--device", "cpu", "--json")
        assert done.status == 0, done.err
        own = [values(command("eval", f"suites/tiny/specialists/{t}", *HOW, "--json").out)[t] for t in TASKS]
        for i in range(2):
            found = list(values(done.out, i).values())
            normalised = json.loads(done.out)["models"][i]["normalised"]
            assert normalised["value"] == pytest.approx(np.mean([a / b for a, b in zip(found, own, strict=True)]))
            assert normalised["low"] <= normalised["value"] <= normalised["high"]


class TestOutputs:
    def test_json(self, here: Path, command: Command) -> None:
        done = command("eval", "base", TASTE, *HOW, "--json")
        data = json.loads(done.out)
        assert done.err == ""
        assert (data["split"], set(data["data"]), len(data["models"])) == ("test", set(TASKS), 2)
        for model in data["models"]:
            assert len(model["fingerprint"]) == 64
            assert model["worst"]["value"] == min(values(done.out, data["models"].index(model)).values())
            for score in model["tasks"].values():
                assert score["low"] <= score["value"] <= score["high"]
                assert (score["metric"], score["examples"]) == ("accuracy", 30)

    def test_a_picture(self, here: Path, command: Command) -> None:
        done = command("eval", "base", *HOW, "--figure", "new/scores.svg")
        assert done.status == 0 and done.err == "The picture is new/scores.svg.\n"
        tree = ElementTree.parse(here / "new" / "scores.svg").getroot()
        assert {"base", "Tiny three", *TASKS} <= {e.text for e in tree.iter()}

    def test_no_place_for_a_picture_is_said_before_the_work(
        self, here: Path, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[int] = []
        monkeypatch.setattr(Classification, "score", encoders.count_calls(Classification.score, calls))
        done = command("eval", "base", *HOW, "--figure", "tiny.yaml/scores.svg")
        assert (done.status, bool(calls)) == (3, False)
        assert done.err == "tiny.yaml/scores.svg cannot be written: File exists. Choose another output.\n"

    def test_kept_scores_are_found_again(self, here: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        first = command("eval", "base", *HOW, "--json").out
        calls: list[int] = []
        monkeypatch.setattr(Classification, "score", encoders.count_calls(Classification.score, calls))
        assert command("eval", "base", *HOW, "--json").out == first
        assert not calls
        assert command("eval", "base", *HOW, "--json", "--fresh").out == first
        assert len(calls) == 3
        assert command("eval", "base", *HOW, "--json", "--cache", "elsewhere").out == first
        assert len(calls) == 6 and (here / "elsewhere" / "scores").is_dir()

    def test_saved_heads_give_the_same_scores(self, here: Path, command: Command) -> None:
        shutil.copytree(here / TASTE, here / "copy")
        whole = command("eval", "copy", *HOW, "--save-heads", "--json", "--fresh").out
        heads = sorted((here / "copy" / "heads").iterdir())
        assert [h.name for h in heads] == ["pets.safetensors", "place.safetensors", "taste.safetensors"]
        assert Head.load(heads[0]).labels == ("cat", "dog", "bird")
        rows = [line.split("\t")[1:] for line in (here / "pets.tsv").read_text().splitlines() if line[:5] == "test\t"]
        encoders.table(here / "test.tsv", rows)
        words = ("--labels", "cat", "dog", "bird", "--device", "cpu", "--json", "--fresh")
        done = command("eval", "copy", "--data", "test.tsv", "--head", heads[0], *words)
        assert done.status == 0, done.err
        assert values(done.out)["test"] == values(whole)["pets"]


class TestOneTable:
    """`--data`, without a file of tasks."""

    def test_its_test_split_where_it_has_splits(self, here: Path, command: Command) -> None:
        done = command("eval", TASTE, "--base", "base", "--data", "taste.tsv", "--labels", "good", "bad", "--json")
        assert done.status == 0, done.err
        whole = command("eval", TASTE, *HOW, "--only", "taste", "--json")
        assert values(done.out) == values(whole.out)

    def test_all_of_it_where_it_has_none(self, here: Path, command: Command) -> None:
        encoders.table(here / "more.tsv", encoders.sentences("taste", 17), ("text", "label"))
        done = command("eval", TASTE, "--base", "base", "--data", "more.tsv", "--json")
        assert done.status == 0, done.err
        assert json.loads(done.out)["models"][0]["tasks"]["more"]["examples"] == 17

    def test_columns_and_a_probe(self, here: Path, command: Command) -> None:
        lines = (here / "taste.tsv").read_text().splitlines()[1:]
        (here / "bare.tsv").write_text("\n".join(lines) + "\n")
        words = ("--data", "bare.tsv", "--columns", "split", "text", "label", "--head", "ridge", "--json")
        done = command("eval", TASTE, *words)
        assert done.status == 0, done.err
        assert values(done.out)["bare"] > 0.5

    def test_the_base_is_asked_for(self, here: Path, command: Command) -> None:
        done = command("eval", TASTE, "base", "--data", "taste.tsv")
        assert done.status == 0
        assert (
            f"note: heads are made with {TASTE}; to compare merges, name the base they start from: --base." in done.err
        )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["base", *HOW, "--only", "tast"], "has no task 'tast'. Did you mean 'taste'? It has taste, pets, place."),
        (["nowhere", *HOW], "nowhere does not exist. Give a folder that transformers can load"),
        (["base"], "there is nothing to score on. Type --tasks tasks.yaml, or --data test.tsv."),
        (["base", *HOW, "--data", "taste.tsv"], "give either --tasks or --data, not both."),
        (["base", "--tasks", "nothing.yaml"], "nothing.yaml cannot be read as a file of tasks: No such file"),
        (["base", "--data", "nothing.tsv"], "nothing.tsv does not exist"),
        (["base", "--data", "taste.tsv", "--head", "rigde"], "or a head's file, got 'rigde'. Did you mean 'ridge'?"),
        (["base", "--data", "taste.tsv", "--head", "no.safetensors"], "or a head's file, got 'no.safetensors'."),
        (["base", "--data", "taste.tsv", "--head", "base/model.safetensors"], "is not a head of format 1. Make one: "),
        (["base", "--data", "taste.tsv", "--labels", "good", "awful"], "label 'bad' is not among good, awful."),
        (["vit", "--data", "taste.tsv"], "holds texts, and vit has no tower for texts|so label names make no head"),
        (["vit", *HOW], "was made for bert of width 16 with 2 layers, and vit is vit of width 16"),
    ],
)
def test_refused(here: Path, command: Command, words: list[str], message: str) -> None:
    if words[0] == "vit":
        encoders.vit(here / "vit")
    done = command("eval", *words, "--device", "cpu") if "--device" not in words else command("eval", *words)
    assert done.status in (2, 3), done.out + done.err
    assert any(part in done.err for part in message.split("|")), done.err
    assert "Traceback" not in done.err and done.out == ""


class TestOptionsOfData:
    @pytest.mark.parametrize("words", [("--head", "ridge"), ("--labels", "a", "b"), ("--columns", "x", "y")])
    def test_are_not_taken_with_a_file_of_tasks(self, here: Path, command: Command, words: tuple[str, ...]) -> None:
        done = command("eval", "base", *HOW, *words)
        assert done.status == 2
        assert done.err == f"{words[0]} describes the file of --data; with --tasks, write it into tiny.yaml.\n"

    def test_null_says_which_of_two_columns_is_read(self, here: Path, command: Command) -> None:
        lines = (here / "taste.tsv").read_text().splitlines()
        both = [lines[0] + "\timage", *(f"{line}\tx.png" for line in lines[1:])]
        (here / "taste.tsv").write_text("\n".join(both) + "\n")
        done = command("eval", "base", *HOW, "--only", "taste")
        assert done.status == 2 and "set 'image: null' to read its texts" in done.err
        (here / "tiny.yaml").write_text(SUITE.replace("taste: {", "taste: {image: null, "))
        assert command("eval", "base", *HOW, "--only", "taste").status == 0
