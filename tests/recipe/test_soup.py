"""Greedy soups, on models whose score is how near they are to a point."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import taskvec as tv
from taskvec.recipe.soup import greedy_soup
from taskvec.testing import write_model

AIM = np.array([1.0, 1.0])
POINTS = {"a": [1.0, 0.5], "b": [0.0, 2.0], "c": [9.0, 9.0], "d": [1.0, 1.75]}


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    """Four models that differ in two entries."""
    return [write_point(tmp_path / name, w) for name, w in POINTS.items()]


def write_point(folder: Path, w: list[float]) -> Path:
    """Write a model that has a large tensor in common with the others."""
    return write_model(folder, {"common": np.full(500, 9, np.float32), "w": np.array(w, np.float32)}, dtype="F32")


@pytest.fixture
def score() -> Callable[[Path], float]:
    """Minus the distance from the aim; counts its calls in `asked`."""

    def minus_distance(folder: Path) -> float:
        minus_distance.asked.append(folder)  # type: ignore[attr-defined]
        with tv.Checkpoint(folder) as model:
            return -float(np.linalg.norm(model["w"].float().numpy() - AIM))

    minus_distance.asked = []  # type: ignore[attr-defined]
    return minus_distance


def by_hand(score_of: Callable[[list[float]], float]) -> tuple[list[str], float]:
    """Algorithm 1 on the points."""
    order = sorted(POINTS, key=lambda name: -score_of(POINTS[name]))
    soup: list[str] = []
    best = -np.inf
    for name in order:
        tried = score_of(np.mean([POINTS[n] for n in [*soup, name]], axis=0).tolist())
        if tried >= best:
            soup, best = [*soup, name], tried
    return soup, float(best)


def test_it_is_algorithm_1(models: list[Path], score: Callable[[Path], float], tmp_path: Path) -> None:
    done = greedy_soup(models, score, tmp_path / "out")
    kept, best = by_hand(lambda w: -float(np.linalg.norm(np.array(w) - AIM)))
    assert [Path(m).name for m in done.kept] == kept == ["a", "d"]
    assert done.score == pytest.approx(best)
    assert [Path(t.model).name for t in done.tasted] == ["a", "d", "b", "c"]
    assert [t.kept for t in done.tasted] == [True, True, False, False]
    assert done.tasted[2].score < done.score
    with tv.Checkpoint(done.receipt.folder) as out:
        assert out["w"].tolist() == [1.0, 1.125]
    assert done.receipt.folder == tmp_path / "out"


def test_nothing_is_left_beside_the_soup(models: list[Path], score: Callable[[Path], float], tmp_path: Path) -> None:
    greedy_soup(models, score, tmp_path / "new" / "out")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["out"]


def test_known_scores_are_not_asked_for(models: list[Path], score: Callable[[Path], float], tmp_path: Path) -> None:
    known = [score(m) for m in models]
    score.asked.clear()  # type: ignore[attr-defined]
    done = greedy_soup(models, score, tmp_path / "out", scores=known)
    assert len(score.asked) == 3  # type: ignore[attr-defined]
    assert len(done.kept) == 2


def test_a_model_that_changes_nothing_is_added(tmp_path: Path) -> None:
    models = [write_point(tmp_path / n, [1.0, 1.0]) for n in "ab"]
    assert len(greedy_soup(models, lambda folder: 0.5, tmp_path / "out").kept) == 2


def test_where_every_other_model_is_worse_the_soup_is_the_best_model(
    models: list[Path], tmp_path: Path, score: Callable[[Path], float]
) -> None:
    done = greedy_soup([models[2], models[0]], score, tmp_path / "out")
    assert [Path(m).name for m in done.kept] == ["a"]
    with tv.Checkpoint(tmp_path / "out") as out:
        assert out["w"].tolist() == POINTS["a"]


def test_keys_of_the_recipe_hold_for_every_soup(
    models: list[Path], score: Callable[[Path], float], tmp_path: Path
) -> None:
    done = greedy_soup(models, score, tmp_path / "out", recipe={"dtype": "bfloat16"})
    with tv.Checkpoint(done.receipt.folder) as out:
        assert str(out["w"].dtype) == "torch.bfloat16"


def test_a_score_that_fails_leaves_nothing(models: list[Path], tmp_path: Path) -> None:
    def fails(folder: Path) -> float:
        if folder not in models:
            raise KeyError("no such task")
        return 0.0

    with pytest.raises(KeyError, match="no such task"):
        greedy_soup(models, fails, tmp_path / "new" / "out")
    assert not list((tmp_path / "new").iterdir())


def test_what_is_refused(models: list[Path], score: Callable[[Path], float], tmp_path: Path) -> None:
    with pytest.raises(tv.RecipeError, match=r"a soup needs a model"):
        greedy_soup([], score, tmp_path / "out")
    with pytest.raises(tv.RecipeError, match=r"1 scores for 4 models\. Give one each, or none\."):
        greedy_soup(models, score, tmp_path / "out", scores=[0.5])
    with pytest.raises(tv.RecipeError, match=r"the score with .*a is no number \(NaN\)\. Mend the score\."):
        greedy_soup(models, lambda folder: float("nan"), tmp_path / "out")
    with pytest.raises(tv.OutputError, match=r"exists and is not empty"):
        greedy_soup(models, score, models[0])
    assert not score.asked  # type: ignore[attr-defined]
