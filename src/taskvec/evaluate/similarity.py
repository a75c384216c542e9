"""Similarity of texts: a sentence encoder orders pairs as people did."""

from dataclasses import dataclass, field

import numpy as np

from ..errors import RecipeError
from .batches import Batches, evenly
from .data import Examples
from .digest import digest_of
from .features import Reading, must_read, ready_texts, text_features
from .model import Model
from .rank_correlation import spearman_score
from .score import Score, Values


@dataclass(frozen=True)
class Similarity:
    """One task: pairs of texts, and how alike each is said to be.

        answer(a, b) = cos(f(a), f(b)),    score = Spearman's ρ of answers and labels

    Each distinct text is encoded once.
    """

    name: str
    examples: Examples
    reading: Reading = field(default_factory=Reading)
    metric: str = "spearman"
    larger_is_better: bool = True
    _ready: dict[tuple[str, float], Batches] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be scored.

        Raises:
            RecipeError: inputs that are no pairs, labels that are no numbers, or fewer than two pairs.
        """
        origin = self.examples.origin
        if self.examples.kind != "pair":
            raise RecipeError(f"task '{self.name}': {origin} holds no pairs. Name two columns, e.g. 'text: [a, b]'.")
        if self.examples.labels is None or self.examples.names:
            raise RecipeError(f"task '{self.name}': the labels of {origin} must be numbers: how alike each pair is.")
        if len(self.examples) < 2:
            raise RecipeError(f"task '{self.name}': {origin} has fewer than two pairs, so there is nothing to order.")

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides a score but the model."""
        return digest_of(self.metric, self.examples.digest, self.reading.pooling, self.reading.tokens)

    def check(self, model: Model) -> None:
        """Refuse a model without a tower for texts, before any work."""
        must_read(model, self.examples.origin)

    def answers(self, model: Model, share: float = 1.0) -> Values:
        """Return the cosines, (example,); of every k-th pair where a share is asked for."""
        self.check(model)
        pairs = self._pairs(share)
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        place = {text: i for i, text in enumerate(texts)}
        key = (model.inputs_digest, share)
        if key not in self._ready:
            self._ready[key] = ready_texts(model, texts, self.reading)
        vectors = text_features(model, self._ready[key], self.reading)
        vectors = vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-12)
        one, other = ([place[pair[side]] for pair in pairs] for side in (0, 1))
        return np.asarray((vectors[one] * vectors[other]).sum(1).double().numpy())

    def score(self, model: Model, share: float = 1.0) -> Score:
        """Return Spearman's ρ."""
        assert self.examples.labels is not None
        labels = np.asarray(self.examples.labels, dtype=np.float64)[evenly(len(self.examples), share)]
        return spearman_score(self.name, self.answers(model, share), labels)

    def _pairs(self, share: float) -> list[tuple[str, str]]:
        return [self.examples.inputs[i] for i in evenly(len(self.examples), share)]
