"""Every number that the demo chose."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """How the texts are split and how the siblings are trained; none of it was tuned."""

    seed: int = 0
    """Of the split, the order of the training texts and dropout."""

    examples: int = 2600
    """At most so many texts a task, spread evenly over its labels."""

    test_share: float = 0.25
    """Of these, so many are held out, whole families of texts at a time."""

    epochs: int = 1
    batch: int = 32

    rate: float = 5e-5
    """AdamW's, falling linearly to zero."""

    decay: float = 0.01

    temperature: float = 20.0
    """What the cosines are multiplied by to make logits."""

    tokens: int = 48
    """Longer texts are cut; few are."""

    threads: int = 2
    """Torch's; part of the key of what is kept, because sums in another order round differently."""
