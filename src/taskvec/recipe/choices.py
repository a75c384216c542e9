"""The closed-form choices of `scale: auto`: their names, what each assumes, and what one has found."""

from dataclasses import dataclass
from typing import Any

from ..merge.registry import suggest

DEFAULT = "equal_energy"
"""For orthogonal task vectors of one length it gives 1/√T (0.35 for eight tasks, where people tune 0.3)."""

CHOICES = {
    "equal_energy": "a merged model may move as far as its specialists moved, in the root mean square",
    "isotropic": "every task's loss is a quadratic of one and the same curvature in all directions",
    "metagpt": "task vectors are orthogonal, and a task's loss is linear in the step and bounded by its squared norm",
}
"""Name → what it assumes."""


@dataclass(frozen=True)
class Choice:
    """A number, or a weight a model in the order of the recipe, that was found without data."""

    name: str
    scale: float
    assumption: str
    weights: tuple[float, ...] | None = None

    @property
    def found(self) -> str:
        """What was found, in the words of a recipe."""
        if self.weights is None:
            return f"'scale: {self.scale:g}'"
        return f"'scale: 1' with the weights {', '.join(f'{w:g}' for w in self.weights)}"


def choice_of(value: Any) -> str | None:
    """Return which choice a recipe's `scale` asks for; None where it is a number or a list.

    >>> choice_of("auto"), choice_of({"auto": "isotropic"}), choice_of(0.3)
    ('equal_energy', 'isotropic', None)
    """
    if value == "auto":
        return DEFAULT
    return str(value["auto"]) if isinstance(value, dict) else None


def check_choice(value: Any) -> Any:
    """Return a `scale` that asks for a choice.

    Raises:
        ValueError: it is of another form, or asks for one that is not known.
    """
    if value == "auto" or (isinstance(value, dict) and set(value) == {"auto"} and value["auto"] in CHOICES):
        return value
    word = value.get("auto", "") if isinstance(value, dict) else value
    hint = suggest(word, ["auto", *CHOICES]).removesuffix("?").replace(" Did you mean", "; did you mean")
    known = ", ".join(CHOICES)
    raise ValueError(f"must be a number, a list over depth, 'auto', or {{auto: NAME}} with one of {known}{hint}")
