"""Perplexity: how surprised a causal language model is by texts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import RecipeError
from .batches import evenly
from .data import Examples
from .digest import digest_of
from .likelihood import Span, log_likelihoods, must_write
from .model import Model
from .quiet import quietly
from .score import Score, Values, bounds, resampled


@dataclass(frozen=True)
class Perplexity:
    """One task: texts that a causal language model foretells token by token.

        perplexity = exp(− Σ log p(token | what precedes it in its window) / tokens)

    A text longer than `tokens` is read in windows, each `stride` tokens further on; a token counts in the first
    window that holds it, so with a stride below `tokens` it is foretold from at least `tokens − stride` others.

    examples: texts; labels are not looked at.
    tokens: the length of a window.
    stride: how far windows lie apart. Where it equals `tokens`, the first token of each window does not count.
    joined: whether the texts are one, with an empty line between them (as the figures for WikiText-2 are made).

    The interval draws documents (windows where they are joined), each with its own Σ and its own number of tokens.

    Edge: a text of fewer than two tokens has nothing to foretell and is left out; `skipped` says how many were.
    Source: the windows are those of transformers' page on perplexity; every token's logarithm has the same weight.
    """

    name: str
    examples: Examples
    tokens: int = 512
    stride: int = 256
    joined: bool = False
    metric: str = "perplexity"
    larger_is_better: bool = False
    _ready: dict[str, list[list[Span]]] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be scored.

        Raises:
            RecipeError: no texts, or a window or stride that cannot be.
        """
        if self.examples.kind != "text" or not len(self.examples):
            raise RecipeError(f"task '{self.name}': {self.examples.origin} must hold texts, at least one.")
        if self.tokens < 2 or not 1 <= self.stride <= self.tokens:
            raise RecipeError(
                f"task '{self.name}': 'stride' must lie between 1 and 'tokens', and 'tokens' be 2 or more; "
                f"got stride {self.stride} and tokens {self.tokens}."
            )

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides a score but the model."""
        return digest_of(self.metric, self.examples.digest, self.tokens, self.stride, self.joined)

    def check(self, model: Model) -> None:
        """Refuse a model that is no causal language model or reads shorter windows, before any work."""
        must_write(model, self.tokens, self.examples.origin)

    def score(self, model: Model, share: float = 1.0) -> Score:
        """Return the perplexity; a share takes every k-th document (window where they are joined)."""
        self.check(model)
        units = self._units(model)
        chosen = [units[i] for i in evenly(len(units), share)]
        found = _sums(model, chosen)
        draws = resampled(found, _perplexity, seed=0)
        low, high = bounds(draws)
        tokens = int(found[:, 1].sum())
        details: dict[str, Any] = {"tokens": tokens, "nats_per_token": float(found[:, 0].sum() / tokens)}
        if not self.joined:
            details["skipped"] = len(self.examples) - len(units)
        return Score(
            task=self.name, metric=self.metric, value=float(_perplexity(found[None])[0]), low=low, high=high,
            count=len(chosen), larger_is_better=False, draws=draws, details=details,
        )  # fmt: skip

    def _units(self, model: Model) -> list[list[Span]]:
        """Return the windows of each document, or each window on its own; made once for models that read alike."""
        if model.inputs_digest not in self._ready:
            texts = ["\n\n".join(self.examples.inputs)] if self.joined else list(self.examples.inputs)
            with quietly():
                documents = [windows(ids, self.tokens, self.stride) for ids in model.tokenizer(texts)["input_ids"]]
            units = [[window] for window in documents[0]] if self.joined else [spans for spans in documents if spans]
            if not units:
                raise RecipeError(f"task '{self.name}': no text of {self.examples.origin} has two tokens or more.")
            self._ready[model.inputs_digest] = units
        return self._ready[model.inputs_digest]


def windows(ids: Sequence[int], tokens: int, stride: int) -> list[Span]:
    """Return the windows of a text, with the tokens that count in each: those that no earlier window holds.

    >>> [(list(w.ids), w.count) for w in windows([5, 6, 7, 8, 9], tokens=4, stride=2)]
    [([5, 6, 7, 8], 3), ([7, 8, 9], 1)]
    """
    spans, end = [], 0
    for begin in range(0, len(ids), stride):
        last, end = end, min(begin + tokens, len(ids))
        spans.append(Span(ids[begin:end], last - begin))
        if end == len(ids):
            break
    return [span for span in spans if span.count > 0]


def _sums(model: Model, units: Sequence[Sequence[Span]]) -> Values:
    """Return of each unit −Σ log p and how many tokens that is, (unit, 2)."""
    owner = [i for i, spans in enumerate(units) for _ in spans]
    spans = [span for spans in units for span in spans]
    nats, counts = -log_likelihoods(model, spans), [span.count for span in spans]
    return np.stack([np.bincount(owner, weights=x, minlength=len(units)) for x in (nats, counts)], axis=1)


def _perplexity(drawn: npt.NDArray[Any]) -> Values:
    """Return exp(Σ nats / Σ tokens) of every resample; `drawn` is (resample, unit, 2)."""
    nats, tokens = drawn.sum(1).T
    with np.errstate(over="ignore"):  # a broken model is infinitely surprised
        return np.asarray(np.exp(nats / tokens))
