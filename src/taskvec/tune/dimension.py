"""One number (or word) that is searched."""

import math
from dataclasses import dataclass
from typing import Any

from ..errors import RecipeError

Value = float | int | str | bool

LITERATURE = "0:1"
"""Where a scale or a weight is searched: on a grid the 21 points 0, 0.05, …, 1 of the merging literature."""

POINTS = 21
DIGITS = 4


@dataclass(frozen=True)
class Dimension:
    """A number from `low` to `high`, or one of some values.

    name: `scale`, `weight.0`, `settings.density`, `0-3.scale`, ….
    whole: whether it is a whole number.
    values: what it may be; anything between the ends where there are none.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    values: tuple[Value, ...] = ()

    @classmethod
    def parse(cls, name: str, text: str, kind: type = float) -> "Dimension":
        """Read `from:to`, `from:to:step`, or a list separated by commas.

        >>> Dimension.parse("scale", "0:1").grid[:3], Dimension.parse("scale", "0.1:0.5:0.2").values
        ((0.0, 0.05, 0.1), (0.1, 0.3, 0.5))

        Raises:
            RecipeError: it is of another form.
        """
        if ":" not in text:
            return cls(name, values=tuple(_value(name, word.strip(), kind) for word in text.split(",")))
        ends = [_value(name, word.strip(), float) for word in text.split(":")]
        if len(ends) not in (2, 3) or kind not in (int, float):
            raise RecipeError(f"'{name}={text}' is not of the form from:to, from:to:step, or one,two,three.")
        low, high, *step = map(float, ends)
        if not low < high or any(not s > 0 for s in step):
            raise RecipeError(f"'{name}={text}' goes nowhere: 'from' must be below 'to', and the step above 0.")
        if not step:
            return cls(name, low, high, kind is int)
        count = math.floor((high - low) / step[0] + 1e-9) + 1
        return cls(name, values=tuple(kind(_rounded(low + i * step[0])) for i in range(count)))

    @property
    def grid(self) -> tuple[Value, ...]:
        """The values that a grid has: those that are given, else 21 from end to end."""
        if self.values:
            return self.values
        if self.whole and self.high - self.low < POINTS:
            return tuple(range(math.ceil(self.low), math.floor(self.high) + 1))
        step = (self.high - self.low) / (POINTS - 1)
        return tuple(dict.fromkeys(self.rounded(self.low + i * step) for i in range(POINTS)))

    @property
    def ordered(self) -> bool:
        """Whether its values are numbers, so that one lies between others."""
        return not any(isinstance(v, str | bool) for v in self.values)

    @property
    def ends(self) -> tuple[Value, ...]:
        """What a setting must be able to be: every value, or both ends."""
        return self.values or (self.rounded(self.low), self.rounded(self.high))

    def rounded(self, value: float) -> float | int:
        """Return a number as a recipe has it: a whole one, or of four digits."""
        return round(value) if self.whole else min(max(_rounded(value), self.low), self.high)

    def holds(self, value: Any) -> bool:
        """Tell whether it may be this."""
        if self.values:
            return value in self.values
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high

    @property
    def facts(self) -> dict[str, Any]:
        """Itself in plain data."""
        if self.values:
            return {"name": self.name, "values": list(self.values)}
        return {"name": self.name, "low": self.low, "high": self.high, "whole": self.whole}


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _value(name: str, word: str, kind: type) -> Value:
    if kind is str:
        return word
    if kind is bool:
        if word in ("true", "false"):
            return word == "true"
        raise RecipeError(f"'{name}' is true or false, got '{word}'.")
    try:
        number = float(word)
    except ValueError as exc:
        raise RecipeError(f"'{name}' takes numbers such as 0:1, 0:1:0.05 or 0.1,0.3, got '{word}'.") from exc
    if not math.isfinite(number) or (kind is int and number != int(number)):
        raise RecipeError(f"'{name}' takes {'whole' if kind is int else 'finite'} numbers, got '{word}'.")
    return int(number) if kind is int else number
