"""How likely a language model finds given tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import MismatchError
from .batches import BATCH, Batches, gathered, in_batches
from .model import Model
from .score import Values

if TYPE_CHECKING:
    import torch

ENTRIES = 1 << 26
"""Logits held at a time: what limits a batch is the size of the vocabulary."""


@dataclass(frozen=True)
class Span:
    """Token ids, of which those from `start` on count; the first never does, since nothing precedes it."""

    ids: Sequence[int]
    start: int = 1

    @property
    def count(self) -> int:
        """How many tokens count."""
        return len(self.ids) - max(self.start, 1)


def must_write(model: Model, tokens: int, origin: str) -> None:
    """Refuse a model that is no causal language model, or reads fewer tokens than it is to be given.

    Raises:
        MismatchError: one of the two.
    """
    if any("MaskedLM" in name for name in model.config.architectures or ()):
        raise MismatchError(f"{model.name} is a masked language model: it sees what it is to foretell in {origin}.")
    model.module("causal")
    context = getattr(getattr(model.config, "text_config", model.config), "max_position_embeddings", None)
    if context is not None and tokens > context:
        raise MismatchError(f"{model.name} reads at most {context} tokens, and {tokens} are asked for. Lower 'tokens'.")


def log_likelihoods(model: Model, spans: Sequence[Span]) -> Values:
    """Return what a causal model thinks of each span, (span,).

        Σ_{i ≥ start} log p(ids_i | ids_0 … ids_{i−1})

    Units: nats.
    """
    module = model.module("causal")

    def run(inputs: Mapping[str, Any]) -> "torch.Tensor":
        found = module(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        return log_likelihood(found.logits[:, :-1], inputs["labels"][:, 1:])

    return np.asarray(gathered(_padded(model, spans), run, model.device).double().numpy())


def log_likelihood(logits: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
    """Return Σ_i log softmax(logits_i)[label_i] in float32, (example,); labels of −100 do not count.

    Shape: `logits` is (example, token, vocabulary), `labels` (example, token).
    """
    from torch.nn.functional import cross_entropy

    return -cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=-100, reduction="none").sum(1)


def _padded(model: Model, spans: Sequence[Span]) -> Batches:
    lengths = [len(span.ids) for span in spans]
    vocabulary = model.module("causal").get_input_embeddings().weight.shape[0]
    batches = in_batches(lengths, BATCH, max(1, ENTRIES // vocabulary))
    return Batches(len(spans), [(places, _tensors([spans[i] for i in places])) for places in batches])


def _tensors(spans: Sequence[Span]) -> dict[str, "torch.Tensor"]:
    import torch

    shape = (len(spans), max(len(span.ids) for span in spans))
    ids, labels = torch.zeros(shape, dtype=torch.int64), torch.full(shape, -100)
    mask = torch.zeros_like(ids)
    for row, span in enumerate(spans):
        known = torch.tensor(span.ids)
        ids[row, : len(known)], mask[row, : len(known)] = known, 1
        labels[row, max(span.start, 1) : len(known)] = known[max(span.start, 1) :]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
