"""`taskvec bench locate`: each task of a tiny suite left out in turn, and what the tables say of it."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from taskvec import RecipeError
from taskvec.cli import benching
from taskvec.locating.contest import BASE, LOCATED, ROWS, TUNED, UNIFORM, FewShot
from taskvec.suite import left_out
from taskvec.suite.left_out import Asked, Cell, leave_out
from taskvec.suite.left_out_page import is_right, left_out_table, scores_of, tasks_table, verdicts_table
from taskvec.suite.load import Loaded, load_suite
from taskvec.suite.notes import Notes
from taskvec.suite.specialists import places_of
from taskvec.tune.supervised import Fitting

from .conftest import TASKS, Command

ASKED = Asked(examples=(6,), seeds=2, test=20, how=FewShot(steps=4, rate=5e-3, weights=Fitting(steps=2)))
Patch = pytest.MonkeyPatch


def cell(verdict: str, **right: str) -> Cell:
    rows = dict.fromkeys(ROWS, "1" * 10 + "0" * 10) | {row.replace("_", " "): text for row, text in right.items()}
    return Cell("t", 6, 0, verdict, "", 0.1, 0.01, "a", {}, {}, rows, 1.0)


class TestCells:
    def test_what_was_done_is_found_again(self, loaded: Loaded, monkeypatch: Patch) -> None:
        told: list[str] = []
        places = places_of(loaded)
        cells = leave_out(loaded, places, ASKED, device="cpu", tell=told.append)
        assert [(c.task, c.examples, c.seed) for c in cells] == [(t, 6, s) for s in (0, 1) for t in TASKS]
        assert len(told) == 6 and told[0].startswith("1/6 taste, 6 examples, seed 0: base ")
        for one in cells:
            assert one.task not in one.weights and len(one.weights) == 2
            assert one.nearest in one.weights
            assert {len(text) for text in one.right.values()} == {20}
            assert tuple(one.right) == ROWS
        (file,) = (places.folder / "left-out").iterdir()
        file.write_text(file.read_text() + '{"torn')
        monkeypatch.setattr(left_out, "_cell", None)
        monkeypatch.setattr(left_out, "signal_of", None)
        assert leave_out(loaded, places, ASKED, device="cpu", tell=told.append) == cells
        assert len(told) == 6

    def test_other_settings_are_other_notes(self, loaded: Loaded) -> None:
        places = places_of(loaded)
        one = Asked(examples=(6,), seeds=1, test=20, how=FewShot(steps=1, weights=Fitting(steps=1)))
        for asked in (one, Asked(examples=(6,), seeds=1, test=10, how=one.how)):
            leave_out(loaded, places, asked, device="cpu", only=["pets"])
        assert len(list((places.folder / "left-out").iterdir())) == 2

    def test_refusals(self, loaded: Loaded, here: Path) -> None:
        for wrong, message in (({"examples": (1,)}, "--examples must be at least 2, got 1"),
                               ({"seeds": 0}, "--seeds must be at least 1, got 0")):  # fmt: skip
            with pytest.raises(RecipeError, match=message):
                Asked(**wrong)
        text = (here / "tiny.yaml").read_text()
        (here / "two.yaml").write_text("\n".join(line for line in text.splitlines() if "pets" not in line))
        with pytest.raises(
            RecipeError, match=r"two.yaml has 2 tasks. To leave one out and know some, give at least th"
        ):
            leave_out(load_suite(here / "two.yaml"), places_of(loaded), ASKED)
        odd = "  pets: {kind: similarity, data: pets.tsv, model: base}\n  place:"
        (here / "odd.yaml").write_text(
            "\n".join(x for x in text.splitlines() if "pets" not in x).replace("  place:", odd)
        )
        with pytest.raises(RecipeError, match="'pets' has no classes"):
            leave_out(load_suite(here / "odd.yaml"), places_of(loaded), ASKED)


class TestCommand:
    def test_the_tables(self, here: Path, command: Command, monkeypatch: Patch) -> None:
        monkeypatch.setattr(benching, "Asked", partial(Asked, how=ASKED.how))
        words = ["bench", "locate", "tiny.yaml", "--device", "cpu", "--only", "taste", "--only", "place"]
        words += ["--examples", "4", "6", "--seeds", "1", "--test", "10"]
        done = command(*words)
        assert done.status == 0, done.err
        assert "1/4 taste, 4 examples, seed 0: base " in done.err
        assert "mean over the tasks" in done.out and "verdicts" in done.out and "task by task, 6 examples" in done.out
        text = (here / "suites" / "tiny" / "results-left-out.md").read_text()
        assert text.startswith(
            "# Tiny three: each task left out\n\nMean over the tasks:\n\n| model | 4 examples | over f"
        )
        data = json.loads((here / "suites" / "tiny" / "results-left-out.json").read_text())
        assert json.loads(command(*words, "--json").out) == data
        assert set(data["rows"]) == set(ROWS) and len(data["cells"]) == 4
        for row in ROWS:
            mean = np.mean([c["scores"][row] for c in data["cells"] if c["examples"] == 6])
            assert data["rows"][row]["6"]["value"] == pytest.approx(mean)


class TestPage:
    def test_right_verdicts(self) -> None:
        better, worse = "1" * 18 + "0" * 2, "1" * 4 + "0" * 16
        assert is_right(cell("learn", **{TUNED: better}))
        assert not is_right(cell("learn"))
        assert not is_right(cell("learn", **{TUNED: "1" * 11 + "0" * 9}))  # within the interval
        assert is_right(cell("recombine", **{LOCATED: better}))
        assert not is_right(cell("retrieve", **{LOCATED: better, UNIFORM: better}))
        assert not is_right(cell("retrieve", **{LOCATED: better, BASE: "1" * 20}))
        assert not is_right(cell("undecided", **{LOCATED: better, TUNED: worse}))

    def test_intervals_are_over_seeds_and_examples(self) -> None:
        first = cell("learn", **{TUNED: "1" * 20})
        second = Cell(**{**vars(first), "seed": 1, "right": {**first.right, TUNED: "0" * 20}})
        (score,) = scores_of([first, second], TUNED, 6)
        assert (score.value, score.low, score.high) == (0.5, 0.0, 1.0)
        (same,) = scores_of([first, first], TUNED, 6)
        assert (same.value, same.low, same.high) == (1.0, 1.0, 1.0)

    def test_tables(self) -> None:
        cells = [cell("learn", **{TUNED: "1" * 18 + "0" * 2}), cell("recombine")]
        header, *rows = left_out_table(cells[:1])
        assert header == ["model", "6 examples", "over fine-tuned"]
        assert [row[0] for row in rows] == list(ROWS)
        assert rows[4][2] == "" and rows[0][2].startswith("-40.0 ±")
        assert tasks_table(cells[:1], 6)[5] == [TUNED, "90.0"]
        assert verdicts_table(cells) == [
            ["examples", "verdict", "given", "right", "explained", "of a known task"],
            ["6", "learn", "1", "1", "1 %", "10 %"],
            ["6", "recombine", "1", "0", "1 %", "10 %"],
        ]


def test_notes_survive_a_torn_line(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "a" / "n.jsonl")
    assert notes.find("cell", "t", 1, 0) is None
    assert notes.add("cell", "t", 1, 0, {"x": 1}) == {"x": 1}
    with notes.path.open("a") as file:
        file.write('{"of": ["cell", "t", 2, 0], "fou')
    again = Notes(notes.path)
    assert again.find("cell", "t", 1, 0) == {"x": 1} and again.find("cell", "t", 2, 0) is None
    again.add("cell", "t", 2, 0, {"x": 2})
    assert Notes(notes.path).find("cell", "t", 2, 0) == {"x": 2}
