"""CLIP as the hub has it: a base with both towers, specialists that are a vision tower and nothing else."""

import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from taskvec.errors import MismatchError
from taskvec.evaluate import features
from taskvec.evaluate.model import Model
from taskvec.recipe.reweighted import Reweighted
from taskvec.suite.bench import Bench, compare, open_bench
from taskvec.suite.competitors import Competitor
from taskvec.suite.load import load_suite
from taskvec.suite.specialists import Places
from taskvec.suite.tasks import tasks_of

from . import tiny_clip

ADDED = Competitor("task_arithmetic", "task_arithmetic", {}, 0.5, (0.0, 0.5, 1.0))
TASKS = ("a", "b")


@pytest.fixture(scope="module")
def bench(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    places = Places(tmp_path_factory.mktemp("made"))
    return open_bench(load_suite(clip / "suite.yaml"), places, device="cpu")


def shares(clip: Path, weights: dict[str, torch.Tensor]) -> list[float]:
    """Return what transformers alone makes of weights: the share of each task's images that are answered rightly."""
    model = tiny_clip.read(clip / "base")
    model.load_state_dict(weights)
    out = []
    for task in TASKS:
        data = np.load(clip / f"{task}.npz")
        out.append(float((tiny_clip.answers(model, data["x_test"]).numpy() == data["y_test"]).mean()))
    return out


def summed(clip: Path, scale: float) -> dict[str, torch.Tensor]:
    """Return θ_0 + scale · (τ_a + τ_b), with the base's text tower."""
    base, a, b = (tiny_clip.held(clip / name) for name in ("base", "a", "b"))
    return base | {n: base[n] + scale * ((a[n] - base[n]) + (b[n] - base[n])) for n in a}


def values(row: Any) -> list[float]:
    return [score.value for score in row.scores]


def test_base_and_specialists_score_what_transformers_makes_of_them(clip: Path, bench: Bench) -> None:
    assert [task.name for task in bench.tests] == ["a", "b"], "the control is not merged"
    base, specialists = bench.rows[:2]
    assert values(base) == pytest.approx(shares(clip, tiny_clip.held(clip / "base")))
    assert values(specialists) == [1.0, 1.0]
    assert max(values(base)) < 1.0


def test_a_merge_in_a_folder_and_in_memory_scores_the_same(clip: Path, bench: Bench) -> None:
    recipe = bench.recipe(ADDED, 0.5)
    row = bench.add("merged", recipe, {})
    assert values(row) == pytest.approx(shares(clip, summed(clip, 0.5)))
    assert values(row) != values(bench.rows[0])
    with Reweighted(recipe) as models:
        bench.objective.model.put(models.weigh(recipe), "in memory")
        for task, score in zip(bench.tests, row.scores, strict=True):
            again = task.score(bench.objective.model)
            assert again.values is not None and score.values is not None
            assert np.array_equal(again.values, score.values)


def test_a_merge_without_a_base_is_a_vision_tower_and_is_scored(clip: Path, bench: Bench) -> None:
    row = bench.add("mean", bench.recipe(Competitor("linear", "linear"), None), {})
    assert values(row) == pytest.approx(shares(clip, summed(clip, 0.5)))


def test_the_protocol(bench: Bench) -> None:
    told: list[str] = []
    compare(bench, [ADDED], told.append)
    assert told[0].startswith("1/1 task_arithmetic: mean")
    plain, tuned = bench.rows[-2:]
    curve = dict(tuned.facts["curve"])
    assert set(curve) == {0.0, 0.5, 1.0} and tuned.facts["scale"] == max(curve, key=lambda scale: curve[scale])
    summary = bench.results.summary(plain)
    assert summary is not None and summary.normalised is not None
    assert summary.normalised.value == pytest.approx(np.mean(values(plain))), "the specialists score 1"


def test_data_of_the_hub_under_the_suite_s_own_labels(clip: Path, bench: Bench, tmp_path: Path) -> None:
    arrays = np.load(clip / "a.npz")
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["n01", "n02", "n03"])})
    splits = {
        name: datasets.Dataset.from_dict(
            {"image": [Image.fromarray(x) for x in arrays[f"x_{split}"]], "label": arrays[f"y_{split}"]}, features=kinds
        )
        for name, split in (("train", "train"), ("valid", "test"))
    }
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    task = {"data": f"datasets:{tmp_path / 'saved'}", "splits": {"test": "valid"}, "labels": tiny_clip.LABELS}
    task["head"] = {"template": tiny_clip.TEMPLATES}
    (tmp_path / "suite.yaml").write_text(json.dumps(tiny_clip.suite(control=None, tasks={"a": task})))
    found = tasks_of(load_suite(tmp_path / "suite.yaml", clip), bench.base)[0].score(bench.base)
    assert found.value == bench.rows[0].scores[0].value


def test_names_without_the_prefix_are_read_too(clip: Path, bench: Bench, tmp_path: Path) -> None:
    short = tmp_path / "a"
    shutil.copytree(clip / "a", short)
    weights = {n.removeprefix("vision_model."): x for n, x in tiny_clip.held(clip / "a").items()}
    save_file(weights, short / "model.safetensors", {"format": "pt"})
    recipe = ADDED.recipe(str(clip / "base"), [str(short), str(clip / "b")], 0.5, tiny_clip.IGNORE)
    assert values(bench.add("short", recipe, {})) == pytest.approx(shares(clip, summed(clip, 0.5)))


def test_images_beyond_the_limit_are_decoded_every_time(
    clip: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "HELD", 0)
    base = Model(clip / "base", device="cpu")
    task = tasks_of(bench.loaded, base, "test", ["a"])[0]
    batches = task.batches(base)  # type: ignore[attr-defined]
    assert not isinstance(batches.batches, list) and len(list(batches)) == 3
    again, before = task.score(base).values, bench.rows[0].scores[0].values
    assert again is not None and before is not None and np.array_equal(again, before)
    assert task.score(base, 0.3).count == round(0.3 * batches.count), "of one batch of the three"


def test_a_model_without_image_processor_borrows_the_base_s(clip: Path) -> None:
    base, borrowing = Model(clip / "base"), Model(clip / "a", inputs=clip / "base")
    assert borrowing.inputs_digest == base.inputs_digest
    assert type(borrowing.images) is type(base.images)
    with pytest.raises(MismatchError, match=r"a has no image processor, so it cannot see images\. Copy the base's"):
        _ = Model(clip / "a").images


def test_towers_do_not_match_without_ignore(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(json.dumps(tiny_clip.suite(ignore=[])))
    bench = open_bench(load_suite(tmp_path / "suite.yaml", clip), Places(tmp_path), device="cpu")
    told: list[str] = []
    compare(bench, [ADDED], told.append)
    assert "'task_arithmetic' is left out" in told[0] and "Add them to 'ignore' to keep the base's." in told[0]
