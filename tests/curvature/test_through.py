"""RegMean++: what goes into a block is what merged blocks before it give."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import encoders
from curvature import slow
from curvature.conftest import lesson_on
from taskvec import MismatchError, OutputError, RecipeError
from taskvec.curvature import Estimating, measure_curvature, measure_through
from taskvec.evaluate.data import Source, read
from taskvec.evaluate.model import Model
from taskvec.finetune.lessons import Lesson
from taskvec.store.statistics import Statistics

PREFIX = {"bert": "", "gpt2": "transformer."}
FIRST = {"bert": "encoder.layer.0.", "gpt2": "h.0."}


@pytest.fixture(params=["bert", "gpt2"])
def family(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Two fine-tunes of a tiny base, `one` and `two`, and the examples of two tasks."""
    name = str(request.param)
    getattr(encoders, name)(tmp_path / "base")
    for seed, model in enumerate(("one", "two")):
        encoders.changed(tmp_path / "base", tmp_path / model, seed=seed + 1, size=0.3)
    for task in ("pets", "taste"):
        encoders.table(tmp_path / f"{task}.tsv", encoders.sentences(task, 6, seed=1))
    return name


def lessons_of(path: Path) -> list[Lesson]:
    base = Model(path / "base", device="cpu")
    return [lesson_on(base, read(Source(path=str(path / f"{task}.tsv")))) for task in ("pets", "taste")]


def measured(path: Path, hand: Model) -> list[Statistics]:
    folders = [path / "stats" / name for name in ("one", "two")]
    (path / "stats").mkdir(exist_ok=True)
    return measure_through(hand, [path / "one", path / "two"], lessons_of(path), folders, Estimating(batch=4))


def linear_of(model: Model) -> list[str]:
    kinds = ("Linear", "Conv1D")
    return [name for name, module in model.module().named_modules() if type(module).__name__ in kinds]


def grams(model: Model, lesson: Lesson) -> dict[str, np.ndarray]:
    """Return the Gram matrices of what goes into linear layers, each example alone."""
    seen = list(slow.layers(model, lesson, {name: f"{name}.weight" for name in linear_of(model)}))
    inputs = {name: torch.cat([one[name][0] for one in seen]).double() for name in seen[0]}
    return {name: (x.T @ x / len(x)).numpy() for name, x in inputs.items()}


def by_regmean(weights: Sequence[torch.Tensor], forms: Sequence[np.ndarray], turned: bool) -> torch.Tensor:
    forms = [0.9 * g + 0.1 * np.diag(np.diag(g)) for g in forms]
    upright = [x.double().numpy().T if turned else x.double().numpy() for x in weights]
    out = sum(x @ g for x, g in zip(upright, forms, strict=True)) @ np.linalg.inv(sum(forms))
    return torch.from_numpy((out.T if turned else out).astype(np.float32))


def test_block_by_block(family: str, tmp_path: Path) -> None:
    """The same by hand: a model with merged blocks before, and a task's own block, gives a task's Gram matrices."""
    hand = Model(tmp_path / "base", device="cpu")
    found = measured(tmp_path, hand)
    own = [Model(tmp_path / name, device="cpu") for name in ("one", "two")]
    states = [{name: x.clone() for name, x in model.module().state_dict().items()} for model in own]
    merged = {name: (x + states[1][name]) / 2 if x.is_floating_point() else x for name, x in states[0].items()}
    true: list[dict[str, np.ndarray]] = [{}, {}]
    blocks = [FIRST[family], FIRST[family].replace("0", "1")]
    linear = {f"{name}.weight" for name in linear_of(own[0])}
    for block in blocks:
        names = [name for name in linear if name.startswith(block)]
        for task, lesson in enumerate(lessons_of(tmp_path)):
            inside = {name: states[task][name] if name.startswith(block) else x for name, x in merged.items()}
            own[task].module().load_state_dict(inside)
            seen = grams(own[task], lesson)
            true[task] |= {name: seen[name] for name in names}
        for name in names:
            weights = [states[task][name] for task in range(2)]
            merged[name] = by_regmean(weights, [true[task][name] for task in range(2)], family == "gpt2")
    for task in range(2):
        for name, gram in true[task].items():
            np.testing.assert_allclose(found[task].read(PREFIX[family] + name, "input"), gram, rtol=1e-3, atol=1e-4)
    held = hand.module().state_dict()
    for name in [name for name in linear if name.startswith(tuple(blocks))]:
        torch.testing.assert_close(held[name], merged[name], rtol=1e-3, atol=1e-4)


def test_facts(family: str, tmp_path: Path) -> None:
    found = measured(tmp_path, Model(tmp_path / "base", device="cpu"))
    plain = measure_curvature(
        Model(tmp_path / "one", device="cpu"), lessons_of(tmp_path)[0], tmp_path / "plain", Estimating(estimator="gram")
    )
    assert found[0].kind == "gram"
    assert found[0].fingerprint == plain.fingerprint != found[1].fingerprint
    assert found[0].facts["settings"]["through"] == [one.fingerprint for one in found]
    assert found[0].facts["data"] == plain.facts["data"]
    assert found[0].facts["stability"]["examples"] == 6
    deep = next(name for name in plain.names if ".1." in name)
    assert not np.allclose(found[0].read(deep, "input"), plain.read(deep, "input"), rtol=1e-3)


def test_wrong(tmp_path: Path, albert: tuple[Model, Lesson]) -> None:
    model, lesson = albert
    two = [model.path, model.path]
    with pytest.raises(RecipeError, match="got 2 models, 1 lessons and 2 folders"):
        measure_through(model, two, [lesson], [tmp_path / "a", tmp_path / "b"])
    with pytest.raises(MismatchError, match=r"'encoder\..*' runs several times, so no block comes before it"):
        measure_through(model, two, [lesson, replace(lesson)], [tmp_path / "a", tmp_path / "b"])
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="a exists and holds no statistics"):
        measure_through(model, two, [lesson, lesson], [tmp_path / "a", tmp_path / "b"])
    encoders.bert(tmp_path / "narrow", intermediate_size=24)
    encoders.bert(tmp_path / "bert")
    base = Model(tmp_path / "bert", device="cpu")
    with pytest.raises(MismatchError, match=r"narrow has 'encoder.*, not .*Give models of one form"):
        measure_through(
            base, [tmp_path / "bert", tmp_path / "narrow"], [lesson_on(base, lesson.examples)] * 2,
            [tmp_path / "c", tmp_path / "d"],
        )  # fmt: skip
