"""Spearman's ρ is scipy's, in each resample too; and a task is the cosines of its pairs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from taskvec import MismatchError, OutputError, RecipeError
from taskvec.evaluate import rank_correlation
from taskvec.evaluate.features import Reading
from taskvec.evaluate.kept import Kept
from taskvec.evaluate.model import Model
from taskvec.evaluate.rank_correlation import spearman, spearman_score
from taskvec.evaluate.similarity import Similarity

from .language_models import examples, language_model, texts


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return language_model(tmp_path_factory.mktemp("bert"), "bert")


def task(count: int = 20) -> Similarity:
    pairs = list(zip(texts(count, 1), texts(count, 2), strict=True))
    pairs[3] = (pairs[0][0], pairs[1][1])  # texts may occur twice
    labels = np.random.default_rng(3).integers(0, 11, count) / 2
    return Similarity("alike", examples(pairs, labels, kind="pair"))


@pytest.mark.parametrize("distinct", [1000, 5])
def test_spearman_is_that_of_scipy_with_ties_and_without(rng: np.random.Generator, distinct: int) -> None:
    a = rng.integers(0, distinct, 60)
    b = a + rng.integers(0, distinct, 60) / 3
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)


def test_a_constant_column_orders_nothing() -> None:
    assert spearman([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) == 0


def test_each_resample_is_ranked_anew(rng: np.random.Generator) -> None:
    a, b = rng.integers(0, 6, 40), rng.random(40)
    b += a / 5
    drawn = rng.integers(0, 40, (200, 40))
    found = rank_correlation._correlation(rank_correlation._places(a, b)[drawn])
    np.testing.assert_allclose(found, [spearmanr(a[i], b[i]).statistic for i in drawn], atol=1e-12)
    score = spearman_score("t", a, b)
    assert score.low < np.median(found) < score.high


def test_answers_are_the_cosines_of_the_mean_states(model: Model) -> None:
    asked = task()
    vectors = []
    for text in [text for pair in asked.examples.inputs for text in pair]:
        with torch.no_grad():
            vectors.append(model.module()(**model.tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0))
    a, b = torch.stack(vectors[::2]), torch.stack(vectors[1::2])
    expected = torch.cosine_similarity(a, b).numpy()
    np.testing.assert_allclose(asked.answers(model), expected, atol=1e-5)
    score = asked.score(model)
    assert score.value == pytest.approx(spearmanr(expected, asked.examples.labels).statistic, abs=1e-6)
    assert (score.metric, score.count, score.larger_is_better) == ("spearman", 20, True)


def test_a_share_is_some_of_the_pairs(model: Model) -> None:
    asked = task()
    np.testing.assert_allclose(asked.answers(model, share=0.25), asked.answers(model)[[2, 6, 10, 14, 18]], atol=1e-6)
    assert asked.score(model, share=0.25).count == 5


def test_the_digest_follows_the_data_and_the_reading() -> None:
    asked = task()
    other = replace(asked, reading=replace(asked.reading, tokens=8))
    assert len({asked.digest, other.digest, task(19).digest}) == 3
    assert asked.digest == task().digest


@pytest.mark.parametrize(
    ("inputs", "labels", "names", "kind", "said"),
    [
        (["a", "b"], [1.0, 2.0], (), "text", r"test\.csv holds no pairs\. Name two columns"),
        ([("a", "b")] * 2, [0, 1], ("no", "yes"), "pair", r"the labels of test\.csv must be numbers"),
        ([("a", "b")] * 2, None, (), "pair", r"must be numbers"),
        ([("a", "b")], [1.0], (), "pair", r"fewer than two pairs"),
    ],
)
def test_what_cannot_be_scored_is_refused(inputs: Any, labels: Any, names: Any, kind: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        Similarity("alike", examples(inputs, labels, names, kind))


def test_a_model_of_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match=r"test\.csv holds texts, and .* has no tower for texts"):
        task().score(language_model(tmp_path, "vit"))


def test_clips_texts_are_compared_where_its_pictures_are(clip: Model) -> None:
    asked = Similarity("alike", examples(list(zip(texts(6, 1), texts(6, 2), strict=True)), np.arange(6.0), kind="pair"))
    flat = [text for pair in asked.examples.inputs for text in pair]
    with torch.no_grad():
        inputs = clip.tokenizer(flat, return_tensors="pt", padding=True)
        module = clip.module()
        states = module.text_model(**inputs).pooler_output
        vectors = torch.nn.functional.normalize(module.text_projection(states), dim=1)
    np.testing.assert_allclose(asked.answers(clip), (vectors[::2] * vectors[1::2]).sum(1), atol=1e-6)


def test_what_was_drawn_is_kept(model: Model, tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    first, again = (kept.score(model, task()) for _ in range(2))
    assert first.draws is not None and again.draws is not None
    np.testing.assert_allclose(first.draws, again.draws, atol=1e-6)


def test_a_cache_that_cannot_be_written_is_told_before_the_work(model: Model, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"scores cannot be kept in .*file: .*Type --cache with another folder"):
        Kept(tmp_path / "file").score(model, task())


def test_texts_longer_than_the_encoder_reads_are_cut(model: Model) -> None:
    most = model.config.max_position_embeddings
    pairs = [("word " * (most + 20), "word"), ("other", "words of another kind")]
    asked = Similarity("long", examples(pairs, np.arange(2.0), kind="pair"), Reading(tokens=10 * most))
    assert np.isfinite(asked.answers(model)).all()
