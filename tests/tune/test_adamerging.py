"""AdaMerging: the entropy falls, its gradient is that of finite differences, and labels have no say."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import encoders
import taskvec as tv
from taskvec.evaluate import make_head
from taskvec.evaluate.classification import Classification
from taskvec.evaluate.data import Source, read
from taskvec.evaluate.features import Reading
from taskvec.evaluate.model import Model
from taskvec.tune.adamerging import AdaMerging, _Stream, adamerge
from taskvec.tune.held import Held

TASKS = ("taste", "pets")
SETTINGS = AdaMerging(steps=12, rate=0.05, batch=64)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base` and two fine-tunes of it."""
    folder = tmp_path_factory.mktemp("adamerging")
    encoders.bert(folder / "base", pooler=False)
    for i, name in enumerate(TASKS):
        encoders.changed(folder / "base", folder / name, seed=i + 1, size=0.2)
    return folder


@pytest.fixture
def made(models: Path) -> Callable[..., tv.Recipe]:
    def make(**keys: Any) -> tv.Recipe:
        data = {"method": "task_arithmetic", "base": str(models / "base"), "models": [str(models / n) for n in TASKS]}
        return tv.Recipe.model_validate(data | keys)

    return make


@pytest.fixture
def base(models: Path) -> Model:
    return Model(models / "base", device="cpu")


@pytest.fixture
def tasks(models: Path, tmp_path: Path) -> list[Classification]:
    out, model = [], Model(models / "base", device="cpu")
    for name in TASKS:
        path = encoders.table(tmp_path / f"{name}.tsv", encoders.sentences(name, 24))
        labels = tuple(encoders.TASKS[name])
        head = make_head.from_label_names(model, labels, Reading())
        out.append(Classification(name, read(Source(path=str(path), labels=labels)), head))
    return out


def entropy(model: Model, tasks: list[Classification]) -> float:
    total = 0.0
    for task in tasks:
        p = task.logits(model).softmax(1)
        total += float(-(p * p.log()).sum(1).mean())
    return total


@pytest.mark.parametrize("by", ["task", "layer"])
def test_the_gradient_is_that_of_finite_differences(
    made: Callable[..., tv.Recipe], base: Model, tasks: list[Classification], by: Any
) -> None:
    held, stream = Held(made(), base), _Stream(base, tasks, SETTINGS)
    count = len(held.names) if by == "layer" else 1
    at = torch.full((2, count), 0.3)

    def loss(coefficients: torch.Tensor) -> float:
        held.put(coefficients)
        return stream.backward()

    loss(at)
    found, checked, step = held.gradient(count), 0, 0.01
    assert found.shape == (2, count)
    for k, j in sorted(np.ndindex(2, count), key=lambda place: -abs(float(found[place])))[:6]:
        moved = torch.zeros_like(at)
        moved[k, j] = step
        expected = (loss(at + moved) - loss(at - moved)) / (2 * step)
        assert float(found[k, j]) == pytest.approx(expected, rel=0.02, abs=2e-3)
        checked += abs(expected) > 0.02
    assert checked >= 2, "the slopes must be worth comparing"


@pytest.mark.parametrize("by", ["task", "layer"])
def test_the_entropy_falls_and_the_recipe_has_it(
    made: Callable[..., tv.Recipe], base: Model, tasks: list[Classification], tmp_path: Path, by: Any
) -> None:
    adapted = adamerge(made(), base, tasks, replace(SETTINGS, by=by))
    assert len(adapted.entropy) == 12
    assert adapted.entropy[-1] < adapted.entropy[0] - 0.01
    merged = Model(tv.run(tv.make_plan(adapted.recipe), tmp_path / "merged").folder, device="cpu")
    assert entropy(merged, tasks) == pytest.approx(adapted.entropy[-1], abs=0.05)
    assert entropy(merged, tasks) < adapted.entropy[0]
    rows = {tuple(row) for row in adapted.coefficients.values()}
    assert all(0 <= x <= 1 for row in rows for x in row)
    assert len(rows) == 1 if by == "task" else len(rows) > 10


def test_one_step_is_adams(made: Callable[..., tv.Recipe], base: Model, tasks: list[Classification]) -> None:
    adapted = adamerge(made(), base, tasks, replace(SETTINGS, steps=1))
    held, stream = Held(made(), base), _Stream(base, tasks, SETTINGS)
    held.put(torch.full((2, 1), 0.3))
    stream.backward()
    slopes = held.gradient(1)[:, 0]
    weights = next(iter(adapted.coefficients.values()))
    np.testing.assert_allclose(weights, 0.3 - 0.05 * np.sign(slopes.numpy()), atol=1e-5)


def test_labels_are_never_looked_at(made: Callable[..., tv.Recipe], models: Path, tasks: list[Classification]) -> None:
    def found(some: list[Classification]) -> Any:
        return adamerge(made(), Model(models / "base", device="cpu"), some, replace(SETTINGS, steps=4)).coefficients

    wrong = [replace(t, examples=replace(t.examples, labels=np.zeros(24, np.int64))) for t in tasks]
    assert found(wrong) == found(tasks)


def test_the_seed_is_of_the_batches(made: Callable[..., tv.Recipe], models: Path, tasks: list[Classification]) -> None:
    def found(seed: int) -> Any:
        how = replace(SETTINGS, steps=3, batch=4, seed=seed)
        return adamerge(made(), Model(models / "base", device="cpu"), tasks, how).entropy

    assert found(0) == found(0) != found(1)


def test_what_is_ignored_stays_the_bases(
    made: Callable[..., tv.Recipe], base: Model, tasks: list[Classification], tmp_path: Path
) -> None:
    recipe = made(ignore=["embeddings.*"])
    for by in ("task", "layer"):
        adapted = adamerge(recipe, base, tasks, replace(SETTINGS, by=by, rate=1e-9))  # type: ignore[arg-type]
        merged = Model(tv.run(tv.make_plan(adapted.recipe), tmp_path / by).folder, device="cpu")
        assert entropy(merged, tasks) == pytest.approx(adapted.entropy[-1], abs=1e-4)
        theirs, own = merged.module().state_dict(), Model(base.path, device="cpu").module().state_dict()
        name = "embeddings.word_embeddings.weight"
        assert torch.equal(theirs[name], own[name])


def test_task_vectors_in_files_are_task_vectors(
    made: Callable[..., tv.Recipe], models: Path, tasks: list[Classification], tmp_path: Path
) -> None:
    for name in TASKS:
        tv.diff(models / "base", models / name).save(tmp_path / f"{name}.tv")
    stored = made(models=[str(tmp_path / f"{name}.tv") for name in TASKS])
    how = replace(SETTINGS, steps=2)
    one, two = (adamerge(r, Model(models / "base", device="cpu"), tasks, how).entropy for r in (made(), stored))
    assert one == pytest.approx(two, abs=1e-3)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"method": "ties"}, r"finds the weights of task_arithmetic over a base\. Type 'method: task_arithmetic'\."),
        ({"overrides": [{"match": "embeddings.*", "scale": 0.1}]}, r"Remove 'overrides'\."),
        ({"settings": {"normalize": True}}, r"Remove 'normalize'\."),
    ],
)
def test_recipes_refused(
    made: Callable[..., tv.Recipe], base: Model, tasks: list[Classification], keys: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(tv.RecipeError, match=sentence):
        adamerge(made(**keys), base, tasks)


def test_models_refused(made: Callable[..., tv.Recipe], models: Path, tasks: list[Classification]) -> None:
    with pytest.raises(tv.RecipeError, match=r"moves weights by small steps; load .*base in float32"):
        adamerge(made(), Model(models / "base", device="cpu", precision="bfloat16"), tasks)
    base = Model(models / "base", device="cpu")
    with pytest.raises(tv.StoreError, match="does not exist"):
        adamerge(made(models=[str(models / "nowhere")]), base, tasks)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"steps": 0}, "'steps' of AdaMerging must be above 0, got 0"),
        ({"rate": -1.0}, "'rate' of AdaMerging must be above 0, got -1"),
        ({"start": 2.0}, "'start' must lie between 0 and 1, got 2"),
    ],
)
def test_settings_refused(how: dict[str, Any], sentence: str) -> None:
    with pytest.raises(tv.RecipeError, match=sentence):
        AdaMerging(**how)


def test_tensors_outside_the_encoder_keep_the_coefficient_that_all_start_with(
    made: Callable[..., tv.Recipe], base: Model, tasks: list[Classification]
) -> None:
    settings = AdaMerging(by="layer", steps=1, start=0.2, batch=64)
    found = adamerge(made(scale=0.3), base, tasks, settings).recipe
    assert ([m.weight for m in found.models], found.scale) == ([0.2, 0.2], 1.0)
    assert found.overrides and all(o.weights is not None for o in found.overrides)
