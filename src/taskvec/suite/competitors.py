"""The merges that a benchmark compares: each method, its λ where nothing is tuned, and the λ that are tried."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import RecipeError
from ..merge import METHODS, find
from ..recipe.schema import Recipe
from .schema import MethodEntry

SUM, VOTE, MEAN, STOCK = 1.0, 3.0, 6.0, 30.0
"""How far the 21 points of a grid reach: for sums of task vectors, for means over those that agree, for means (and for
flat spectra, whose length is a mean of singular values), and for model_stock, which keeps a small part of a mean where
task vectors are nearly orthogonal."""

REACH = {"ties": VOTE, "dare_ties": VOTE, "della": VOTE, "breadcrumbs_ties": VOTE, "sce": VOTE, "pcb": VOTE,
    "multislerp": VOTE, "ram": MEAN, "ramplus_tl": MEAN, "geometric_median": MEAN, "metagpt": MEAN,
    "model_stock": STOCK, "tsv_m": VOTE, "iso_c": MEAN, "iso_cts": MEAN, "cart": MEAN, "wudi": VOTE,
    "knots": VOTE, "fisher": MEAN, "regmean": MEAN, "mats": MEAN, "epimer": VOTE}  # fmt: skip
"""Methods whose result is shorter than a sum; all others add up."""

LITERATURE = 0.3
"""λ of sums of eight task vectors where nothing is tuned (Ilharco et al. 2023, arXiv:2212.04089, §4.2 and appendix)."""


@dataclass(frozen=True)
class Competitor:
    """One merge of a benchmark.

    name: what it is called in tables.
    scale: λ where nothing is tuned; None for methods that merge whole models, which have none.
    grid: the λ that are tried on the validation splits; empty where there is none.
    """

    name: str
    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    scale: float | None = None
    grid: tuple[float, ...] = ()

    def recipe(self, base: str, models: Sequence[str], scale: float | None, ignore: Sequence[str] = ()) -> Recipe:
        """Return the recipe of this merge with one λ."""
        data: dict[str, Any] = {"method": self.method, "models": list(models), "settings": self.settings}
        data |= {"ignore": list(ignore)} if ignore else {}
        if find(self.method).needs.takes_base:
            data |= {"base": base, "scale": 1.0 if scale is None else scale}
        return Recipe.model_validate(data)


def points(reach: float, count: int = 21) -> tuple[float, ...]:
    """Return evenly spread λ from 0 on.

    >>> points(1.0)[:4], points(1.0)[-1]
    ((0.0, 0.05, 0.1, 0.15), 1.0)
    """
    return tuple(round(reach * i / (count - 1), 10) for i in range(count))


def competitors(tasks: int, entries: Sequence[MethodEntry] | None = None) -> list[Competitor]:
    """Return what is compared: the methods asked for, or every method that takes so many models.

    Methods that return one model as it is, or are another method with these settings, are left out of the default. So
    are methods of curvature, for which specialists are measured first: these are compared when they are asked for.

    Raises:
        RecipeError: an unknown method, one that does not take so many models, or two of one name.
    """
    if entries is not None:
        found = [_asked(entry, tasks) for entry in entries]
        names = [c.name for c in found]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise RecipeError(f"two of the methods are called '{twice}'. Give one of them another 'name'.")
        return found
    left_out = {"passthrough", "model_soup"}  # one model; the same as linear where nothing scores the models
    left_out |= {name for name, m in METHODS.items() if m.needs.curvature}
    return [_of(name) for name, m in sorted(METHODS.items()) if tasks in m.needs.tasks and name not in left_out]


def _of(method: str) -> Competitor:
    if not find(method).needs.takes_base:
        return Competitor(method, method)
    reach = REACH.get(method, SUM)
    return Competitor(method, method, {}, LITERATURE if reach == SUM else 1.0, points(reach))


def _asked(entry: MethodEntry, tasks: int) -> Competitor:
    method = find(entry.method)
    if tasks not in method.needs.tasks:
        raise RecipeError(f"'{entry.method}' takes {method.needs.models} models, and the suite has {tasks} tasks.")
    method.check(entry.settings)
    usual = _of(entry.method)
    scale = usual.scale if entry.scale is None else entry.scale
    grid = usual.grid if entry.grid is None else tuple(entry.grid)
    return Competitor(entry.name or entry.method, entry.method, dict(entry.settings), scale, grid)
