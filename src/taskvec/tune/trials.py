"""What a search tells: evaluations, the best of them, its budget, and how far it is."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, Protocol

from ..errors import RecipeError
from ..recipe.schema import Recipe
from .dimension import Value
from .space import Space


@dataclass(frozen=True)
class Evaluation:
    """A point scored on a share of the validation examples.

    trial: the number of its point in the search, from 0. scores: one a task; mean: theirs, which is searched for.
    refused: why the point could not be merged, in a sentence; it then has no scores.
    """

    trial: int
    point: dict[str, Value]
    share: float
    scores: tuple[float, ...]
    seconds: float
    refused: str = ""

    @property
    def mean(self) -> float:
        """The mean of the scores; -∞ where the point was refused."""
        return sum(self.scores) / len(self.scores) if self.scores else float("-inf")

    @property
    def facts(self) -> dict[str, Any]:
        """Itself in plain data."""
        return {**asdict(self), "mean": self.mean if self.scores else None}


@dataclass(frozen=True)
class Budget:
    """How much may be spent, however often a search is stopped. An evaluation of a share of the examples counts as it.

    >>> Budget(evaluations=10).left(7.5, 100.0), Budget(evaluations=10, minutes=1).left(7.5, 61.0)
    (2.5, 0.0)
    """

    evaluations: float | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not value > 0:
                raise RecipeError(f"a budget of {value:g} {name} buys nothing. Give a number above 0.")

    def left(self, spent: float, seconds: float) -> float | None:
        """Return how many evaluations are left: 0 where the time is over, None where nothing bounds them."""
        if self.minutes is not None and seconds >= 60 * self.minutes:
            return 0.0
        return None if self.evaluations is None else max(0.0, self.evaluations - spent)


@dataclass(frozen=True)
class Result:
    """What a search has found. Only what was scored on all validation examples can be the best."""

    space: Space
    by: str
    evaluations: tuple[Evaluation, ...] = field(repr=False)

    @property
    def best(self) -> Evaluation:
        """The best point; of equals the first.

        Raises:
            RecipeError: nothing was scored on all examples.
        """
        whole = [e for e in self.evaluations if e.share == 1 and e.scores]
        if not whole:
            refused = next((f" The first was refused: {e.refused}" for e in self.evaluations if e.refused), "")
            raise RecipeError(f"no point was scored on all validation examples. Give a larger budget.{refused}")
        return max(whole, key=lambda e: e.mean)

    @property
    def start(self) -> Evaluation | None:
        """The evaluation of the recipe's own numbers, if the search had them among its points."""
        start = self.space.start
        return next((e for e in self.evaluations if e.share == 1 and e.scores and e.point == start), None)

    @property
    def recipe(self) -> Recipe:
        """The recipe with the best numbers: `taskvec merge` makes of it the very weights that were scored."""
        return self.space.recipe_at(self.best.point)

    @property
    def trials(self) -> tuple[Evaluation, ...]:
        """The last evaluation of each point, in their order; a pruned one has a share below 1."""
        last = {e.trial: e for e in self.evaluations}
        return tuple(last[number] for number in sorted(last))

    @property
    def history(self) -> list[tuple[float, float]]:
        """(evaluations spent, best mean so far), a pair each time the best changes."""
        out: list[tuple[float, float]] = []
        spent = 0.0
        for e in self.evaluations:
            spent += e.share
            if e.share == 1 and e.scores and (not out or e.mean > out[-1][1]):
                out.append((spent, e.mean))
        return out

    @property
    def spent(self) -> float:
        """How many evaluations on all examples it came to."""
        return sum(e.share for e in self.evaluations)

    @property
    def seconds(self) -> float:
        """How long merging and scoring took, however often the search was stopped."""
        return sum(e.seconds for e in self.evaluations)

    @property
    def facts(self) -> dict[str, Any]:
        """Itself in plain data."""
        return {
            "by": self.by,
            "space": self.space.facts,
            "best": self.best.facts,
            "start": self.start.facts if self.start else None,
            "spent": self.spent,
            "seconds": self.seconds,
            "trials": [e.facts for e in self.trials],
            "history": self.history,
        }


class Progress(Protocol):
    """Told how far a search is. All calls come from one thread."""

    def begin(self, what: str, total: float | None) -> None:
        """A search begins, of `total` evaluations if that is known."""

    def advance(self, done: float, total: float | None, best: Evaluation | None, left: float | None) -> None:
        """`done` evaluations are spent; `best` so far; about `left` seconds are to come, if that can be said."""

    def end(self) -> None:
        """It is finished, or has stopped."""


class Silent:
    """Shows nothing."""

    def begin(self, what: str, total: float | None) -> None:
        """See `Progress`."""

    def advance(self, done: float, total: float | None, best: Evaluation | None, left: float | None) -> None:
        """See `Progress`."""

    def end(self) -> None:
        """See `Progress`."""


def best_of(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """Return the best of those scored on all examples, if there is one."""
    return max((e for e in evaluations if e.share == 1 and e.scores), key=lambda e: e.mean, default=None)


def check_rounds(rounds: Sequence[float]) -> None:
    """Refuse shares of the validation examples that do not rise to all of them.

    Raises:
        RecipeError: they do not.
    """
    if not rounds or rounds[-1] != 1 or rounds[0] <= 0 or any(a >= b for a, b in pairwise(rounds)):
        raise RecipeError(f"the shares {list(rounds)} must rise to 1. Type e.g. 0.25, 1.")
