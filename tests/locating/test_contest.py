"""What locating is worth: the rows are what they say."""

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from taskvec import RecipeError
from taskvec.evaluate.classification import Classification
from taskvec.evaluate.data import Examples
from taskvec.evaluate.model import Model
from taskvec.finetune.lessons import Lesson
from taskvec.locating import contest
from taskvec.locating.contest import (
    BASE,
    LOCATED,
    LOCATED_TUNED,
    NEAREST,
    ROWS,
    TUNED,
    UNIFORM,
    WEIGHTS,
    Contest,
    FewShot,
    put_base,
)
from taskvec.locating.known import Known
from taskvec.locating.locate import locate_task
from taskvec.recipe.merge import run
from taskvec.recipe.plan import make_plan
from taskvec.tune.supervised import Fitting

Make = Callable[..., Lesson]
HOW = FewShot(steps=12, rate=5e-3, batch=8, weights=Fitting(steps=6, rate=0.1, batch=8))


@pytest.fixture
def task(lesson: Make, few: Callable[..., Examples]) -> Classification:
    one = lesson("taste")
    return Classification("taste", few("taste", "test"), one.head, one.reading)


def test_every_row(
    known: Known, folder: Path, lesson: Make, few: Callable[..., Examples], task: Classification, tmp_path: Path
) -> None:
    base = Model(folder / "base", device="cpu")
    place = locate_task(base, known, lesson("taste"))
    rows = {row.name: row for row in Contest(base, task, HOW).all(place, lesson("taste"))}
    assert tuple(rows) == ROWS
    scores = {name: row.scores[0].value for name, row in rows.items()}
    assert scores[BASE] == task.score(Model(folder / "base", device="cpu")).value
    assert scores[NEAREST] == task.score(Model(folder / "taste", device="cpu")).value
    assert rows[NEAREST].facts == {"model": "taste"}
    assert place.recipe
    run(make_plan(place.recipe, tmp_path / "located"), tmp_path / "located")
    located = Model(tmp_path / "located", device="cpu", inputs=folder / "base")
    assert scores[LOCATED] == task.score(located).value
    assert scores[TUNED] > scores[BASE] and scores[LOCATED_TUNED] > scores[BASE]
    assert 0 <= scores[UNIFORM] <= 1
    assert set(rows[WEIGHTS].facts["weights"]) == {"taste", "pets", "noise"}
    put_base(base)
    assert task.score(base).value == scores[BASE]


def test_scored_in_another_precision(known: Known, folder: Path, lesson: Make, task: Classification) -> None:
    base, half = (Model(folder / "base", device="cpu", precision=p) for p in ("float32", "bfloat16"))
    place = locate_task(base, known, lesson("taste"))
    arena = Contest(base, task, HOW, scored=half)
    assert arena.single(place, "taste").value == pytest.approx(task.score(Model(folder / "taste")).value, abs=0.1)
    assert str(half.module().dtype) == "torch.bfloat16"
    with pytest.raises(RecipeError, match=r"fine-tuning moves weights by small steps; load .* in float32"):
        Contest(half, task)


def test_weights_that_do_not_fit_into_memory_are_left_out(
    known: Known, folder: Path, lesson: Make, task: Classification, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Model(folder / "base", device="cpu")
    place = locate_task(base, known, lesson("taste"))
    assert not contest.too_large(place)
    floats = sum(x.numel() for x in load_file(folder / "base" / "model.safetensors").values() if x.is_floating_point())
    monkeypatch.setattr(contest, "bytes_available", lambda: 4 * floats * 6 - 1)
    assert "'located, weights fitted' is left out: the base and 3 task vectors take " in contest.too_large(place)
    arena = Contest(base, task, FewShot(steps=1, batch=8))
    rows = arena.all(place, lesson("taste"))
    assert arena.notes == [contest.too_large(place)]
    assert tuple(row.name for row in rows) == ROWS[:-1]


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"rate": -1.0}, {"rate": float("nan")}, {"batch": 0}])
def test_settings_that_learn_nothing(wrong: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match=rf"'{next(iter(wrong))}' of fine-tuning must be above 0, got "):
        FewShot(**wrong)  # type: ignore[arg-type]


def test_the_last_round_is_finished() -> None:
    settings = FewShot(steps=30, batch=32)
    assert [settings.training(n).epochs for n in (16, 64, 256)] == [30, 15, 4]
