"""The three measures as worked by hand, the nearest documents as by brute force, and a task of a tiny encoder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from taskvec import MismatchError, RecipeError
from taskvec.evaluate import retrieval
from taskvec.evaluate.model import Model
from taskvec.evaluate.retrieval import Retrieval, measured, nearest

from .language_models import examples, language_model, texts


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return language_model(tmp_path_factory.mktemp("bert"), "bert")


def task(**more: Any) -> Retrieval:
    documents = texts(40, 1)
    queries = [" ".join(text.split()[:4]) for text in documents[::4]]
    relevance = [{4 * i: 2, (4 * i + 7) % 40: 1, (4 * i + 9) % 40: 0} for i in range(10)]
    return Retrieval("find", examples(queries), examples(documents), relevance, **more)


# Found: documents 3, 0, 5, 1. Relevant: 0 (grade 2), 1 (grade 1), 9 (grade 1, not found); 3 was judged irrelevant.
@pytest.mark.parametrize(
    ("measure", "by_hand"),
    [
        ("recall@1", 0.0),
        ("recall@2", 1 / 3),
        ("recall@4", 2 / 3),
        ("mrr@1", 0.0),
        ("mrr@4", 1 / 2),
        ("ndcg@1", 0.0),
        ("ndcg@2", (2 / np.log2(3)) / (2 + 1 / np.log2(3))),
        ("ndcg@4", (2 / np.log2(3) + 1 / np.log2(5)) / (2 + 1 / np.log2(3) + 1 / np.log2(4))),
    ],
)
def test_measures_are_those_worked_by_hand(measure: str, by_hand: float) -> None:
    found = np.array([[3, 0, 5, 1], [9, 8, 7, 6]])
    relevance = [{0: 2, 1: 1, 9: 1, 3: 0}, {9: 1}]
    np.testing.assert_allclose(measured(measure, found, relevance), [by_hand, 1.0], atol=1e-12)


def test_blocks_find_what_the_whole_table_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "ROWS", 3)
    monkeypatch.setattr(retrieval, "COLUMNS", 4)
    generator = torch.Generator().manual_seed(0)
    queries, documents = (torch.randn(n, 5, generator=generator) for n in (7, 18))
    expected = (queries @ documents.T).argsort(1, descending=True)
    for depth in (1, 6, 18, 30):
        np.testing.assert_array_equal(nearest(queries, documents, depth), expected[:, :depth].numpy())


def test_a_task_is_its_measure_over_cosines(model: Model) -> None:
    asked = task(metric="recall@3")

    def unit(all_texts: Any) -> torch.Tensor:
        with torch.no_grad():
            states = [model.module()(**model.tokenizer(t, return_tensors="pt")).last_hidden_state[0] for t in all_texts]
        return torch.nn.functional.normalize(torch.stack([s.mean(0) for s in states]), dim=1)

    order = (unit(asked.queries.inputs) @ unit(asked.documents.inputs).T).argsort(1, descending=True)[:, :3].tolist()
    expected = [len({4 * i, (4 * i + 7) % 40} & set(found)) / 2 for i, found in enumerate(order)]
    score = asked.score(model)
    assert score.values is not None
    np.testing.assert_allclose(score.values, expected)
    assert score.value == pytest.approx(np.mean(expected))
    assert 0 < score.value < 1
    assert set(score.details) == {"recall@3", *retrieval.REPORTED}
    assert score.details["recall@100"] == 1.0


def test_a_share_takes_queries_and_all_documents(model: Model) -> None:
    asked = task(metric="mrr@10")
    whole, part = asked.score(model), asked.score(model, share=0.5)
    assert whole.values is not None
    assert part.values is not None
    np.testing.assert_array_equal(part.values, whole.values[[1, 3, 5, 7, 9]])


def test_the_digest_follows_relevance_and_metric() -> None:
    asked = task()
    others = [replace(asked, relevance=[{0: 1}] * 10), replace(asked, metric="mrr@10"), asked]
    assert len({other.digest for other in others}) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metric": "map@10"}, r"'metric' must be ndcg@k, mrr@k or recall@k, such as ndcg@10; got 'map@10'"),
        ({"metric": "ndcg@0"}, r"'metric' must be"),
        ({"relevance": [{0: 1}] * 9}, r"10 queries need as many entries of 'relevance', got 9"),
        ({"relevance": [{0: 1}] * 9 + [{3: 0}]}, r"no document belongs to query 9"),
        ({"relevance": [{0: 1}] * 9 + [{40: 1}]}, r"a document of query 9 is not in test\.csv"),
        ({"documents": examples([])}, r"test\.csv must hold texts, at least one"),
    ],
)
def test_what_cannot_be_scored_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        replace(task(), **change)


def test_a_model_of_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match=r"has no tower for texts"):
        task().score(language_model(tmp_path, "vit"))
