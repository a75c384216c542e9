"""A merge method on matrices in memory: its numbers, its chance, and what it must know of all of them together."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...merge.statistics import Question
from ...ops.chance import Chance
from ...ops.slices import Slice
from ..budget import WHOLE_MODEL
from .sites import AdapterPlan, Site, refuse_nonfinite
from .spaces import Rows, shown

Statistics = Mapping[str, npt.NDArray[np.floating]]
SAMPLE = 1 << 16


def merge_by(made: AdapterPlan, site: Site, stack: Rows, statistics: Statistics) -> Rows:
    """Return λ times what the plan's method makes of a site's matrices.

    Raises:
        NumbersError: the result is not finite.
    """
    unit, needs = site.unit, made.plan.method.needs
    extra: dict[str, Any] = {"chance": _chance(made, site)} if needs.chance else {}
    extra |= {"depth": unit.depth} if needs.depth else {}
    extra |= {"place": (0, stack.shape[-1])} if needs.place else {}
    extra |= {"role": "matrix"} if needs.role else {}
    _check_finite(made, site, stack)
    merged = made.plan.method.function(stack, np.array(unit.weights), **unit.settings, **statistics, **extra)
    out = np.asarray(unit.scale * np.asarray(merged))
    if not np.isfinite(out).all():
        refuse_nonfinite(made.plan, site)
    return out


def coefficients_of(made: AdapterPlan, site: Site) -> npt.NDArray[np.float64]:
    """Return what a linear method, and the scale, multiply each task with: its answer to the unit vectors."""
    unit, needs = site.unit, made.plan.method.needs
    extra: dict[str, Any] = {"depth": unit.depth} if needs.depth else {}
    one_each = made.plan.method.function(np.eye(len(unit.sources)), np.array(unit.weights), **unit.settings, **extra)
    return np.asarray(unit.scale * np.asarray(one_each), np.float64)


def statistics_of(made: AdapterPlan) -> dict[str, Statistics]:
    """Return, by a site's name, what the method must know of all sites together; where it asks for nothing, nothing.

    What is asked of one tensor alone (`scope: tensor`) the method finds by itself.
    """
    statistics = made.plan.method.needs.statistics
    sites = [site for site in made.sites if site.unit.group == WHOLE_MODEL]
    if not statistics or not sites:
        return {}
    first = shown(made, sites[0]).stack
    total = sum(shown(made, site).stack[0].size for site in sites)
    question = Question(len(first), total, first.dtype, sites[0].unit.settings, lambda: _sample(first))
    searches = {name: statistic.search(question) for name, statistic in statistics.items()}
    while any(not search.settled for search in searches.values()):
        _pass(made, sites, [search for search in searches.values() if not search.settled])
    found = {name: search.value for name, search in searches.items()}
    return {site.unit.name: found for site in sites}


def _pass(made: AdapterPlan, sites: Sequence[Site], searches: Sequence[Any]) -> None:
    """Show all sites to searches, once."""
    at = 0
    for site in sites:
        stack = shown(made, site).stack
        _check_finite(made, site, stack)
        part = Slice.of(stack, _chance(made, site))
        for search in searches:
            search.add(at, search.look(part)[1])
        at += part.count
    for search in searches:
        search.end_pass()


def _sample(stack: Rows) -> Rows:
    """Return some entries of each task: a hint where to look."""
    rows = stack.reshape(len(stack), -1)
    return np.ascontiguousarray(rows[:, :: max(1, rows.shape[1] // SAMPLE)])


def _chance(made: AdapterPlan, site: Site) -> Chance:
    plan = made.plan
    keys = tuple(plan.models[number].fingerprint for number, _ in site.unit.sources)
    return Chance(plan.recipe.seed, keys, site.unit.name)


def _check_finite(made: AdapterPlan, site: Site, stack: Rows) -> None:
    if not np.isfinite(stack).all():
        refuse_nonfinite(made.plan, site)
