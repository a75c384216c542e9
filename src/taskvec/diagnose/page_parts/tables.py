"""Tables: one of the models, one of every group of tensors, and what rounding loses as bars."""

from collections.abc import Sequence

import numpy as np

from ...ops.coefficients import norm_shares
from .. import figures
from ..report import Group
from ..words import number, percent, say_place
from .bars import bar_figure
from .html import figure, section, table
from .html import figures as side_by_side
from .opening import count
from .shown import Shown


def models(shown: Shown) -> str:
    """Return the section with a row for each model."""
    header = [
        "model",
        "|τ|",
        "|τ| / |θ|",
        "share of energy",
        "largest entry",
        "inside the others' span",
        "nearest",
        "cosine",
    ]
    change, inside = figures.relative_change(shown.total), figures.in_span(shown.total)
    near, shares = figures.nearest(shown.total), norm_shares(np.diagonal(shown.total.gram))
    names = shown.report.models
    rows = [
        [
            names[t],
            f"{shown.total.norms[t]:#.3g}",
            percent(float(change[t])),
            percent(float(shares[t])),
            f"{shown.total.largest[t]:#.2g}",
            percent(float(inside[t])),
            *_nearest(names, near[t]),
        ]
        for t in shown.order.tolist()
    ]
    lead = "A task vector τ is what fine-tuning added to the base θ; its energy is |τ|²."
    return section("models", "The models", lead, [table("The models", header, rows)])


def _nearest(names: Sequence[str], near: tuple[int, float] | None) -> list[str]:
    return [names[near[0]], number(near[1], 3)] if near else ["–", "–"]


def losses(shown: Shown) -> str:
    """Return the section on what the type of the output loses."""
    rounding, dtype = shown.total.rounding, shown.report.dtype
    rows = [*shown.names, "average of all"]
    order = [*shown.order.tolist(), len(shown.names)]
    about = "A row for each model, and one for their average."
    lost, gone = figures.lost(rounding)[order], figures.gone(rounding)[order]
    error = bar_figure("lost", "Rounding error", about, rows, lost, percent)
    same = bar_figure("gone", "Entries that stay as they were", about, rows, gone, percent)
    lead = (
        f"A change smaller than half a step of {dtype} is not stored, and the average of many models changes each "
        "entry least of all. From the sampled blocks; the error of storing the base itself is part of it."
    )
    parts = [
        figure("Rounding error", "|round(θ + Δ) − (θ + Δ)|² over the change's energy |Δ|².", error),
        figure("Entries that stay as they were", "Of those with Δ ≠ 0: the stored bits are the base's.", same),
    ]
    return section("rounding", f"What {dtype} loses", lead, [side_by_side(parts)])


def groups(shown: Shown) -> str:
    """Return the section with a row for every group, the most energy first."""
    header = ["group", "tensors", "entries", "share of energy", "mean change", "lowest", "highest"]
    header += ["mean cosine", "sign conflict", "trimmed", "± error", "overlap", "largest entry"]
    whole = float(np.trace(shown.total.gram)) or 1.0
    ordered = sorted(shown.report.groups, key=lambda group: -float(np.trace(group.gram)))
    several = len({group.stack for group in ordered if group.layer is not None}) > 1
    inside = table("All groups of tensors", header, [_group(group, whole, several) for group in ordered])
    details = f"<details><summary>{len(ordered)} groups of tensors</summary>{inside}</details>"
    lead = (
        "Every layer and kind, those that hold most of the energy first. Change is |τ| over |θ|, of models; cosines, "
        "conflict and overlap are means of pairs."
    )
    return section("groups", "All groups", lead, [details])


def _group(group: Group, whole: float, several: bool) -> list[str]:
    change, trimmed = figures.relative_change(group), figures.trimmed_conflict(group)
    upper = np.triu_indices(len(change), 1)
    errors = trimmed.error[upper][np.isfinite(trimmed.error[upper])]
    return [
        f"{group.stack}, {say_place(group)}" if several and group.stack else say_place(group),
        str(group.tensors),
        count(group.entries),
        percent(float(np.trace(group.gram)) / whole),
        *(percent(float(value)) for value in (change.mean(), change.min(), change.max())),
        _or_dash(figures.mean_cosine(group), cosine=True),
        _or_dash(figures.mean_pair(figures.sign_conflict(group).value)),
        _or_dash(figures.mean_pair(trimmed.value)),
        percent(float(errors.max())) if errors.size else "–",
        _or_dash(figures.mean_pair(figures.overlap(group).value)),
        f"{group.largest.max():#.2g}",
    ]


def _or_dash(value: float, *, cosine: bool = False) -> str:
    if not np.isfinite(value):
        return "–"
    return number(value, 3) if cosine else f"{number(100 * value, 1)} %"
