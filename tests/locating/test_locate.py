"""Where a task lies: the model that went its way is found, and the merge is as long as its parts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import encoders
from taskvec import RecipeError
from taskvec.evaluate.data import Examples
from taskvec.evaluate.model import Model
from taskvec.finetune.lessons import Lesson
from taskvec.locating.known import Known, known_models
from taskvec.locating.locate import By, locate, locate_task
from taskvec.locating.products import Metric, group_of
from taskvec.locating.realise import recipe_of, scale_of
from taskvec.recipe.in_memory import merge_in_memory
from taskvec.recipe.plan import make_plan
from taskvec.store import Checkpoint, diff
from taskvec.store.catalog import Catalog

Make = Callable[..., Lesson]


@pytest.mark.parametrize("signal", ["gradient", "sign", "preconditioned", "natural", "steps"])
def test_the_model_that_went_this_way_is_nearest(known: Known, base: Model, lesson: Make, signal: str) -> None:
    for task in ("taste", "pets"):
        place = locate_task(base, known, lesson(task), By(signal=signal))  # type: ignore[arg-type]
        assert place.nearest == task
        assert place.known.names[int(place.mixture.argmax())] == task
        assert place.signal == signal


@pytest.mark.parametrize("metric", ["tensors", "fisher"])
def test_in_other_metrics(known: Known, base: Model, lesson: Make, metric: str) -> None:
    place = locate_task(base, known, lesson("taste"), By(metric=metric))  # type: ignore[arg-type]
    assert place.nearest == "taste"


def test_the_merge_is_as_long_as_its_parts(known: Known, base: Model, lesson: Make) -> None:
    place = locate_task(base, known, lesson("taste"))
    assert place.recipe
    merged = merge_in_memory(make_plan(place.recipe))
    with Checkpoint(known.base) as start:
        change = sum(float((merged.torch(n) - start[n]).square().sum()) for n in start if start[n].is_floating_point())
    assert np.sqrt(change) == pytest.approx(place.mixture @ place.norms, rel=1e-3)
    assert place.recipe.scale == pytest.approx(place.scale, abs=1e-6)
    assert sum(m.weight for m in place.recipe.models) == pytest.approx(1, abs=1e-5)


def test_with_weights_a_layer_every_layer_is_merged_by_its_own_cone(known: Known, base: Model, lesson: Make) -> None:
    place = locate_task(base, known, lesson("taste"), By(layers=True))
    assert place.recipe and place.by_layer
    merged = merge_in_memory(make_plan(place.recipe))
    vectors = list(known.vectors.values())
    with Checkpoint(known.base) as start:
        for name in (n for n in start if start[n].is_floating_point()):
            group = place.groups.get(group_of(name))
            own = np.zeros(3) if group is None else place.scales[group_of(name)] * group.mixture
            want = start[name] + sum(w * v[name] for w, v in zip(own.tolist(), vectors, strict=True))
            torch.testing.assert_close(torch.as_tensor(merged.torch(name)), want, rtol=1e-5, atol=1e-6)
    assert len({tuple(one.mixture.round(6)) for one in place.groups.values()}) > 1
    half = place.realised(0.5)
    assert half and half.models[0].weight == pytest.approx(place.recipe.models[0].weight / 2, abs=1e-6)


def test_each_layer_is_as_long_as_its_parts(known: Known, base: Model, lesson: Make) -> None:
    place = locate_task(base, known, lesson("taste"))
    rows = list(known.vectors.values())
    for group, one in place.groups.items():
        names = [n for n in rows[0].shapes if group_of(n) == group]
        stack = np.stack([np.concatenate([np.asarray(v[n], np.float64).ravel() for n in names]) for v in rows])
        length = np.linalg.norm(place.scales[group] * one.mixture @ stack)
        assert length == pytest.approx(one.mixture @ np.linalg.norm(stack, axis=1), rel=1e-5)


def test_without_calibration_nothing_is_decided(known: Known, base: Model, lesson: Make) -> None:
    place = locate_task(base, known, lesson("taste"))
    assert (place.verdict, place.reference) == ("undecided", None)
    assert "what a known task has is not known without its examples (--calibrate)" in place.reason
    assert place.data["overall"]["verdict"] == place.verdict and place.data["overall"]["inside"] is None
    assert {str(one.verdict) for one in place.groups.values()} == {"undecided"}


def test_calibrated_by_known_tasks(known: Known, base: Model, lesson: Make) -> None:
    own = [lesson(task, "test") for task in ("taste", "pets")]
    place = locate_task(base, known, lesson("taste"), calibrate=own)
    assert place.verdict == "retrieve"
    assert place.reference and 0.1 < place.reference <= 1
    assert place.data["overall"]["verdict"] == "retrieve"
    assert {str(one.verdict) for one in place.groups.values()} == {"retrieve"}
    new = locate_task(base, known.without("taste"), lesson("taste"), calibrate=own[1:])
    assert new.overall.span.explained < place.overall.span.explained / 2
    assert new.verdict == "learn"


def test_a_checkpoint_needs_no_calibration(folder: Path, base: Model, tmp_path: Path) -> None:
    known = known_models(str(folder / "base"), [str(folder / "taste"), str(folder / "pets")])
    encoders.changed(folder / "base", tmp_path / "both", seed=0, size=0.0)
    tensors = load_file(tmp_path / "both" / "model.safetensors")
    first, second = known.vectors.values()
    moved = {n: x + 0.75 * first[n] + 0.25 * second[n] if n in first else x for n, x in tensors.items()}
    save_file(moved, tmp_path / "both" / "model.safetensors", {"format": "pt"})
    place = locate_task(base, known, None, By(checkpoint=str(tmp_path / "both")))
    assert place.verdict == "retrieve"
    np.testing.assert_allclose(place.overall.cone.coefficients, [0.75, 0.25], atol=1e-4)
    assert place.overall.span.explained == pytest.approx(1, abs=1e-5)
    away = locate_task(base, known, None, By(checkpoint=str(folder / "noise")))
    assert away.verdict == "learn"


@pytest.mark.parametrize("metric", ["euclidean", "tensors"])
def test_a_checkpoint_has_a_length(folder: Path, base: Model, tmp_path: Path, metric: Metric) -> None:
    known = known_models(str(folder / "base"), [str(folder / "taste"), str(folder / "pets")])
    quarter = tmp_path / "quarter"
    encoders.changed(folder / "base", quarter, seed=0, size=0.0)
    tensors, tau = load_file(quarter / "model.safetensors"), known.vectors["taste"]
    moved = {n: x + 0.25 * tau[n] if n in tau else x for n, x in tensors.items()}
    save_file(moved, quarter / "model.safetensors", {"format": "pt"})
    place = locate_task(base, known, None, By(checkpoint=str(quarter), metric=metric))
    np.testing.assert_allclose(place.weights, [0.25, 0], atol=1e-3)
    assert place.verdict == "recombine"
    assert place.recipe
    merged = merge_in_memory(make_plan(place.recipe))
    with Checkpoint(quarter) as wanted:
        name = "encoder.layer.1.output.dense.weight"
        torch.testing.assert_close(merged.torch(name), wanted[name], atol=1e-5, rtol=0)


def test_layers_add_up(known: Known, base: Model, lesson: Make) -> None:
    place = locate_task(base, known, lesson("taste"))
    assert list(place.groups) == ["outside of layers", "encoder.layer.0", "encoder.layer.1"]
    assert set(place.data["groups"]) == set(place.groups)
    assert [m["model"] for m in place.data["models"]] == ["taste", "pets", "noise"]


def test_where_nothing_points_the_tasks_way(folder: Path, base: Model, lesson: Make, tmp_path: Path) -> None:
    away = (diff(folder / "base", folder / "taste") * -1).save(tmp_path / "away.tv")
    place = locate_task(base, known_models(str(folder / "base"), [str(away)]), lesson("taste", "other"))
    assert place.recipe is None
    assert place.scale == 0


def test_in_one_call(folder: Path, few: Callable[..., Examples], tmp_path: Path) -> None:
    models = [str(folder / name) for name in ("taste", "pets", "noise")]
    of_models = locate(folder / "base", models, few("taste"), device="cpu")
    catalog = Catalog(tmp_path / "vectors", create=True)
    for path in models:
        catalog.add(path, base=folder / "base")
    of_file = locate(folder / "base", catalog, folder / "taste-few.tsv", device="cpu")
    assert of_models.nearest == of_file.nearest == "taste"
    weights = [dict(zip(p.known.names, p.weights, strict=True)) for p in (of_models, of_file)]
    assert weights[0] == pytest.approx(weights[1], rel=1e-5)
    nearest = locate(folder / "base", catalog, folder / "taste-few.tsv", by=By(top=2), device="cpu")
    assert len(nearest.known.names) == 2 and "taste" in nearest.known.names


def test_tasks_that_calibrate_are_fitted_whatever_top_says(
    folder: Path, base: Model, lesson: Make, tmp_path: Path
) -> None:
    catalog = Catalog(tmp_path / "vectors", create=True)
    for name in ("taste", "pets", "noise"):
        catalog.add(folder / name, base=folder / "base")
    own = [lesson(task, "test") for task in ("taste", "pets")]
    place = locate_task(base, catalog, lesson("taste"), By(top=1), calibrate=own)
    assert place.known.names == ("pets", "taste")


def test_a_scale_of_nothing() -> None:
    assert scale_of(np.zeros(2), np.eye(2)) == 0


def test_models_that_take_no_part_have_no_say_in_the_scale() -> None:
    assert scale_of(np.array([1.0, 0.0]), np.diag([4.0, 9e4])) == pytest.approx(1)
    assert scale_of(np.array([0.5, 0.5]), np.diag([4.0, 36.0])) == pytest.approx(4 / np.sqrt(10))


def test_refusals(known: Known, base: Model, lesson: Make, few: Callable[..., Examples]) -> None:
    with pytest.raises(RecipeError, match="there is nothing to locate by"):
        locate_task(base, known, None)
    with pytest.raises(RecipeError, match="the metric 'fisher' is measured on examples, and there are none"):
        locate_task(base, known, None, By(checkpoint="x", metric="fisher"))
    with pytest.raises(RecipeError, match="a checkpoint is a whole task vector and needs no calibration"):
        locate_task(base, known, None, By(checkpoint="x"), calibrate=[lesson("taste")])
    with pytest.raises(RecipeError, match="'top' must be at least 1, got 0"):
        locate_task(base, known, lesson("taste"), By(top=0))
    with pytest.raises(
        RecipeError, match="'place' calibrates the verdict and is none of the known models, which are taste"
    ):
        locate_task(base, known, lesson("taste"), calibrate=[lesson("place")])
    assert recipe_of(known, torch.zeros(3).tolist()) is None
