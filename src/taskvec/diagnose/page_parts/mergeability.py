"""What a merge is expected to cost: who pays, in which layers, and where curvature differs."""

import numpy as np

from ..advising.curvature import say_layer
from ..mergeability import MERGES, SAID, Expected, Mergeability, Place
from ..words import KINDS, number, percent
from .colours import sequential
from .heat import Heat, heat_map
from .html import figure, section, table
from .html import figures as side_by_side
from .shown import Percent, Shown


def mergeability(shown: Shown) -> str:
    """Return the section on mergeability; nothing where curvature was not measured."""
    verdict = shown.report.mergeability
    if verdict is None or not verdict.tensors:
        return ""
    merges = [verdict.total.expected(which) for which in MERGES]
    best = min(merges, key=lambda merge: float(merge.shares.mean()))
    lead = (
        f"By the curvature of each task's loss ({verdict.estimator}, measured at its own model): every loss counts as "
        "a quadratic, and what a merge adds to it is the excess loss. Shares are of what fine-tuning took off that "
        "loss, by the same quadratics: 0 % is as good as fine-tuned, 100 % as bad as the base."
    )
    parts = [
        _tasks(shown, verdict, merges),
        side_by_side([_layers(shown, verdict, best), _eta(verdict)]),
        _sums(verdict),
    ]
    return section("mergeability", "What a merge is expected to cost", lead, parts)


def _tasks(shown: Shown, verdict: Mergeability, merges: list[Expected]) -> str:
    header = ["task", "gain", *(f"{SAID[m.which]}, scale {number(m.scale)}" for m in merges)]
    rows = [
        [verdict.models[t], f"{merges[0].gains[t]:.3g}", *(_cell(m.excess[t], m.shares[t]) for m in merges)]
        for t in shown.order.tolist()
    ]
    means = [_cell(float(m.excess.mean()), float(m.shares.mean())) for m in merges]
    rows.append(["mean", f"{merges[0].gains.mean():.3g}", *means])
    return table("Expected excess loss of each task", header, rows)


def _cell(excess: float, share: float) -> str:
    return f"{excess:.3g} ({percent(share)})"


def _layers(shown: Shown, verdict: Mergeability, best: Expected) -> str:
    gains = np.where(best.gains > 0, best.gains, np.inf)
    found = [place.expected(best.which, best.scale).excess / gains for place in verdict.layers]
    values = np.array(found)[:, shown.order]
    flat = values.reshape(-1).tolist()
    heat = Heat(
        key="excess",
        title="Expected excess loss by layer and task",
        about=f"{len(verdict.layers)} layers by {len(shown.names)} tasks.",
        rows=_names(verdict.layers),
        columns=shown.names,
        values=values,
        scale=sequential(flat),
        said=Percent(flat),
        unit=" %",
        legend="excess loss over the task's gain, in per cent",
    )
    how = f"What each layer adds, for `{SAID[best.which]}` at scale {number(best.scale)}; columns add up to the table."
    return figure("Where each task pays", how, heat_map(heat))


def _eta(verdict: Mergeability) -> str:
    kinds = sorted({place.kind for place in verdict.groups}, key=list(KINDS).index)
    layers = [(place.stack, place.layer) for place in verdict.layers]
    values = np.full((len(layers), len(kinds)), np.nan)
    for place in verdict.groups:
        values[layers.index((place.stack, place.layer)), kinds.index(place.kind)] = place.all.relative_eta
    flat = values.reshape(-1).tolist()
    heat = Heat(
        key="eta",
        title="What curvature takes off, by layer and kind",
        about=f"{len(layers)} layers by {len(kinds)} kinds of tensors.",
        rows=_names(verdict.layers),
        columns=[KINDS[kind] for kind in kinds],
        values=values,
        scale=sequential(flat),
        said=Percent(flat),
        unit=" %",
        legend="η / F(flat), in per cent",
    )
    how = "The share of the Fréchet variance that the mean loses by heeding curvature: none where all tasks bend alike."
    return figure("Where curvature helps", how, heat_map(heat))


def _sums(verdict: Mergeability) -> str:
    header = ["tensors", "entries", "directions", "η", "η / F(flat)", "V_S", "R_S", "V_S + R_S", "tighter bound"]
    header += ["excess of the mean", "condition", "non-uniformity"]
    total = verdict.total
    parts = [("matrices", total.inside), ("other tensors", total.outside), ("all", total.all)]
    rows = []
    for name, sums in parts:
        if sums is None:
            continue
        loose, tight = sums.bounds("curved")
        excess = float(sums.weights @ sums.excess("curved"))
        figures = [sums.eta, sums.variance("curved"), sums.residual_energy, loose, tight, excess]
        eta, *others = [f"{value:.3g}" for value in figures]
        rows.append(
            [
                f"{sums.tensors} {name}",
                f"{sums.entries:,}",
                f"{sums.directions:,}",
                eta,
                percent(sums.relative_eta),
                *others,
                f"{sums.condition:.2g}" if np.isfinite(sums.condition) else "∞",
                number(float(sums.non_uniformity.mean())),
            ]
        )
    inside = table("Sums over tensors", header, rows)
    return f"<details><summary>η, V_S and R_S in total</summary>{inside}</details>"


def _names(places: tuple[Place, ...]) -> list[str]:
    """Say layers; their stack only where there are several."""
    several = len({place.stack for place in places if place.layer is not None}) > 1
    return [f"{place.stack}, {say_layer(place)}" if several and place.stack else say_layer(place) for place in places]
