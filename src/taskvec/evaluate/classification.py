"""Classification of texts and images: an encoder, and a head a task."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import NumbersError, RecipeError
from .batches import Batches
from .data import Examples
from .features import Reading, features, pooling_of, ready
from .heads import Head
from .model import Model
from .per_class import per_class
from .score import Score, mean_score

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Classification:
    """One task: examples and the head that answers.

    answer(x) = argmax_c head(f(x))_c,    accuracy = share of the examples whose answer is their label
    """

    name: str
    examples: Examples
    head: Head
    reading: Reading = field(default_factory=Reading)
    metric: str = "accuracy"
    larger_is_better: bool = True
    _ready: dict[str, Batches] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse a task without examples.

        Raises:
            RecipeError: there is none.
        """
        if not len(self.examples):
            raise RecipeError(f"task '{self.name}': {self.examples.origin} is empty.")

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides a score but the model."""
        head = hashlib.sha256(self.head.weight.tobytes())
        for part in (self.head.bias, self.head.projection):
            head.update(b"\0" if part is None else part.tobytes())
        facts = [self.examples.digest, head.hexdigest(), self.head.kind, self.reading.pooling, self.reading.tokens]
        return hashlib.sha256(json.dumps([self.metric, *facts, self.head.labels]).encode()).hexdigest()

    def batches(self, model: Model) -> Batches:
        """Return the examples as the model's inputs; made once for all models that read alike."""
        if model.inputs_digest not in self._ready:
            self._ready[model.inputs_digest] = ready(model, self.examples, self.reading)
        return self._ready[model.inputs_digest]

    def check(self, model: Model) -> None:
        """Refuse a model that this task does not fit, before any work."""
        self.head.check(model, pooling_of(model, self.reading), self.examples.names, self.examples.origin)

    def logits(self, model: Model, share: float = 1.0) -> "torch.Tensor":
        """Return (example, label); of a share of the batches where one is asked for."""
        self.check(model)
        batches = self.batches(model)
        return self.head.logits(features(model, batches if share >= 1 else batches.first(share), self.reading))

    def score(self, model: Model, share: float = 1.0) -> Score:
        """Return the accuracy, and in its details how well each class is recognised.

        Raises:
            RecipeError: the examples have no labels; their answers (`logits`) can be had all the same.
            NumbersError: the model's answers are no numbers.
        """
        if self.examples.labels is None:
            raise RecipeError(f"task '{self.name}': {self.examples.origin} has no labels to compare with.")
        logits = self.logits(model, share)
        if not logits.isfinite().all():
            raise NumbersError(f"{model.name} answers '{self.name}' with NaN or Inf: its weights overflow.")
        answers = logits.argmax(1).numpy()
        labels = self._labels(model, share)
        details = {"per_class": per_class(answers, labels, self.head.labels)} if share >= 1 else {}
        return mean_score(self.name, self.metric, answers == labels, details)

    def _labels(self, model: Model, share: float) -> npt.NDArray[np.int64]:
        """Return each example's label as the head counts them."""
        place = {name: i for i, name in enumerate(self.head.labels)}
        of_examples = np.array([place[name] for name in self.examples.names], dtype=np.int64)
        labels = of_examples[np.asarray(self.examples.labels, dtype=np.int64)]
        if share >= 1:
            return labels
        chosen = sorted(i for places, _ in self.batches(model).first(share) for i in places)
        return np.asarray(labels[chosen])
