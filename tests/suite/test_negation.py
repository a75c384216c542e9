"""Forgetting by negation, against the rule worked out by hand with transformers alone."""

import inspect
import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taskvec.cli import benching
from taskvec.cli.app import app
from taskvec.cli.exits import run
from taskvec.errors import RecipeError, StoreError
from taskvec.evaluate.classification import Classification
from taskvec.suite.examples import examples_of
from taskvec.suite.load import load_suite
from taskvec.suite.negation import Negation, Point, best, negate
from taskvec.suite.specialists import Places

from . import tiny_clip

GRID = tuple(i / 10 for i in range(11))


@pytest.fixture(scope="module")
def negation(clip: Path) -> Negation:
    return negate(load_suite(clip / "suite.yaml"), Places(clip / "made"), grid=GRID, device="cpu")


def accuracy(model: Any, images: Any, labels: Any) -> float:
    return float((tiny_clip.answers(model, images).numpy() == labels).mean())


def held_out(clip: Path, task: str) -> tuple[Any, Any]:
    """Return a task's validation images and labels as arrays."""
    chosen = examples_of(load_suite(clip / "suite.yaml"), task, "validation")
    return np.stack([np.asarray(x) for x in chosen.inputs]), chosen.labels


@cache
def base_of(clip: Path) -> Any:
    return tiny_clip.read(clip / "base")


def negated(clip: Path, task: str, scale: float) -> Any:
    """Return the base less so much of a task's vector."""
    model = base_of(clip)
    base, own = (tiny_clip.held(clip / name) for name in ("base", task))
    model.load_state_dict(base | {n: base[n] - scale * (own[n] - base[n]) for n in own})
    return model


def test_alpha_is_the_one_that_forgets_most_and_keeps_95_percent(clip: Path, negation: Negation) -> None:
    assert [row.task for row in negation.rows] == ["a", "b"], "the control is not forgotten"
    kept = held_out(clip, "control")
    floor = 0.95 * accuracy(tiny_clip.read(clip / "base"), *kept)
    assert negation.floor == pytest.approx(floor)
    for row in negation.rows:
        assert [p.scale for p in row.curve] == list(GRID)
        target = held_out(clip, row.task)
        allowed = []
        for point in row.curve:
            model = negated(clip, row.task, point.scale)
            found = accuracy(model, *target), accuracy(model, *kept)
            assert (point.target, point.control) == pytest.approx(found)
            allowed += [(found[0], -found[1], point.scale)] if found[1] >= floor else []
        assert row.scale == min(allowed)[2]
    assert negation.rows[0].scale > 0, "otherwise nothing was forgotten, and this shows nothing"
    assert any(p.control < floor and p.target < min(negation.rows[0].curve, key=lambda q: q.scale).target
               for p in negation.rows[0].curve), "the rule binds"  # fmt: skip


def test_test_scores_at_alpha(clip: Path, negation: Negation) -> None:
    for row in negation.rows:
        model = negated(clip, row.task, row.scale)
        for task, score in ((row.task, row.target), ("control", row.control)):
            data = np.load(clip / f"{task}.npz")
            assert score.value == pytest.approx(accuracy(model, data["x_test"], data["y_test"]))
    assert negation.before.value == 1.0
    before, target, control = negation.means
    assert target.value == pytest.approx(np.mean([row.target.value for row in negation.rows]))
    assert before.value == pytest.approx(np.mean([row.before.value for row in negation.rows]))
    assert control.low <= control.value <= control.high and control.low < control.high


def test_the_literature_s_grid() -> None:
    grid = inspect.signature(negate).parameters["grid"].default
    assert grid == pytest.approx(np.linspace(0, 1, 21))


@pytest.mark.parametrize(
    ("curve", "scale"),
    [
        ([Point(0.0, 0.9, 1.0), Point(0.5, 0.5, 0.95), Point(1.0, 0.1, 0.94)], 0.5),  # the floor itself is allowed
        ([Point(0.0, 0.9, 1.0), Point(0.5, 0.5, 0.2)], 0.0),  # nothing else is
        ([Point(0.0, 0.9, 1.0), Point(0.5, 0.5, 0.96), Point(1.0, 0.5, 0.99)], 1.0),  # equal: the better control
        ([Point(0.0, 0.9, 0.94)], 0.0),  # the base is the last resort
    ],
)
def test_the_rule(curve: list[Point], scale: float) -> None:
    assert best(curve, 0.95).scale == scale


def test_the_command(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benching, "negate", partial(negate, grid=(0.5,)))
    common = ["bench", "negate", str(clip / "suite.yaml"), "--cache", str(tmp_path), "--device", "cpu", "-q"]
    assert run(app, [*common, "--only", "a"]) == 0
    out = capsys.readouterr().out
    assert "control, after" in out and "keeps 95 % of its own" in out
    data = json.loads((tmp_path / "suite" / "results-negation.json").read_text())
    assert list(data["tasks"]) == ["a"] and [p[0] for p in data["tasks"]["a"]["curve"]] == [0.0, 0.5]
    assert data["control"]["task"] == "control" and data["control"]["before"]["value"] == 1.0
    assert "| mean |" in (tmp_path / "suite" / "results-negation.md").read_text()


def test_refusals(clip: Path, tmp_path: Path) -> None:
    def loaded(**more: Any) -> Any:
        (tmp_path / "s.yaml").write_text(json.dumps(tiny_clip.suite(**more)))
        return load_suite(tmp_path / "s.yaml", clip)

    places = Places(tmp_path / "made")
    with pytest.raises(RecipeError, match=r"names no control, the task to be left alone\. Type --control control"):
        negate(loaded(control=None), places)
    with pytest.raises(RecipeError, match=r"has no task 'contrl'\. Did you mean 'control'\?"):
        negate(loaded(), places, control="contrl")
    with pytest.raises(RecipeError, match=r"nothing to forget: 'a' is the control"):
        negate(loaded(), places, control="a", only=["a"])
    with pytest.raises(StoreError, match=r"the specialist of 'control' is not trained yet"):
        negate(loaded(control=None), places, control="a")
    with pytest.raises(RecipeError, match=r"'control' names 'x', which is no task"):
        loaded(control="x")


def test_what_was_scored_is_not_scored_again(clip: Path, negation: Negation, monkeypatch: pytest.MonkeyPatch) -> None:
    full = []
    score = Classification.score
    monkeypatch.setattr(
        Classification, "score", lambda self, model, share=1.0: (full.append(share), score(self, model, share))[1]
    )
    again = negate(load_suite(clip / "suite.yaml"), Places(clip / "made"), grid=GRID, device="cpu")
    assert all(share < 1 for share in full), "only to load modules"
    assert [(r.scale, r.target.value) for r in again.rows] == [(r.scale, r.target.value) for r in negation.rows]
