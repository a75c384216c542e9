"""`python -m reproduce.epimer` from end to end on tiny models, and the pieces that its figures rest on."""

from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from reproduce.epimer import alpha, data, rank, span, trials, verdict
from reproduce.epimer.__main__ import main
from reproduce.epimer.alpha import TSV_M
from reproduce.epimer.bases import Bases
from reproduce.epimer.changes import load_changes
from reproduce.epimer.figures import cloud, curves
from reproduce.epimer.page import PARTS
from reproduce.epimer.study import Study
from reproduce.epimer.trials import worst_difference, worst_of
from reproduce.epimer.ways import merged

import encoders
from taskvec.evaluate.score import Score, mean_score
from taskvec.suite.load import load_suite

TASKS = tuple(encoders.TASKS)
SUITE = """\
base: base
examples: {held_out: 0.4}
tasks:
  taste: {data: taste.tsv, labels: [good, bad], model: of/taste}
  pets: {data: pets.tsv, labels: [cat, dog, bird], model: of/pets}
  place: {data: place.tsv, labels: [city, forest], model: of/place}
"""
MARKERS = "\n".join(f"<!-- tiny {p}: made by python -m reproduce.epimer -->\nold\n<!-- /tiny {p} -->" for p in PARTS)
EMPTY = f"by hand\n{MARKERS}\nby hand, too\n"


def score(task: str, *values: int) -> Score:
    return mean_score(task, "accuracy", np.array(values))


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A suite whose specialists are the base with noise, and an empty page."""
    encoders.bert(tmp_path / "base")
    (tmp_path / "of").mkdir()
    for seed, task in enumerate(TASKS, start=1):
        encoders.changed(tmp_path / "base", tmp_path / "of" / task, seed)
        encoders.split_table(tmp_path / f"{task}.tsv", task, {"train": 12, "test": 8})
    (tmp_path / "tiny.yaml").write_text(SUITE)
    (tmp_path / "page.md").write_text(EMPTY)
    return tmp_path


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command try little."""
    some = ("mean", "TIES", "Fisher averaging", "RegMean")
    monkeypatch.setattr(alpha, "WHOLE", [way for way in alpha.WHOLE if way.name in some])
    monkeypatch.setattr(alpha, "MATCHED", (2,))
    monkeypatch.setattr(alpha, "VARIANTS", alpha.VARIANTS[5:6])
    monkeypatch.setattr(alpha, "SWEPT", (1.0, 2.0))
    monkeypatch.setattr(rank, "RANKS", (1, 2))
    monkeypatch.setattr(data, "SHARES", (0.1, 1.0))


def command(here: Path, *more: str) -> int:
    asked = ["--suite", str(here / "tiny.yaml"), "--cache", str(here / "kept"), "--page", str(here / "page.md")]
    return main([*asked, "--device", "cpu", *more])


class TestTheCommand:
    def test_what_was_found_makes_the_page_again(self, here: Path, few: None, monkeypatch: pytest.MonkeyPatch) -> None:
        assert command(here) == 0
        text = (here / "page.md").read_text()
        assert text.startswith("by hand\n") and text.endswith("by hand, too\n") and "old" not in text
        assert "Not run yet" not in text
        for name in ("TSV-M", "TIES", "Fisher averaging", "RegMean", "EpiMer, K-FAC"):
            assert f"| {name} |" in text
        assert "All sets" not in text, "four sets are too few for a correlation"
        assert (here / "pictures" / "tiny-alpha.svg").is_file()
        (here / "page.md").write_text(EMPTY)
        monkeypatch.setattr(trials, "merged", None)
        monkeypatch.setattr(verdict, "merge_sums", None)
        assert command(here) == 0
        assert (here / "page.md").read_text() == text

    def test_a_page_of_nothing_says_so(self, here: Path) -> None:
        assert command(here, "--page-only") == 0
        text = (here / "page.md").read_text()
        assert text.count("Not run yet: ") == len(PARTS)
        assert not (here / "kept" / "tiny" / "statistics").exists()

    def test_a_specialist_that_is_not_there_is_told(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        text = (here / "tiny.yaml").read_text().replace(", model: of/taste", "")
        (here / "tiny.yaml").write_text(text)
        assert command(here, "--parts", "data") == 2
        assert "the specialist of 'taste' is not trained yet" in capsys.readouterr().err
        assert (here / "page.md").read_text() == EMPTY


class TestBases:
    def test_tsv_m_is_the_method(self, here: Path) -> None:
        changes = load_changes(here / "base", [str(here / "of" / task) for task in TASKS])
        for tasks, keep in (((0, 1, 2), 3), ((0, 2), 5)):
            own = Bases(changes).tsv_m(tasks, keep)
            theirs = merged(changes, TSV_M.at(keep), tasks)
            assert own.keys() == theirs.keys()
            for name, x in theirs.items():
                torch.testing.assert_close(own[name], x, rtol=1e-4, atol=1e-5 * float(x.abs().max()))


class TestSpan:
    @pytest.fixture
    def study(self, here: Path) -> Study:
        return Study(load_suite(here / "tiny.yaml"), here / "kept", device="cpu")

    def test_it_is_the_slope_of_the_loss_and_its_gauss_newton_matrix(self, study: Study) -> None:
        found = span.span_of(study, 1)
        changes, own = study.changes, np.eye(3)[1]

        def lost(weights: np.ndarray) -> float:
            w = torch.tensor(weights).float()
            moved = {name: torch.einsum("t,t...->...", w, rows) for name, rows in changes.deltas.items()}
            return span.measured_excess(study, 1, str(weights.tolist()), lambda: moved, 1.0)

        for other in range(3):
            step = 0.05 * np.eye(3)[other]
            slope = (lost(own + step) - lost(own - step)) / 0.1
            assert found.slope[other] == pytest.approx(slope, rel=0.02, abs=1e-4)
        assert found.bend == pytest.approx(found.bend.T)
        assert np.linalg.eigvalsh(found.bend).min() > -1e-9
        near = own + 0.1 * np.array([1.0, -0.5, 0.5])
        assert found.excess(near) == pytest.approx(lost(near), rel=0.2, abs=1e-4)
        assert found.excess(own) == 0

    def test_it_is_found_again(self, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
        first = span.span_of(study, 0)
        monkeypatch.setattr(span, "_logits", None)
        assert span.span_of(study, 0).bend.tolist() == first.bend.tolist()


class TestSets:
    def test_all_pairs_and_as_many_larger_as_asked(self) -> None:
        found = verdict.subsets(8)
        assert found[:28] == list(combinations(range(8), 2))
        assert len(found) == len(set(found)) == 78
        assert min(len(tasks) for tasks in found[28:]) > 2
        assert found == verdict.subsets(8)

    def test_a_perfect_forecast_has_a_correlation_of_one(self) -> None:
        cases = [
            verdict.Case(
                (0, 1),
                {
                    merge: {name: -sign * x for name, (_, sign) in verdict.PREDICTORS.items()}
                    for merge in verdict.SCALES
                },
                dict.fromkeys(verdict.SCALES, (1 - x, -x)),
                dict.fromkeys(verdict.SCALES, (x, 2 * x)),
            )
            for x in (0.1, 0.2, 0.4, 0.7)
        ]
        for row in verdict.correlations(cases):
            assert {value for value, _, _ in row.found.values()} == {1.0}
        assert verdict.reliability(cases, "TSV-M") == 1.0


class TestWorst:
    def test_it_is_of_whichever_task_is_worst(self) -> None:
        one = [score("a", 1, 1, 0, 0), score("b", 1, 1, 1, 1)]
        other = [score("a", 1, 1, 1, 0), score("b", 1, 0, 0, 0)]
        assert worst_of(one).value == 0.5
        assert worst_difference(one, other).value == 0.25

    def test_equal_models_do_not_differ_in_any_draw(self) -> None:
        same = [score("a", 1, 0, 0, 1), score("b", 1, 1, 0, 1)]
        found = worst_difference(same, same)
        assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
        apart = worst_difference(same, [score("a", 0, 1, 1, 0), same[1]])
        assert apart.low < 0 < apart.high


@pytest.mark.parametrize("draw", [curves, cloud])
def test_figures_are_whole_and_hold_every_point(draw) -> None:
    text = draw("A < B", {"one": [(0.2, 70.1), (2.8, 81.3)], "two & three": [(1.0, 70.1)]}, "α", "per cent")
    root = ElementTree.fromstring(text)
    circles = [x for x in root.iter() if x.tag.endswith("circle") and len(x)]
    assert len(circles) == 3
    for x in circles:
        assert 0 < float(x.attrib["cx"]) < float(root.attrib["width"])
        assert 0 < float(x.attrib["cy"]) < float(root.attrib["height"])


def test_ranks_stand_evenly() -> None:
    text = curves("η", {"one": [(1, 0.1), (2, 0.2), (48, 0.3)]}, "k", "η", even=True)
    places = [float(x.attrib["cx"]) for x in ElementTree.fromstring(text).iter() if x.tag.endswith("circle") and len(x)]
    assert places[2] - places[1] == pytest.approx(places[1] - places[0], abs=0.2)
