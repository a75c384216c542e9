"""How the models relate: cosines, a tree, a map."""

from math import sqrt

import numpy as np

from .. import figures
from ..clusters import task_map
from ..words import number, percent
from .colours import diverging, sequential
from .heat import Heat, heat_map
from .html import figure, section
from .html import figures as side_by_side
from .scatter import map_figure
from .shown import Percent, Shown, digits_of
from .tree import tree_figure

FAINT = 0.02
"""The colours of cosines reach at least this far, so that what is all but 0 looks so."""


def relations(shown: Shown) -> str:
    """Return the section on how the models lie to each other."""
    parts = [_matrix(shown), _map(shown), _tree(shown), _overlap(shown)]
    return section("relations", "How the models relate", _lead(shown), [side_by_side(parts)])


def _lead(shown: Shown) -> str:
    found = [(cos, t, other) for t, near in enumerate(figures.nearest(shown.total)) if near for other, cos in [near]]
    if not found:
        return "Fewer than two models differ from the base, so there is nothing to compare."
    cos, t, other = max(found)
    names = shown.report.models
    return (
        f"The mean cosine of two task vectors is {number(figures.mean_cosine(shown.total), 3)}; {names[t]} and "
        f"{names[other]} are nearest ({number(cos, 3)})."
    )


def _matrix(shown: Shown) -> str:
    cos = shown.ordered(figures.cosines(shown.total))
    np.fill_diagonal(cos, np.nan)
    values = cos[np.isfinite(cos)].tolist()
    digits = digits_of(values)
    heat = Heat(
        key="cosines",
        title="Cosines of the task vectors",
        about=f"A matrix of {len(cos)} by {len(cos)} models in the order of the tree.",
        rows=shown.names,
        columns=shown.names,
        values=cos,
        scale=diverging("a", values, 0.0, FAINT),
        said=lambda value: number(value, digits),
        unit="",
        legend="cosine",
    )
    how = (
        "1: the same direction; 0: nothing in common; −1: opposite. Colours span what was found. Of random vectors of "
        f"{shown.total.entries:,} entries most would lie within ±{2 / sqrt(shown.total.entries):.1g}."
    )
    return figure("Cosines", how, heat_map(heat))


def _tree(shown: Shown) -> str:
    how = "The nearest are joined first, at the mean cosine of their members (average linkage). It orders all figures."
    return figure("Who is near whom", how, tree_figure(shown.tree, shown.report.models))


def _overlap(shown: Shown) -> str:
    found = shown.ordered(figures.overlap(shown.total).value)
    np.fill_diagonal(found, np.nan)
    flat = found[np.isfinite(found)].tolist()
    if not flat:
        return ""
    kept = shown.report.kept
    heat = Heat(
        key="overlap",
        title="Overlap of the largest entries",
        about=f"A matrix of {len(found)} by {len(found)} models in the order of the tree.",
        rows=shown.names,
        columns=shown.names,
        values=found,
        scale=sequential(flat, min(flat)),
        said=Percent(flat),
        unit=" %",
        legend="common entries over all of both, in per cent",
    )
    how = (
        f"How many of the largest {percent(kept)} of entries two models have in common, of all that either has. By "
        f"chance: {percent(kept / (2 - kept))}. Colours span what was found."
    )
    return figure("Overlap of the largest entries", how, heat_map(heat))


def _map(shown: Shown) -> str:
    found = task_map(figures.cosines(shown.total))
    if not found.shares.any():
        return ""
    drawn, missing = map_figure(found, shown.report.models, shown.total.norms)
    how = (
        f"Directions of the task vectors, seen from the base. The two axes hold {percent(float(found.shares.sum()))} "
        f"of what there is to see ({percent(float(found.shares[0]))} and {percent(float(found.shares[1]))}); what "
        "looks near may be apart in the others. Larger points: longer vectors."
    )
    if missing:
        how += f" {missing} names had no room; point at a point to read its name."
    return figure("A map of the tasks", how, drawn)
