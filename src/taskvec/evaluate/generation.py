"""Answers in words: sequence-to-sequence and causal models say, or choose, what is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import RecipeError
from . import choices
from .batches import evenly, in_batches
from .data import Examples
from .digest import digest_of
from .features import must_read
from .likelihood import must_write
from .model import Model
from .per_class import per_class
from .quiet import quietly
from .rank_correlation import spearman_score
from .score import Score, Values, mean_score


@dataclass(frozen=True)
class Generation:
    """One task: prompts, and the text (or number) that answers each.

    how: `generate`: the model writes, token by token the likeliest, and its first line must be the label's text;
        capitals and outer spaces do not count. `choices`: the label whose text is likeliest after the prompt.
    template: what is asked; each `{}` takes a text of the input.
    likelihood: by which sum of an answer's log p choices are made: of all its tokens (`sum`), which favours short
        answers, or a token (`mean`).
    tokens: longer prompts are cut, at their end for sequence-to-sequence models, at their beginning for causal ones.
    new_tokens: how many tokens the model may write.
    metric: `accuracy`; or `spearman`, of labels that are numbers and the numbers that the model writes: what is no
        number counts as 0.

    Source: Raffel et al. 2020, arXiv:1910.10683, §2.4 and appendix D; Brown et al. 2020, arXiv:2005.14165, §2.4
        (choices by likelihood).
    """

    name: str
    examples: Examples
    how: Literal["generate", "choices"] = "generate"
    template: str = "{}"
    likelihood: Literal["sum", "mean"] = "sum"
    tokens: int = 512
    new_tokens: int = 10
    metric: str = "accuracy"
    larger_is_better: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be scored.

        Raises:
            RecipeError: no examples, no labels or the wrong kind of them, a setting that does not exist, or a
                template that does not take the inputs.
        """
        self._check_settings()
        origin, columns = self.examples.origin, 2 if self.examples.kind == "pair" else 1
        if self.examples.kind == "image" or not len(self.examples):
            raise RecipeError(f"task '{self.name}': {origin} must hold texts, at least one.")
        if self.template.count("{}") != columns:
            raise RecipeError(
                f"task '{self.name}': the template {self.template!r} must hold {columns} '{{}}', one a text of it."
            )
        if self.examples.labels is None:
            raise RecipeError(f"task '{self.name}': {origin} has no labels to compare with.")
        if (self.metric == "spearman") == bool(self.examples.names):
            wanted = "numbers" if self.metric == "spearman" else "texts"
            raise RecipeError(f"task '{self.name}': the metric '{self.metric}' needs labels that are {wanted}.")

    def _check_settings(self) -> None:
        known = {"how": ("generate", "choices"), "likelihood": ("sum", "mean"), "metric": ("accuracy", "spearman")}
        for setting, values in known.items():
            if getattr(self, setting) not in values:
                raise RecipeError(f"'{setting}' must be {' or '.join(values)}, got {getattr(self, setting)!r}.")
        if self.metric == "spearman" and self.how == "choices":
            raise RecipeError(f"task '{self.name}': numbers are written, not chosen. Type 'how: generate'.")

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides a score but the model."""
        facts = (self.how, self.template, self.likelihood, self.tokens, self.new_tokens)
        return digest_of(self.metric, self.examples.digest, *facts)

    def check(self, model: Model) -> None:
        """Refuse a model that writes no texts, before any work."""
        must_read(model, self.examples.origin)
        if writes_from_states(model):
            model.module("seq2seq")
        else:
            must_write(model, self.tokens + (self.new_tokens if self.how == "generate" else 0), self.examples.origin)

    def score(self, model: Model, share: float = 1.0) -> Score:
        """Return accuracy or Spearman's ρ; a share takes every k-th example."""
        self.check(model)
        chosen = evenly(len(self.examples), share)
        prompts, labels = [self._prompt(i) for i in chosen], np.asarray(self.examples.labels)[chosen]
        if self.how == "choices":
            return self._choose(model, prompts, labels)
        said = written(model, prompts, self.tokens, self.new_tokens)
        if self.metric == "spearman":
            numbers = [_number(text) for text in said]
            details = {"no number": sum(number is None for number in numbers)}
            return spearman_score(self.name, [number or 0.0 for number in numbers], labels, details)
        return self._compare(said, labels)

    def _prompt(self, place: int) -> str:
        texts = self.examples.inputs[place]
        head, *rest = self.template.split("{}")
        columns = [texts] if isinstance(texts, str) else texts
        return head + "".join(text + after for text, after in zip(columns, rest, strict=True))

    def _choose(self, model: Model, prompts: Sequence[str], labels: npt.NDArray[Any]) -> Score:
        of = choices.of_seq2seq if writes_from_states(model) else choices.of_causal
        sums, counts = of(model, prompts, self.examples.names, self.tokens)
        answers = (sums if self.likelihood == "sum" else sums / counts).argmax(1)
        details = {"per_class": per_class(answers, labels, self.examples.names)}
        return mean_score(self.name, self.metric, answers == labels, details)

    def _compare(self, said: Sequence[str], labels: npt.NDArray[Any]) -> Score:
        names = [_plain(name) for name in self.examples.names]
        right: Values = np.array([text == names[label] for text, label in zip(said, labels, strict=True)], float)
        return mean_score(self.name, self.metric, right, {"no label": sum(text not in names for text in said)})


def writes_from_states(model: Model) -> bool:
    """Return whether the model is of the sequence-to-sequence kind."""
    return bool(getattr(model.config, "is_encoder_decoder", False))


def written(model: Model, prompts: Sequence[str], tokens: int, new_tokens: int) -> list[str]:
    """Return what a model writes after each prompt, greedily: its first line, in small letters, without outer spaces.

    A causal model's prompts are padded on the left, so that all end where the writing begins.
    """
    import torch

    after = writes_from_states(model)
    module = model.module("seq2seq" if after else "causal")
    cut = {"truncation": True, "max_length": tokens} if after else {}
    ids = [row[-tokens:] for row in model.tokenizer(list(prompts), **cut)["input_ids"]]
    said = [""] * len(prompts)
    greedy = {"do_sample": False, "num_beams": 1, "temperature": None, "top_p": None, "top_k": None}
    for places in in_batches([len(row) for row in ids]):
        inputs = model.tokenizer.pad(
            {"input_ids": [ids[i] for i in places]}, padding_side="right" if after else "left", return_tensors="pt"
        ).to(model.device)
        with torch.inference_mode(), quietly():
            found = module.generate(
                **inputs, max_new_tokens=new_tokens, pad_token_id=model.tokenizer.pad_token_id, **greedy
            )
        new = found if after else found[:, inputs["input_ids"].shape[1] :]
        for place, text in zip(places, model.tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
            said[place] = _plain(text)
    return said


def _plain(text: str) -> str:
    """Return the first line in small letters, without outer spaces."""
    return text.strip().split("\n")[0].strip().lower()


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None
