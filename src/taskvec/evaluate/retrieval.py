"""Retrieval: a sentence encoder finds the documents that belong to a query."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import RecipeError
from .batches import Batches, evenly
from .data import Examples
from .digest import digest_of
from .features import Reading, must_read, ready_texts, text_features
from .model import Model
from .score import Score, Values, mean_score

if TYPE_CHECKING:
    import torch

Found = npt.NDArray[np.int64]

REPORTED = ("ndcg@10", "mrr@10", "recall@1", "recall@10", "recall@100")
MEASURES = r"(ndcg|mrr|recall)@([1-9]\d*)"

ROWS = 128
"""Queries compared at a time."""

COLUMNS = 16384
"""Documents compared at a time."""


@dataclass(frozen=True)
class Retrieval:
    """One task: queries, documents, and which documents belong to which query.

    Documents are ordered by cos(f(query), f(document)), and a measure looks at the first k of them:

        recall@k = relevant among the first k / relevant
        mrr@k    = 1 / rank of the first relevant document, 0 where it is not among the first k
        ndcg@k   = Σ_{r≤k} g_r / log2(r + 1), divided by the same sum of the best order; g: the grade of relevance

    All three are means over queries, as trec_eval and BEIR define them.

    queries, documents: texts; labels are not looked at.
    relevance: of each query the places of its documents and their grades, {document: grade}; a grade above 0 is
        relevant, and documents without a grade are not.
    metric: the one that is the score, such as `ndcg@10`; the usual others are in its details.
    Edge: which of two documents with equal cosines comes first is not defined.
    Source: Thakur et al. 2021, arXiv:2104.08663, §4; Järvelin & Kekäläinen 2002, doi:10.1145/582415.582418.
    """

    name: str
    queries: Examples
    documents: Examples
    relevance: Sequence[Mapping[int, float]]
    reading: Reading = field(default_factory=Reading)
    metric: str = "ndcg@10"
    larger_is_better: bool = True
    _ready: dict[tuple[str, float], Batches] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be scored.

        Raises:
            RecipeError: no queries or documents, inputs that are no texts, an unknown metric, a query to which no
                document belongs, or one to which a document belongs that does not exist.
        """
        if not re.fullmatch(MEASURES, self.metric):
            raise RecipeError(f"'metric' must be ndcg@k, mrr@k or recall@k, such as ndcg@10; got {self.metric!r}.")
        for part in (self.queries, self.documents):
            if part.kind != "text" or not len(part):
                raise RecipeError(f"task '{self.name}': {part.origin} must hold texts, at least one.")
        if len(self.relevance) != len(self.queries):
            raise RecipeError(
                f"task '{self.name}': {len(self.queries)} queries need as many entries of 'relevance', "
                f"got {len(self.relevance)}."
            )
        for place, grades in enumerate(self.relevance):
            if not any(grade > 0 for grade in grades.values()):
                raise RecipeError(f"task '{self.name}': no document belongs to query {place}. Leave the query out.")
            if not all(0 <= document < len(self.documents) for document in grades):
                raise RecipeError(f"task '{self.name}': a document of query {place} is not in {self.documents.origin}.")

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides a score but the model."""
        relevance = [sorted((int(d), float(g)) for d, g in grades.items()) for grades in self.relevance]
        facts = (self.queries.digest, self.documents.digest, self.reading.pooling, self.reading.tokens)
        return digest_of(self.metric, *facts, relevance)

    def check(self, model: Model) -> None:
        """Refuse a model without a tower for texts, before any work."""
        must_read(model, self.queries.origin)

    def score(self, model: Model, share: float = 1.0) -> Score:
        """Return the metric's mean over queries; a share takes every k-th query and always all documents."""
        self.check(model)
        chosen = evenly(len(self.queries), share)
        grades = [self.relevance[i] for i in chosen]
        measures = dict.fromkeys((self.metric, *REPORTED))
        depth = max(int(measure.split("@")[1]) for measure in measures)
        queries = self._vectors(model, self.queries, chosen, share)
        found = nearest(queries, self._vectors(model, self.documents, range(len(self.documents)), 1.0), depth)
        each = {measure: measured(measure, found, grades) for measure in measures}
        details = {measure: float(values.mean()) for measure, values in each.items()}
        return mean_score(self.name, self.metric, each[self.metric], details)

    def _vectors(self, model: Model, texts: Examples, chosen: Sequence[int], share: float) -> "torch.Tensor":
        from torch.nn.functional import normalize

        key = (f"{model.inputs_digest} {texts.digest}", share)
        if key not in self._ready:
            self._ready[key] = ready_texts(model, [texts.inputs[i] for i in chosen], self.reading)
        return normalize(text_features(model, self._ready[key], self.reading), dim=1).to(model.device)


def nearest(queries: "torch.Tensor", documents: "torch.Tensor", depth: int) -> Found:
    """Return each query's `depth` documents of largest inner product, best first: (query, depth) places.

    The table of all products is never held, only blocks of it.
    """
    import torch

    depth, rows = min(depth, len(documents)), []
    for first in range(0, len(queries), ROWS):
        query = queries[first : first + ROWS]
        best = torch.empty(len(query), 0, device=query.device)
        place = torch.empty(len(query), 0, dtype=torch.int64, device=query.device)
        for start in range(0, len(documents), COLUMNS):
            block = query @ documents[start : start + COLUMNS].T
            values, inside = block.topk(min(depth, block.shape[1]), dim=1)
            both, places = torch.cat([best, values], 1), torch.cat([place, inside + start], 1)
            best, kept = both.topk(min(depth, both.shape[1]), dim=1)
            place = places.gather(1, kept)
        rows.append(place.cpu())
    return np.asarray(torch.cat(rows).numpy())


def measured(measure: str, found: Found, relevance: Sequence[Mapping[int, float]]) -> Values:
    """Return a measure such as `ndcg@10` of every query, (query,); `found` is (query, depth), best first.

    >>> measured("mrr@10", np.array([[4, 2, 7]]), [{2: 1}])
    array([0.5])
    """
    kind, k = measure.split("@")
    of = {"ndcg": _ndcg, "mrr": _mrr, "recall": _recall}[kind]
    return np.array([of(row[: int(k)].tolist(), grades, int(k)) for row, grades in zip(found, relevance, strict=True)])


def _recall(found: Sequence[int], grades: Mapping[int, float], k: int) -> float:
    relevant = {document for document, grade in grades.items() if grade > 0}
    return len(relevant & set(found)) / len(relevant)


def _mrr(found: Sequence[int], grades: Mapping[int, float], k: int) -> float:
    return next((1 / rank for rank, document in enumerate(found, 1) if grades.get(document, 0) > 0), 0.0)


def _ndcg(found: Sequence[int], grades: Mapping[int, float], k: int) -> float:
    best = sorted((grade for grade in grades.values() if grade > 0), reverse=True)[:k]
    return _gain([max(grades.get(document, 0), 0) for document in found]) / _gain(best)


def _gain(grades: Sequence[float]) -> float:
    return float(sum(grade / np.log2(rank + 1) for rank, grade in enumerate(grades, 1)))
