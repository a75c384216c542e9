"""The table of merge methods, and what each one claims about itself."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import numpy as np
import numpy.typing as npt

from ..errors import RecipeError
from ..ops.arrays import Array
from ..ops.blend import Blend
from ..ops.shapes import Float
from .statistics import Statistic

F = TypeVar("F", bound=Callable[..., Any])

MANY = 100_000
"""More models than anybody merges: `range(2, MANY)` is "2 or more"."""


@dataclass(frozen=True)
class Interval:
    """The values a number may take: low ≤ x ≤ high, without the ends named in `open_ends`."""

    low: float = float("-inf")
    high: float = float("inf")
    open_low: bool = False

    def __contains__(self, x: float) -> bool:
        return (self.low < x if self.open_low else self.low <= x) and x <= self.high

    def __str__(self) -> str:
        low = "(" if self.open_low or self.low == float("-inf") else "["
        return f"{low}{self.low:g}, {self.high:g}" + (")" if self.high == float("inf") else "]")


Share = Annotated[float, Interval(0, 1, open_low=True)]
"""A share of entries: above 0, at most 1."""

Shares = Annotated[float | Sequence[float], Interval(0, 1, open_low=True)]
"""A share of entries for all tasks, or one a task: above 0, at most 1."""

Rests = Annotated[float | Sequence[float], Interval(0, 1)]
"""A share that may be nothing, for all tasks or one a task: from 0 to 1."""


Rest = Annotated[float, Interval(0, 1)]
"""A share that may be nothing: from 0 to 1."""


def each(value: float | Sequence[float], task: int) -> float:
    """Return a task's own value of a setting that may be one number or one a task.

    >>> each(0.5, 1), each([0.1, 0.2], 1)
    (0.5, 0.2)
    """
    return float(value[task] if isinstance(value, Sequence) else value)


def nothing(tasks: int, rows: int, columns: int, settings: Mapping[str, Any]) -> int:
    """Return 0: what methods hold that see a slice."""
    del tasks, rows, columns, settings
    return 0


def just_the_metric(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what methods of curvature use unless they say otherwise."""
    del settings
    return ("metric",)


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a method must be given. The planner reads it; the conformance suite tests it.

    space: `delta` methods get fine-tuned minus base, `weight` methods the weights themselves; `either` methods get
        task vectors where the recipe has a base, else weights.
    scope: `entry`: any slice of a tensor will do (the statistics given). `row`: whole rows, as (task, row, column);
        a row is what shares a first index, and a tensor of one axis or none is one row. `tensor`: the whole tensor,
        in its own shape; tasks are then asked for one after the other, as often as the method likes, and given as
        torch tensors, so that none but the one in hand need be held.
    tasks: how many models it takes.
    weighted: whether each model may carry a weight.
    chance: it draws random words, and takes them as `chance`.
    depth: it takes as `depth` how deep a tensor stands: 0 (first layer, input embeddings) to 1 (last layer, what
        follows it).
    role: it takes as `role` what a tensor is: a matrix, a table of vectors, a convolution or a vector.
    holds: with `scope: tensor`, how many float32 numbers (a float64 is two) it holds at once for so many tasks, rows
        and columns and with these settings, its input and LAPACK's work space among them.
    place: it takes as `place` where a slice lies in its tensor: (its first entry, entries a row).
    statistics: numbers about whole tensors that a first pass finds, by the name of the argument that takes them.
    curvature: the kinds of statistics measured on data (`store.statistics.PARTS`) that it can use, and takes as
        `curvature`: with `scope: entry` the diagonals (task, n) of a slice, with `scope: tensor` a `Measured` a task,
        asked for one by one like the tasks; None for a tensor of which no model has statistics.
    base_curvature: it takes the same of the base, too, as `base_curvature`: (n,), or one `Measured`.
    measured: what of the statistics it uses with some settings: `metric`, `gradient`, both, or nothing: then it is
        given None, and the recipe needs none.
    blend: for methods that are a blend (drop, keep a band, add with weights or by vote): (weights, settings and
        statistics) → `Blend`, or None where these make it none (and `gathers` is true, or the scope is `tensor`). The
        stream then goes from stored inputs to the stored result in one pass.
    """

    space: Literal["weight", "delta", "either"]
    scope: Literal["entry", "row", "tensor"] = "entry"
    tasks: range = range(1, MANY)
    weighted: bool = True
    chance: bool = False
    depth: bool = False
    place: bool = False
    role: bool = False
    curvature: tuple[str, ...] = ()
    base_curvature: bool = False
    measured: Callable[[Mapping[str, Any]], tuple[str, ...]] = just_the_metric
    holds: Callable[[int, int, int, Mapping[str, Any]], int] = nothing
    blend: Callable[..., Blend | None] | None = None
    statistics: Mapping[str, Statistic] = field(default_factory=dict)

    @property
    def takes_base(self) -> bool:
        """Whether a recipe may have a base."""
        return self.space != "weight"

    def searches(self, settings: Mapping[str, Any]) -> bool:
        """Whether a first pass is needed with these settings."""
        return any(s.wanted(settings) for s in self.statistics.values())

    def is_curved(self, settings: Mapping[str, Any]) -> bool:
        """Whether statistics measured on data are needed with these settings."""
        return bool(self.curvature) and bool(self.measured(settings))

    def passes(self, settings: Mapping[str, Any]) -> int:
        """How often the inputs are read: for the statistics, if none needs another pass, and to merge."""
        return 1 + max((s.passes(settings) for s in self.statistics.values() if s.wanted(settings)), default=0)

    def gathers(self, settings: Mapping[str, Any]) -> bool:
        """Whether slices are gathered into rows with these settings, in a first pass or to merge."""
        return self.blend is None or any(s.gathers(settings) for s in self.statistics.values())

    @property
    def models(self) -> str:
        """How many models it takes, in words: '2', '1 or more', '2 to 4'."""
        first, last = self.tasks.start, self.tasks.stop - 1
        if first == last:
            return str(first)
        return f"{first} to {last}" if last < MANY - 1 else f"{first} or more"


@dataclass(frozen=True)
class Setting:
    """One keyword of a method: its default and what it may be."""

    name: str
    default: Any
    kind: type
    choices: tuple[Any, ...] = ()
    interval: Interval | None = None
    per_task: bool = False

    def check(self, value: Any) -> Any:
        """Return the value in the setting's type.

        Raises:
            RecipeError: of another type, or outside what is allowed.
        """
        if self.per_task and isinstance(value, list | tuple) and value:
            return tuple(replace(self, per_task=False).check(v) for v in value)
        if self.choices:
            if value not in self.choices:
                hint = suggest(value, self.choices)
                raise RecipeError(f"'{self.name}' must be {self.expected()}, got {value!r}.{hint}")
            return value
        if self.kind is bool:
            if not isinstance(value, bool):
                raise RecipeError(f"'{self.name}' must be true or false, got {value!r}.")
            return value
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise RecipeError(f"'{self.name}' must be a number, got {value!r}.")
        if self.interval and value not in self.interval:
            raise RecipeError(f"'{self.name}' must be in {self.interval}, got {value!r}.")
        if self.kind is int and value != int(value):
            raise RecipeError(f"'{self.name}' must be a whole number, got {value!r}.")
        return self.kind(value)

    def expected(self) -> str:
        """Return in words what the setting may be."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        if self.kind is bool:
            return "true or false"
        number = "a whole number" if self.kind is int else "a number"
        return f"{number} in {self.interval}" if self.interval else number


@dataclass(frozen=True)
class Method:
    """A row of the table."""

    name: str
    function: Callable[..., Any]
    needs: Needs
    paper: str
    laws: tuple[str, ...]

    @property
    def summary(self) -> str:
        """First sentence of the docstring."""
        return " ".join((inspect.getdoc(self.function) or "").split("\n\n")[0].split())

    @cached_property
    def settings(self) -> dict[str, Setting]:
        """The keyword arguments that a recipe may set, read from the function's signature."""
        given_by_us = {*self.needs.statistics, "chance", "depth", "place", "role", "curvature", "base_curvature"}
        parameters = inspect.signature(self.function).parameters.values()
        keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in given_by_us]
        return {p.name: _setting(p) for p in keywords}

    def check(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return all settings, defaults filled in.

        Raises:
            RecipeError: an unknown setting (with a suggestion), or a value that is not allowed.
        """
        for name in settings:
            if name not in self.settings:
                known = ", ".join(self.settings) or "none"
                raise RecipeError(
                    f"'{self.name}' has no setting '{name}'.{suggest(name, self.settings)} Known: {known}."
                )
        return {name: s.check(settings.get(name, s.default)) for name, s in self.settings.items()}


METHODS: dict[str, Method] = {}


def merge_method(*, needs: Needs, paper: str, laws: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Enter the decorated function in `METHODS` under its own name, and return it untouched."""

    def enter(function: F) -> F:
        METHODS[function.__name__] = Method(function.__name__, function, needs, paper, laws)
        return function

    return enter


def find(name: str) -> Method:
    """Return a method by name.

    Raises:
        RecipeError: no such method; the message suggests and lists.
    """
    if name not in METHODS:
        raise RecipeError(
            f"unknown merge method {name!r}.{suggest(name, METHODS)} Known: {', '.join(sorted(METHODS))}."
        )
    return METHODS[name]


def shares(
    weights: Float[Array, " task"], remedy: str = "Type 'normalize: false', or other weights."
) -> npt.NDArray[np.float64]:
    """Return the weights divided by their sum.

    Raises:
        RecipeError: they sum to 0, but for a rounding (0.1 + 0.2 - 0.3 is not 0 in binary).
    """
    w = np.asarray(weights, dtype=np.float64)
    total = float(w.sum())
    if abs(total) <= 1e-9 * float(np.abs(w).sum()):
        raise RecipeError(f"the weights {w.tolist()} sum to 0. {remedy}")
    return w / total


def factors(weights: Float[Array, " task"], normalize: bool) -> npt.NDArray[np.float64]:
    """Return the weights, divided by their sum with `normalize`.

    Raises:
        RecipeError: they sum to 0 and are to be normalised.
    """
    return shares(weights) if normalize else np.asarray(weights, dtype=np.float64)


def suggest(word: Any, known: Any) -> str:
    """Return " Did you mean 'x'?" where some known word is near, else nothing.

    >>> suggest("tise", ["ties", "linear"])
    " Did you mean 'ties'?"
    """
    near = get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


def _setting(p: inspect.Parameter) -> Setting:
    annotation, interval = p.annotation, None
    if get_origin(annotation) is Annotated:
        annotation, interval = get_args(annotation)[:2]
    if get_origin(annotation) is Literal:
        return Setting(p.name, p.default, str, get_args(annotation))
    if isinstance(annotation, UnionType):
        return Setting(p.name, p.default, float, interval=interval, per_task=True)
    return Setting(p.name, p.default, annotation, interval=interval)
