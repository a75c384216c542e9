"""`taskvec bench`: specialists and merges of a tiny suite, end to end."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import encoders
from taskvec import MissingExtraError
from taskvec.evaluate.classification import Classification
from taskvec.evaluate.model import Model
from taskvec.suite import specialists

from .conftest import SUITE, TASKS, Command

WORDS = ("tiny.yaml", "--device", "cpu")
Patch = pytest.MonkeyPatch


class TestTrain:
    def test_what_is_trained_stays(self, here: Path, command: Command, monkeypatch: Patch) -> None:
        done = command("bench", "train", *WORDS, "--json")
        assert done.status == 0, done.err
        notes = json.loads(done.out)
        assert [n["name"] for n in notes] == [*TASKS, "joint"]
        assert all(n["found"] for n in notes)
        assert notes[-1]["steps"] == sum(n["steps"] for n in notes[:-1])
        assert {len(n["lessons"]) for n in notes} == {1, 3}
        assert "Type: taskvec bench score tiny.yaml" in command("bench", "train", *WORDS).out

    def test_only_what_changed_is_trained_anew(self, here: Path, command: Command) -> None:
        lines = (here / "pets.tsv").read_text().splitlines()
        (here / "pets.tsv").write_text("\n".join(line for line in lines if line != lines[3]) + "\n")
        notes = json.loads(command("bench", "train", *WORDS, "--json").out)
        assert {n["name"]: n["found"] for n in notes} == {"taste": True, "pets": False, "place": True, "joint": False}

    def test_a_suite_of_named_specialists_trains_nothing(self, here: Path, command: Command) -> None:
        text = SUITE
        for task in TASKS:
            text = text.replace(f"{task}: {{", f"{task}: {{model: base, ")
        (here / "tiny.yaml").write_text(text)
        assert json.loads(command("bench", "train", *WORDS, "--json").out) == []

    def test_what_has_no_classes_needs_a_specialist(self, here: Path, command: Command) -> None:
        tasks = "tasks:\n  p: {data: taste.tsv, kind: perplexity}\n"
        (here / "tiny.yaml").write_text(f"base: base\ntraining: {{precision: float32}}\n{tasks}")
        done = command("bench", "train", *WORDS)
        assert (done.status, done.err) == (2, "a specialist of 'p' cannot be trained here. Name one: 'model: …'.\n")


class TestScore:
    def test_the_whole_table(self, here: Path, command: Command, monkeypatch: Patch) -> None:
        done = command("bench", "score", *WORDS, "--json")
        assert done.status == 0, done.err
        data = json.loads(done.out)
        rows: dict[str, Any] = {m["name"]: m for m in data["models"]}
        assert list(rows) == [
            "base", "specialists", "joint training", "task_arithmetic", "task_arithmetic, tuned", "average", "ties",
            "ties, tuned",
        ]  # fmt: skip
        for row in rows.values():
            for number in (row["mean"], row["normalised"], row["worst"], *row["tasks"].values()):
                assert number["low"] <= number["value"] <= number["high"]
        assert rows["specialists"]["normalised"]["value"] == 1
        assert rows["specialists"]["mean"]["value"] > rows["base"]["mean"]["value"] + 0.1
        tuned = rows["task_arithmetic, tuned"]
        assert tuned["scale"] in (0.1, 0.4, 0.7) and [p[0] for p in tuned["curve"]] == [0.1, 0.4, 0.7]
        assert tuned["validation"] == max(p[1] for p in tuned["curve"])
        assert rows["task_arithmetic"]["scale"] == 0.3

        folder = here / "suites" / "tiny"
        assert json.loads((folder / "results.json").read_text()) == data
        text = (folder / "results.md").read_text()
        assert text.startswith("# Tiny three\n\n| model | λ | mean |")
        mean = rows["ties"]["mean"]
        best = f"| {100 * mean['value']:.1f} ±{50 * (mean['high'] - mean['low']):.1f} |"
        (line,) = [part for part in text.splitlines() if part.startswith("| ties |")]
        assert best in line
        drawn = {e.text for e in ElementTree.parse(folder / "results.svg").getroot().iter()}
        assert {"Tiny three", "base", "joint training", "ties, tuned"} <= drawn
        assert not (folder / "merging").exists()

        self.again(here, command, data, monkeypatch)
        self.as_eval_scores_it(here, command, tuned)

    def again(self, here: Path, command: Command, data: Any, monkeypatch: Patch) -> None:
        """A second run scores nothing anew; the warm-up of the search takes a batch a task."""
        calls: list[float] = []
        real = Classification.score

        def score(task: Any, model: Any, share: float = 1.0) -> Any:
            calls.append(share)
            return real(task, model, share)

        monkeypatch.setattr(Classification, "score", score)
        second = json.loads(command("bench", "score", *WORDS, "--json").out)
        assert len(calls) == 3 and max(calls) < 1e-6
        untimed = ("merge_seconds", "search_seconds", "seconds")
        for one, two in zip(data["models"], second["models"], strict=True):
            assert {k: v for k, v in one.items() if k not in untimed} == {
                k: v for k, v in two.items() if k not in untimed
            }
        monkeypatch.setattr(Classification, "score", real)

    def as_eval_scores_it(self, here: Path, command: Command, row: Any) -> None:
        (here / "found.yaml").write_text(row["recipe"])
        assert command("merge", "found.yaml", "-o", "merged", "--quiet").status == 0
        done = command(
            "eval", "merged", "--base", "base", "--tasks", "tiny.yaml", "--device", "cpu", "--json", "--fresh"
        )
        (model,) = json.loads(done.out)["models"]
        assert {t: s["value"] for t, s in model["tasks"].items()} == {t: s["value"] for t, s in row["tasks"].items()}

    def test_the_table_on_the_terminal(self, here: Path, command: Command) -> None:
        done = command("bench", "score", *WORDS, "--methods", "linear", "slerp", "--only", "taste", "--only", "place")
        assert done.status == 0, done.err
        assert "1/2 linear: mean " in done.err and "2/2 slerp: mean " in done.err
        assert [w in done.out for w in ("base", "specialists", "linear", "slerp")] == [True] * 4
        assert "joint training" not in done.out, "there is one of all three tasks only"
        assert "results.md, .json and .svg hold these tables" in done.out

    @pytest.mark.parametrize(
        ("change", "words", "sentence"),
        [
            (("{method: linear, name: average}", "{method: ties}"), (), "two of the methods are called 'ties'."),
            (
                ("pets: {", "alike: {kind: perplexity, data: taste.tsv}\n  pets: {"),
                (),
                "and 'alike' has perplexity",
            ),
        ],
    )
    def test_suites_that_make_no_table_are_refused(
        self, here: Path, command: Command, change: tuple[str, str], words: tuple[str, ...], sentence: str
    ) -> None:
        (here / "tiny.yaml").write_text(SUITE.replace(*change).replace("alike: {", "alike: {model: base, "))
        done = command("bench", "score", *WORDS, *words)
        assert done.status == 2 and sentence in done.err, done.err

    def test_one_that_cannot_be_merged_is_told_and_left_out(
        self, here: Path, command: Command, monkeypatch: Patch
    ) -> None:
        extra = (
            "- {method: task_arithmetic, name: all at once, settings: {normalize: true}, scale: 1, grid: [1, .inf]}\n"
        )
        (here / "tiny.yaml").write_text(SUITE.split("methods:")[0] + "methods:\n" + extra + "- {method: linear}\n")
        done = command("bench", "score", *WORDS)
        assert done.status == 0, done.err
        assert "note: 'all at once' is left out: " in done.err and "2/2 linear: mean" in done.err
        names = [m["name"] for m in json.loads((here / "suites/tiny/results.json").read_text())["models"]]
        assert names == ["base", "specialists", "joint training", "linear"]

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--methods", "slerp"], "'slerp' takes 2 models, and the suite has 3 tasks."),
            (["--methods", "tise"], "unknown merge method 'tise'. Did you mean 'ties'?"),
            (["--only", "tast"], "has no task 'tast'. Did you mean 'taste'?"),
            (["--cache", "new"], "the specialist of 'taste' is not trained yet. Type: taskvec bench train tiny.yaml"),
        ],
    )
    def test_refused_before_any_work(
        self, here: Path, command: Command, monkeypatch: Patch, words: list[str], message: str
    ) -> None:
        calls: list[int] = []
        monkeypatch.setattr(Model, "module", encoders.count_calls(Model.module, calls))
        done = command("bench", "score", *WORDS, *words)
        assert done.status in (2, 3)
        assert message in done.err and not calls

    def test_a_base_that_changed_has_specialists_of_its_own(self, here: Path, command: Command) -> None:
        assert specialists.read_note(here / "suites/tiny/specialists/taste")["base"].endswith("base")
        encoders.bert(here / "base", seed=9)
        notes = json.loads(command("bench", "train", *WORDS, "--json", "--only", "taste").out)
        assert [n["found"] for n in notes] == [False]


def test_choices_side_by_side(here: Path, command: Command, monkeypatch: Patch) -> None:
    from taskvec.suite import choices

    monkeypatch.setattr(choices, "points", lambda reach: (0.1, 0.4))
    monkeypatch.setattr(choices.choices, "__defaults__", (3, 3))
    text = SUITE.split("methods:")[0] + "methods:\n- {method: linear}\n"
    (here / "tiny.yaml").write_text(text)
    real = choices._sampled

    def sampled(bench: Any, asked: Any, groups: int, by: Any, evaluations: float) -> Any:
        if groups:
            raise MissingExtraError("searching by 'cma' needs optuna and cmaes.")
        return real(bench, asked, groups, by, evaluations)

    monkeypatch.setattr(choices, "_sampled", sampled)
    done = command("bench", "score", *WORDS, "--choices", "--json", "--only", "taste", "--only", "pets")
    assert done.status == 0, done.err
    found = {c["name"]: c for c in json.loads(done.out)["choices"]}
    assert [found[n]["data"] for n in ("λ = 0.3", "MetaGPT", "AdaMerging, a task", "grid of 21")] == [
        "none", "none", "unlabelled", "labels",
    ]  # fmt: skip
    assert found["λ = 0.3"]["over_default"] == {"value": 0, "low": 0, "high": 0}
    assert len(found) == 9, "one was left out"
    assert 2 <= found["TPE, a weight a task"]["evaluations"] <= 3
    for choice in found.values():
        gain = choice["mean"]["value"] - found["λ = 0.3"]["mean"]["value"]
        assert choice["over_default"]["value"] == pytest.approx(gain, abs=1e-9)
