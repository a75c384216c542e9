"""One piece of advice."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["warning", "suggestion", "note"]
Topic = Literal["models", "conflict", "method", "scale", "rounding", "tensors", "curvature"]

TEXT8 = "docs/benchmarks.md#text-8"
VISION8 = "docs/benchmarks.md#vision-8"


@dataclass(frozen=True)
class Advice:
    """A few words, then a plain sentence or two: what was measured, and what it suggests; no promise of accuracy.

    figures: the numbers behind it, by name. about: the models or tensors that it is about, worst first.
    methods: the merge methods that it names as suiting. source: where this project measured the same, if it did.
    """

    topic: Topic
    severity: Severity
    title: str
    text: str
    figures: Mapping[str, float] = field(default_factory=dict)
    about: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    source: str = ""
