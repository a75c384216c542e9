"""A task file of lm-evaluation-harness, asked of a tiny causal model, against a plain loop."""

import importlib.util
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from taskvec import MismatchError, MissingExtraError, RecipeError, StoreError
from taskvec.evaluate.harness import Harness
from taskvec.evaluate.model import Model

from .language_models import language_model, texts

CHOICES = ["yes", "no the", "maybe it is"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return language_model(tmp_path_factory.mktemp("gpt2"), "gpt2", seed=1)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return task_file(tmp_path_factory.mktemp("task"))


@pytest.fixture(scope="module", autouse=True)
def _offline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


def task_file(folder: Path, **change: Any) -> Path:
    """Write ten questions and the task that asks them; return the task's file."""
    rows = [{"question": text, "choices": CHOICES, "answer": i % 3} for i, text in enumerate(texts(10))]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "pets", "dataset_path": "json", "test_split": "test", "output_type": "multiple_choice",
        "dataset_kwargs": {"data_files": {"test": str(folder / "questions.jsonl")}},
        "doc_to_text": "{{question}}", "doc_to_choice": "choices", "doc_to_target": "answer",
        "metric_list": [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in ("acc", "acc_norm")],
    } | change  # fmt: skip
    (folder / "pets.yaml").write_text(yaml.safe_dump(task))
    return folder / "pets.yaml"


def plain_loop(model: Model, by_letters: bool) -> list[bool]:
    right = []
    for i, text in enumerate(texts(10)):
        sums = []
        for choice in CHOICES:
            known, answer = (model.tokenizer(part)["input_ids"] for part in (text, choice))
            with torch.no_grad():
                logs = model.module("causal")(torch.tensor([known + answer])).logits[0].log_softmax(-1)
            total = sum(float(logs[len(known) + k - 1, token]) for k, token in enumerate(answer))
            sums.append(total / len(choice) if by_letters else total)
        right.append(int(np.argmax(sums)) == i % 3)
    return right


@pytest.mark.parametrize(("measure", "metric"), [(None, "acc_norm"), ("acc", "acc"), ("acc,none", "acc")])
def test_a_task_file_scores_as_a_plain_loop(model: Model, file: Path, measure: str | None, metric: str) -> None:
    task = Harness("pets", str(file), measure)
    expected = plain_loop(model, metric == "acc_norm")
    score = task.score(model)
    assert (task.metric, score.metric, score.count) == (metric, metric, 10)
    assert score.value == pytest.approx(np.mean(expected))
    assert score.values is not None
    np.testing.assert_array_equal(score.values, expected)
    assert score.low <= score.value <= score.high
    assert task.larger_is_better


def test_a_share_and_a_limit_take_questions_evenly(model: Model, file: Path) -> None:
    expected = np.array(plain_loop(model, by_letters=False))
    part = Harness("pets", str(file), "acc").score(model, share=0.5)
    limited = Harness("pets", str(file), "acc", limit=5).score(model)
    for score in (part, limited):
        assert score.values is not None
        np.testing.assert_array_equal(score.values, expected[[1, 3, 5, 7, 9]])


def test_a_perplexity_is_found_anew_of_each_draw(model: Model, tmp_path: Path) -> None:
    metric = {"metric": "word_perplexity", "aggregation": "weighted_perplexity", "higher_is_better": False}
    change = {"doc_to_text": "", "doc_to_target": "{{question}}", "metric_list": [metric]}
    task = Harness("pets", str(task_file(tmp_path, output_type="loglikelihood_rolling", **change)))
    score = task.score(model)
    nats = []
    for text in texts(10):
        ids = [model.tokenizer.eos_token_id, *model.tokenizer(text)["input_ids"]]
        with torch.no_grad():
            logs = model.module("causal")(torch.tensor([ids])).logits[0].log_softmax(-1)
        nats.append(-sum(float(logs[i, ids[i + 1]]) for i in range(len(ids) - 1)))
    words = sum(len(text.split()) for text in texts(10))
    assert score.value == pytest.approx(np.exp(sum(nats) / words), rel=1e-4)
    assert score.low < score.value < score.high
    assert (task.metric, task.larger_is_better, score.larger_is_better) == ("word_perplexity", False, False)
    assert score.values is None


@pytest.mark.parametrize("by_size", [True, False])
def test_a_group_of_ones_own_is_known_by_name(model: Model, tmp_path: Path, by_size: bool) -> None:
    for name, count in (("cats", 4), ("dogs", 8)):
        (tmp_path / name).mkdir()
        data = task_file(tmp_path / name, task=name).parent / "questions.jsonl"
        data.write_text("".join(data.read_text().splitlines(keepends=True)[:count]))
    mean = {"metric": "acc", "aggregation": "mean", "weight_by_size": by_size}
    group = {"group": "all_pets", "task": ["cats", "dogs"], "aggregate_metric_list": [mean]}
    (tmp_path / "group.yaml").write_text(yaml.safe_dump(group))
    right = plain_loop(model, by_letters=False)
    score = Harness("pets", "all_pets", "acc", include=str(tmp_path)).score(model)
    of_all = np.mean(right[:4] + right[:8])
    assert score.value == pytest.approx(of_all if by_size else (np.mean(right[:4]) + np.mean(right[:8])) / 2)
    assert (score.count, score.values is not None) == (12, by_size)
    assert score.low <= score.value <= score.high


def test_a_group_without_a_mean_is_refused(model: Model, tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        task_file(tmp_path / name, task=name, tag="tagged")
    (tmp_path / "group.yaml").write_text(yaml.safe_dump({"group": "grouped", "task": ["cats", "dogs"]}))
    for name in ("tagged", "grouped"):
        with pytest.raises(RecipeError, match=rf"'{name}' stands for 2 tasks without a mean\. Name one: cats"):
            Harness("pets", name, include=str(tmp_path)).check(model)


def test_shots_stand_before_the_question(model: Model, tmp_path: Path) -> None:
    file = task_file(tmp_path, fewshot_split="test")
    assert Harness("pets", str(file), shots=2).score(model).details["shots"] == {"pets": 2}


def test_a_task_that_runs_code_is_refused(model: Model, tmp_path: Path) -> None:
    file = task_file(tmp_path, unsafe_code=True)
    with pytest.raises(RecipeError, match=r"task 'pets' runs code that the model writes"):
        Harness("pets", str(file)).check(model)


def test_nothing_is_printed_and_nothing_stays_changed(
    model: Model, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import lm_eval.api.task

    bar, level = lm_eval.api.task.tqdm, logging.getLogger("lm_eval").level
    Harness("pets", str(file)).score(model)
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""
    assert lm_eval.api.task.tqdm is bar
    assert logging.getLogger("lm_eval").level == level


def test_the_digest_follows_questions_and_settings(file: Path, tmp_path: Path) -> None:
    one = Harness("pets", str(file)).digest
    other = task_file(tmp_path, doc_to_text="is it {{question}}")
    assert len({one, Harness("pets", str(file), "acc").digest, Harness("pets", str(other)).digest}) == 3
    assert Harness("pets", str(file)).digest == one
    (tmp_path / "questions.jsonl").write_text((tmp_path / "questions.jsonl").read_text().replace("cat", "dog"))
    assert Harness("pets", str(other)).digest != Harness("pets", str(file)).digest


def test_a_metric_that_the_task_lacks_is_refused(model: Model, file: Path) -> None:
    with pytest.raises(RecipeError, match=r"has no metric 'f1'\. It has acc, acc_norm"):
        Harness("pets", str(file), "f1").check(model)


def test_a_filter_that_the_task_lacks_is_refused(model: Model, file: Path) -> None:
    with pytest.raises(RecipeError, match=r"has no result 'acc,strict'\. It has acc,none, acc_norm,none"):
        Harness("pets", str(file), "acc,strict").score(model)


def test_a_file_that_is_not_there_is_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"pets\.yaml does not exist\. Give a task's YAML file"):
        Harness("pets", str(tmp_path / "pets.yaml")).check(model)


def test_data_that_cannot_be_read_is_said(model: Model, tmp_path: Path) -> None:
    file = task_file(tmp_path)
    (tmp_path / "questions.jsonl").unlink()
    with pytest.raises(StoreError, match=r"the task '.*pets\.yaml' cannot be loaded: "):
        Harness("pets", str(file)).check(model)


def test_an_encoder_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match=r"is not a causal language model"):
        Harness("pets", str(file)).check(language_model(tmp_path, "bert"))


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"'limit' must be 1 or more, got 0"):
        Harness("pets", "pets", limit=0)


def test_without_lm_eval_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    assert importlib.util.find_spec("lm_eval"), "the tests need the extra"
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'taskvec\[eval\]'"):
        _ = Harness("pets", str(file)).metric
