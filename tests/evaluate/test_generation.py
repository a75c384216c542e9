"""What models write and choose, against plain loops without batches."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from taskvec import MismatchError, RecipeError
from taskvec.evaluate.generation import Generation, written
from taskvec.evaluate.model import Model

from .language_models import examples, language_model, texts

NAMES = ("yes", "no the", "maybe it is")


@pytest.fixture(scope="module", params=["t5", "gpt2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return language_model(tmp_path_factory.mktemp("model"), request.param, seed=1)


def task(**more: Any) -> Generation:
    usual = {"examples": examples(texts(12), [i % 3 for i in range(12)], NAMES), "tokens": 40}
    return Generation("say", **{**usual, **more})


def next_logs(model: Model, prompt: str, before: Sequence[int]) -> torch.Tensor:
    """Return log p of every next token, after a prompt and some tokens of an answer."""
    ids = model.tokenizer(prompt)["input_ids"]
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            start = [model.config.decoder_start_token_id, *before]
            found = model.module("seq2seq")(torch.tensor([ids]), decoder_input_ids=torch.tensor([start]))
        else:
            found = model.module("causal")(torch.tensor([[*ids, *before]]))
    return found.logits[0, -1].double().log_softmax(-1)


def greedy(model: Model, prompt: str, new_tokens: int) -> str:
    said: list[int] = []
    while len(said) < new_tokens and (not said or said[-1] != model.tokenizer.eos_token_id):
        said.append(int(next_logs(model, prompt, said).argmax()))
    return str(model.tokenizer.decode(said, skip_special_tokens=True)).strip().lower()


@pytest.fixture(scope="module")
def chosen(model: Model) -> dict[str, list[int]]:
    """What a loop over prompts, answers and tokens chooses, by the sum and by the mean of log p."""
    found: dict[str, list[int]] = {"sum": [], "mean": []}
    answers = [model.tokenizer(name)["input_ids"] for name in NAMES]
    for prompt in texts(12):
        logs = [[float(next_logs(model, prompt, ids[:i])[t]) for i, t in enumerate(ids)] for ids in answers]
        found["sum"].append(int(np.argmax([np.sum(x) for x in logs])))
        found["mean"].append(int(np.argmax([np.mean(x) for x in logs])))
    assert found["sum"] != found["mean"], "a test could not tell the two apart"
    return found


def test_writing_in_batches_is_writing_alone(model: Model) -> None:
    prompts = texts(9, 5)
    said = written(model, prompts, tokens=40, new_tokens=5)
    assert said == [greedy(model, prompt, 5) for prompt in prompts]
    assert len(set(said)) > 1


def test_a_long_prompt_is_cut_where_it_hurts_least(model: Model) -> None:
    [prompt] = texts(1, 5)
    parts = prompt.split()
    assert len(parts) > 6
    kept = parts[:5] if model.config.is_encoder_decoder else parts[-5:]  # T5's end token takes one of six
    tokens = 6 if model.config.is_encoder_decoder else 5
    assert written(model, [prompt], tokens, 5) == [greedy(model, " ".join(kept), 5)]


def test_an_answer_is_right_when_its_text_is_the_labels(model: Model) -> None:
    prompts = texts(8, 5)
    truth = [greedy(model, f"is it big {prompt} maybe", 3) for prompt in prompts]
    names = tuple(dict.fromkeys([*(text.upper() for text in truth), "red red red red"]))
    labels = [names.index(text.upper()) if i % 4 else len(names) - 1 for i, text in enumerate(truth)]
    asked = Generation("say", examples(prompts, labels, names), template="is it big {} maybe", tokens=40, new_tokens=3)
    score = asked.score(model)
    assert score.value == 6 / 8
    assert score.details["no label"] == 0
    assert asked.score(model, share=0.5).count == 4


@pytest.mark.parametrize("likelihood", ["sum", "mean"])
def test_choices_are_those_of_a_plain_loop(model: Model, chosen: dict[str, list[int]], likelihood: str) -> None:
    asked = task(how="choices", likelihood=likelihood)
    score = asked.score(model)
    assert score.values is not None
    assert asked.examples.labels is not None
    np.testing.assert_array_equal(score.values, np.array(chosen[likelihood]) == asked.examples.labels)
    assert sum(facts["examples"] for facts in score.details["per_class"].values()) == 12


def test_numbers_are_compared_by_rank(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    said = ["2.5", "4.0", "cat", "1.0", " 3", "nan"]
    monkeypatch.setattr("taskvec.evaluate.generation.written", lambda *_: said)
    labels = [3.0, 4.5, 1.0, 0.5, 2.0, 1.5]
    score = task(examples=examples(texts(6), labels), metric="spearman").score(model)
    assert score.value == pytest.approx(spearmanr([2.5, 4.0, 0.0, 1.0, 3.0, 0.0], labels).statistic)
    assert score.details == {"no number": 2}


def test_a_template_takes_both_texts_of_a_pair(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Generation(
        "say", examples([("a {} b", "c")], [0], ("yes",), "pair"), template="is '{}' like {}?", tokens=40
    )
    prompts: list[str] = []
    monkeypatch.setattr("taskvec.evaluate.generation.written", lambda _, given, *__: prompts.extend(given) or ["Yes"])
    asked.score(model)
    assert prompts == ["is 'a {} b' like c?"]


def test_the_digest_follows_what_is_asked() -> None:
    asked = task()
    changes: list[dict[str, Any]] = [
        {"how": "choices"},
        {"template": "is {}"},
        {"new_tokens": 3},
        {"likelihood": "mean"},
    ]
    assert len({asked.digest, *(replace(asked, **change).digest for change in changes)}) == 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"how": "guess"}, r"'how' must be generate or choices, got 'guess'"),
        ({"likelihood": "max"}, r"'likelihood' must be sum or mean"),
        ({"metric": "f1"}, r"'metric' must be accuracy or spearman"),
        ({"metric": "spearman", "how": "choices"}, r"numbers are written, not chosen"),
        ({"metric": "spearman"}, r"the metric 'spearman' needs labels that are numbers"),
        ({"examples": examples(["a"], [1.0])}, r"the metric 'accuracy' needs labels that are texts"),
        ({"examples": examples(["a"])}, r"test\.csv has no labels"),
        ({"examples": examples([], [], NAMES)}, r"test\.csv must hold texts, at least one"),
        ({"template": "is it?"}, r"the template 'is it\?' must hold 1 '\{\}'"),
    ],
)
def test_what_cannot_be_scored_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        task(**change)


def test_a_model_that_writes_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match=r"is not a causal language model: it lacks the weights"):
        task().check(language_model(tmp_path, "bert"))
