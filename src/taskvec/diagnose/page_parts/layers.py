"""Where the models changed, and where they pull against each other: layers from top to bottom."""

from collections.abc import Callable

import numpy as np

from ...ops.shapes import Float64
from .. import figures
from ..report import Group
from ..words import number, percent, say_kind
from .colours import diverging, sequential
from .heat import Heat, heat_map
from .html import figure, section
from .html import figures as side_by_side
from .shown import Percent, Shown, digits_of
from .svg import shortened

PAIRS = 28
"""As many rows as a screen shows: the pairs of eight models."""

NAME = 15
"""Letters of each of two names in one label."""

FAINT = 0.02
"""The colours of conflict and of cosines reach at least this far to both sides."""


def changes(shown: Shown) -> str:
    """Return the section on how much each model changed of each layer."""
    values = np.array([figures.relative_change(group)[shown.order] for group in shown.layers])
    flat = values.reshape(-1).tolist()
    heat = Heat(
        key="change",
        title="Relative change by layer and model",
        about=f"{len(shown.layers)} layers by {len(shown.names)} models.",
        rows=shown.layer_names(),
        columns=shown.names,
        values=values,
        scale=sequential(flat),
        said=Percent(flat),
        unit=" %",
        legend="|τ| / |θ|, in per cent",
    )
    how = "Length of a layer's task vector over the length of the base's weights there."
    drawn = figure("By layer and model", how, heat_map(heat))
    return section(
        "change", "Where they changed", _most_changed(shown), [side_by_side([drawn, _change_of_kinds(shown)])]
    )


def _change_of_kinds(shown: Shown) -> str:
    values = by_kind(shown, lambda group: float(np.mean(figures.relative_change(group))))
    flat = values.reshape(-1).tolist()
    heat = Heat(
        key="kinds",
        title="Relative change by layer and kind",
        about=f"{len(shown.layers)} layers by {len(shown.kinds)} kinds of tensors; the mean of all models.",
        rows=shown.layer_names(),
        columns=[say_kind(group) for group in shown.kinds],
        values=values,
        scale=sequential(flat),
        said=Percent(flat),
        unit=" %",
        legend="|τ| / |θ|, in per cent",
    )
    return figure("By layer and kind", "The same for each kind of tensors, mean of all models.", heat_map(heat))


def _most_changed(shown: Shown) -> str:
    means = [float(np.mean(figures.relative_change(group))) for group in shown.layers]
    names = shown.layer_names()
    most, least = int(np.argmax(means)), int(np.argmin(means))
    if most == least:
        return f"On average a model changed {percent(means[most])} of the base's length."
    return (
        f"Most on average: {names[most]}, by {percent(means[most])} of the base's length there. Least: {names[least]}, "
        f"by {percent(means[least])}."
    )


def conflicts(shown: Shown) -> str:
    """Return the section on where models differ in sign and in direction."""
    trimmed = percent(shown.report.kept)
    lead = (
        f"Where two models have both one of their largest {trimmed} of entries, unrelated ones differ in sign half of "
        "the time. More than half: they work against each other; less: they agree."
    )
    parts = [_trimmed(shown), _between(shown), _pairs(shown)]
    return section("conflict", "Where they conflict", lead, [side_by_side(parts)])


def by_kind(shown: Shown, value: Callable[[Group], float]) -> Float64[np.ndarray, "layer kind"]:
    """Return a number for each layer and kind; NaN where there is no such group."""
    found = [[shown.of(layer, kind) for kind in shown.kinds] for layer in shown.layers]
    return np.array([[np.nan if group is None else value(group) for group in row] for row in found])


def some(values: Float64[np.ndarray, "layer kind"]) -> tuple[list[int], list[int]]:
    """Return the rows and the columns that hold a number."""
    finite = np.isfinite(values)
    return np.flatnonzero(finite.any(axis=1)).tolist(), np.flatnonzero(finite.any(axis=0)).tolist()


def _trimmed(shown: Shown) -> str:
    values = by_kind(shown, lambda group: figures.mean_pair(figures.trimmed_conflict(group).value))
    rows, columns = some(values)
    values = values[np.ix_(rows, columns)]
    flat = values.reshape(-1).tolist()
    heat = Heat(
        key="signs",
        title="Sign conflict by layer and kind",
        about=f"{len(rows)} layers by {len(columns)} kinds of tensors; the mean of all pairs of models.",
        rows=[shown.layer_names()[row] for row in rows],
        columns=[say_kind(shown.kinds[column]) for column in columns],
        values=values,
        scale=diverging("c", flat, 0.5, FAINT),
        said=lambda value: number(100 * value, 1),
        unit=" %",
        legend="entries of opposite sign, in per cent",
    )
    how = "Share of common largest entries that differ in sign, mean of all pairs. Blue agrees, orange conflicts."
    return figure("Sign conflict by layer and kind", how, heat_map(heat)) if values.size else ""


def _between(shown: Shown) -> str:
    values = shown.ordered(figures.trimmed_conflict(shown.total).value)
    np.fill_diagonal(values, np.nan)
    flat = values.reshape(-1).tolist()
    if not np.isfinite(values).any():
        return ""
    heat = Heat(
        key="between",
        title="Sign conflict by pair",
        about=f"A matrix of {len(values)} by {len(values)} models in the order of the tree.",
        rows=shown.names,
        columns=shown.names,
        values=values,
        scale=diverging("c", flat, 0.5, FAINT),
        said=lambda value: number(100 * value, 1),
        unit=" %",
        legend="entries of opposite sign, in per cent",
    )
    return figure("Sign conflict by pair", "The same of all tensors together, for each two models.", heat_map(heat))


def _pairs(shown: Shown) -> str:
    labels, order = shortened(shown.names, NAME), shown.order
    total = shown.ordered(figures.cosines(shown.total))
    pairs = [(i, j) for i in range(len(labels)) for j in range(i + 1, len(labels))]
    left_out = max(0, len(pairs) - PAIRS)
    pairs = sorted(sorted(pairs, key=lambda pair: -abs(total[pair]))[:PAIRS])
    cosines = [figures.cosines(group)[np.ix_(order, order)] for group in shown.layers]
    values = np.array([[cos[pair] for cos in cosines] for pair in pairs])
    flat = values.reshape(-1).tolist()
    digits = digits_of(flat)
    heat = Heat(
        key="pairs",
        title="Cosines of pairs by layer",
        about=f"{len(pairs)} pairs of models by {len(shown.layers)} layers.",
        rows=[f"{labels[i]} · {labels[j]}" for i, j in pairs],
        columns=[name.removeprefix("layer ") for name in shown.layer_names()],
        values=values,
        scale=diverging("a", flat, 0.0, FAINT),
        said=lambda value: number(value, digits),
        unit="",
        legend="cosine",
        longest=2 * NAME + 3,
    )
    how = "Two models may agree in early layers and part in late ones."
    if left_out:
        how += f" The {PAIRS} pairs farthest from 0; {left_out} others are left out."
    return figure("Each pair, layer by layer", how, heat_map(heat))
