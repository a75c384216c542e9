"""How a model is fine-tuned: every number, with the literature's as defaults."""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi
from typing import Literal

Schedule = Literal["linear", "cosine", "constant"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """AdamW against a frozen head.

    epochs: passes over the examples.
    batch: examples a step.
    rate: AdamW's, at its highest.
    decay: AdamW's weight decay.
    schedule: how the rate falls after the warm-up: to zero along a line or half a cosine, or not at all.
    warmup: the share of the steps over which the rate rises from zero.
    clip: the longest gradient; longer ones are shortened to it.
    frozen: globs of parameters that stay as they are.
    precision: what most of the arithmetic is done in; weights and optimiser are float32.
    dropout: whether the model drops entries as its config says; without, it trains as it is evaluated.
    seed: of the order of the examples and of dropout.
    """

    epochs: int = 1
    batch: int = 32
    rate: float = 1e-5
    decay: float = 0.1
    schedule: Schedule = "cosine"
    warmup: float = 0.1
    clip: float = 1.0
    frozen: tuple[str, ...] = ()
    precision: Literal["float32", "bfloat16"] = "float32"
    dropout: bool = True
    seed: int = 0


def rate_at(training: Training, steps: int) -> Callable[[int], float]:
    """Return the factor of the rate at a step, counted from 0.

        warm-up: (step + 1) / w;   then with s = (step − w) / (steps − w):   1 − s,   (1 + cos πs) / 2,   or 1

    >>> factor = rate_at(Training(warmup=0.5, schedule="linear"), 4)
    >>> [factor(step) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    rising = round(training.warmup * steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        s = (step - rising) / max(steps - rising, 1)
        if training.schedule == "constant":
            return 1.0
        return 1 - s if training.schedule == "linear" else (1 + cos(pi * s)) / 2

    return factor
