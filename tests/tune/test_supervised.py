"""Weights of task vectors fitted to labelled examples."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import encoders
from taskvec import MismatchError, Recipe, RecipeError
from taskvec.evaluate.classification import Classification
from taskvec.evaluate.data import Source, read
from taskvec.evaluate.features import Reading
from taskvec.evaluate.make_head import from_label_names
from taskvec.evaluate.model import Model
from taskvec.finetune.lessons import Lesson
from taskvec.tune.held import Held
from taskvec.tune.supervised import Fitting, fit_weights


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Model, Held, Lesson]]:
    folder: Path = tmp_path_factory.mktemp("supervised")
    encoders.bert(folder / "base")
    models = [str(encoders.changed(folder / "base", folder / f"m{i}", seed=i, size=0.03)) for i in range(3)]
    recipe = Recipe.model_validate({"method": "task_arithmetic", "base": str(folder / "base"), "models": models})
    base = Model(folder / "base", device="cpu")
    examples = read(Source(path=str(encoders.table(folder / "t.tsv", encoders.sentences("taste", 16)))))
    lesson = Lesson("taste", examples, from_label_names(base, examples.names, Reading()), Reading())
    yield base, Held(recipe, base), lesson


def loss_at(scene: tuple[Model, Held, Lesson], weights: list[float]) -> float:
    base, held, lesson = scene
    held.put(torch.tensor(weights)[:, None])
    logits = Classification("taste", lesson.examples, lesson.head, lesson.reading).logits(base)
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(lesson.examples.labels)))


def test_the_loss_falls_along_its_slope(scene: tuple[Model, Held, Lesson]) -> None:
    base, held, lesson = scene
    start, small = [0.2, 0.0, -0.1], 1e-2
    slopes = []
    for i in range(3):
        up, down = ([w + sign * small * (j == i) for j, w in enumerate(start)] for sign in (1, -1))
        slopes.append((loss_at(scene, up) - loss_at(scene, down)) / (2 * small))
    fitted = fit_weights(held, base, lesson, start, Fitting(steps=1, rate=1e-3, batch=16))
    assert fitted.loss[0] == pytest.approx(loss_at(scene, start), rel=1e-4)
    moved = [w - s for w, s in zip(fitted.weights, start, strict=True)]
    assert [m < 0 for m in moved] == [s > 0 for s in slopes]  # Adam's first step is the slope's sign
    many = fit_weights(held, base, lesson, start, Fitting(steps=20, rate=0.1, batch=8))
    assert len(many.loss) == 20
    assert loss_at(scene, list(many.weights)) < loss_at(scene, start)


def test_the_fitted_model_is_in_hand(scene: tuple[Model, Held, Lesson]) -> None:
    base, held, lesson = scene
    fitted = fit_weights(held, base, lesson, [0.0, 0.0, 0.0], Fitting(steps=2, rate=0.1))
    name = "encoder.layer.0.output.dense.weight"
    in_hand = dict(base.module().named_parameters())[name].detach().clone()
    expected = held.base[name] + sum(w * d for w, d in zip(fitted.weights, held.deltas[name], strict=True))
    torch.testing.assert_close(in_hand, expected)


def test_refusals(scene: tuple[Model, Held, Lesson], tmp_path: Path) -> None:
    base, held, lesson = scene
    with pytest.raises(RecipeError, match="there are 3 task vectors and 2 weights to begin with"):
        fit_weights(held, base, lesson, [0.0, 0.0])
    for name in ("steps", "rate", "batch"):
        with pytest.raises(RecipeError, match=f"'{name}' must be above 0, got 0"):
            Fitting(**{name: 0})
    wide = Model(encoders.bert(tmp_path / "wide", hidden_size=32), device="cpu")
    with pytest.raises(MismatchError, match="was made for"):
        fit_weights(held, wide, lesson, [0.0, 0.0, 0.0])
