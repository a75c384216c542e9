"""Perplexity is what a plain loop over windows finds, and its interval draws documents."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from taskvec import MismatchError, RecipeError
from taskvec.evaluate.model import Model
from taskvec.evaluate.perplexity import Perplexity

from .language_models import examples, language_model, texts


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return language_model(tmp_path_factory.mktemp("model"), request.param)


def task(**more: Any) -> Perplexity:
    usual = {"examples": examples([*texts(6, longest=30), "cat"]), "tokens": 8, "stride": 3}
    return Perplexity("foretell", **{**usual, **more})


def loop(model: Model, text: str, tokens: int, stride: int) -> tuple[float, int]:
    """Return the sum of −log p and the number of tokens, one window and one token at a time."""
    ids, done, nats, count = model.tokenizer(text)["input_ids"], 0, 0.0, 0
    for begin in range(0, len(ids), stride):
        end = min(begin + tokens, len(ids))
        with torch.no_grad():
            logs = model.module("causal")(torch.tensor([ids[begin:end]])).logits[0].double().log_softmax(-1)
        for i in range(max(done, begin + 1), end):
            nats -= float(logs[i - 1 - begin, ids[i]])
            count += 1
        done = end
        if end == len(ids):
            break
    return nats, count


@pytest.mark.parametrize("stride", [1, 3, 7, 8])
def test_documents_apart_are_as_in_a_plain_loop(model: Model, stride: int) -> None:
    asked = task(stride=stride)
    found = np.array([loop(model, text, 8, stride) for text in asked.examples.inputs[:-1]])
    score = asked.score(model)
    assert score.value == pytest.approx(np.exp(found[:, 0].sum() / found[:, 1].sum()), rel=1e-5)
    assert score.details["tokens"] == found[:, 1].sum()
    assert score.details["skipped"] == 1
    assert (score.count, score.larger_is_better) == (6, False)
    drawn = found[np.random.default_rng(0).integers(0, 6, (2000, 6))].sum(1)
    low, high = np.quantile(np.exp(drawn[:, 0] / drawn[:, 1]), [0.025, 0.975])
    assert (score.low, score.high) == pytest.approx((low, high), rel=1e-5)


def test_joined_documents_are_one_text(model: Model) -> None:
    asked = task(joined=True)
    nats, count = loop(model, "\n\n".join(asked.examples.inputs), 8, 3)
    score = asked.score(model)
    assert score.value == pytest.approx(np.exp(nats / count), rel=1e-5)
    assert score.details["tokens"] == count
    assert score.low < score.value < score.high


def test_a_short_text_is_one_window_with_the_models_own_loss(model: Model) -> None:
    asked = task(examples=examples(["the cat sat on the mat"]))
    ids = torch.tensor([model.tokenizer("the cat sat on the mat")["input_ids"]])
    with torch.no_grad():
        loss = model.module("causal")(ids, labels=ids).loss
    assert asked.score(model).value == pytest.approx(float(loss.exp()), rel=1e-5)


def test_a_share_takes_documents(model: Model) -> None:
    asked = task()
    found = np.array([loop(model, asked.examples.inputs[i], 8, 3) for i in (1, 3, 5)])
    part = asked.score(model, share=0.5)
    assert part.value == pytest.approx(np.exp(found[:, 0].sum() / found[:, 1].sum()), rel=1e-5)
    assert part.count == 3


def test_the_digest_follows_the_windows() -> None:
    asked = task()
    assert len({asked.digest, replace(asked, stride=4).digest, replace(asked, joined=True).digest}) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stride": 9}, r"'stride' must lie between 1 and 'tokens'.*got stride 9 and tokens 8"),
        ({"stride": 0}, r"got stride 0"),
        ({"tokens": 1, "stride": 1}, r"'tokens' be 2 or more"),
        ({"examples": examples([])}, r"test\.csv must hold texts, at least one"),
    ],
)
def test_what_cannot_be_scored_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        task(**change)


def test_texts_of_one_token_are_refused(model: Model) -> None:
    with pytest.raises(RecipeError, match=r"no text of test\.csv has two tokens or more"):
        task(examples=examples(["cat", ""])).score(model)


def test_a_window_longer_than_the_model_reads_is_refused(model: Model) -> None:
    with pytest.raises(MismatchError, match=r"reads at most 64 tokens, and 65 are asked for\. Lower 'tokens'"):
        task(tokens=65).score(model)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("bert, masked", "is a masked language model"),
        ("t5", "cannot be loaded as a causal"),
        ("bert", "lacks the weights"),
    ],
)
def test_a_model_that_does_not_foretell_is_refused(tmp_path: Path, kind: str, said: str) -> None:
    with pytest.raises(MismatchError, match=said):
        task().check(language_model(tmp_path, kind))
