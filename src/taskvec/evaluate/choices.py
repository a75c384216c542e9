"""How likely a language model finds each of a few answers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .batches import gathered
from .features import Reading, ready_texts
from .likelihood import Span, log_likelihood, log_likelihoods
from .model import Model
from .score import Values

if TYPE_CHECKING:
    import torch


def of_seq2seq(model: Model, prompts: Sequence[str], answers: Sequence[str], tokens: int) -> tuple[Values, Values]:
    """Return log p(answer | prompt) and the answers' numbers of tokens (the end token counts), (prompt, answer) each.

    A prompt is encoded once for all answers; one longer than `tokens` is cut at its end.
    """
    import torch

    module = model.module("seq2seq")
    ids = model.tokenizer(text_target=list(answers))["input_ids"]

    def run(inputs: Mapping[str, Any]) -> "torch.Tensor":
        mask = inputs["attention_mask"]
        states = module.get_encoder()(input_ids=inputs["input_ids"], attention_mask=mask)
        columns = []
        for answer in ids:
            labels = torch.tensor([answer] * len(mask), device=mask.device)
            logits = module(encoder_outputs=states, attention_mask=mask, labels=labels).logits
            columns.append(log_likelihood(logits, labels))
        return torch.stack(columns, 1)

    found = gathered(ready_texts(model, prompts, Reading(tokens=tokens)), run, model.device).double().numpy()
    return np.asarray(found), np.tile([float(len(answer)) for answer in ids], (len(prompts), 1))


def of_causal(model: Model, prompts: Sequence[str], answers: Sequence[str], tokens: int) -> tuple[Values, Values]:
    """Return log p(answer | prompt) and the answers' numbers of tokens, (prompt, answer) each.

    An answer follows its prompt after one space. Where both are longer than `tokens`, the prompt's beginning is cut.
    """
    spans = [span for prompt in prompts for span in _spans(model, prompt.rstrip(), answers, tokens)]
    shape = (len(prompts), len(answers))
    counts = np.array([float(span.count) for span in spans])
    return log_likelihoods(model, spans).reshape(shape), counts.reshape(shape)


def _spans(model: Model, prompt: str, answers: Sequence[str], tokens: int) -> list[Span]:
    known, *both = model.tokenizer([prompt, *(f"{prompt} {answer}" for answer in answers)])["input_ids"]
    spans = []
    for ids in both:
        start = min(len(known), len(ids) - 1)  # a token across the seam leaves at least one to tell answers apart
        cut = max(len(ids) - tokens, 0)
        spans.append(Span(ids[cut:], start - cut))
    return spans
