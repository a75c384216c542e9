"""A text encoder, the head made of label names, and what the two predict."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from .tasks import Example

logging.disable_progress_bar()  # type: ignore[no-untyped-call]

BATCH = 128


@dataclass(frozen=True)
class Encoder:
    """A transformer and its tokenizer, as any Hugging Face folder holds them."""

    model: Any
    tokenizer: Any
    tokens: int

    @classmethod
    def load(cls, folder: Path, tokens: int) -> "Encoder":
        """Load `folder` with transformers' own two lines, in evaluation mode."""
        return cls(AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder), tokens)

    def save(self, folder: Path) -> None:
        """Write the folder that `load` reads: config, weights as safetensors, tokenizer."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Return one unit vector a text: the mean of its tokens' last hidden states, normalised.

            e = sum_t h_t / count_t,    e / |e|

        Shape: (text, width); padding does not count.
        """
        cut = self.tokenizer(list(texts), padding=True, truncation=True, max_length=self.tokens, return_tensors="pt")
        hidden = self.model(**cut).last_hidden_state
        kept = cut["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        return normalize((hidden * kept).sum(1) / kept.sum(1), dim=-1)


@torch.no_grad()
def label_head(base: Encoder, labels: Sequence[str]) -> Tensor:
    """Return the frozen head of a task: the base model's embedding of each label's name.

        logit_c(x) = temperature · cos(embed(x), embed_base(label_c))

    It is never trained, so base, specialists and merges are all measured against the same directions.
    Shape: (label, width).
    """
    return base.embed(labels)


@torch.no_grad()
def predict(encoder: Encoder, head: Tensor, texts: Sequence[str]) -> list[int]:
    """Return the index of the nearest label of each text.

    Texts go through in order of length, a fixed number at a time, so the answer depends on nothing but the model.
    """
    answers = [0] * len(texts)
    by_length = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
    for start in range(0, len(texts), BATCH):
        batch = by_length[start : start + BATCH]
        nearest = (encoder.embed([texts[i] for i in batch]) @ head.T).argmax(1).tolist()
        for place, answer in zip(batch, nearest, strict=True):
            answers[place] = answer
    return answers


def accuracy(encoder: Encoder, head: Tensor, labels: Sequence[str], examples: Sequence[Example]) -> float:
    """Return the share of `examples` whose nearest label is their own."""
    answers = predict(encoder, head, [example.text for example in examples])
    right = sum(labels[answer] == example.label for answer, example in zip(answers, examples, strict=True))
    return right / len(examples)
