"""Whether models will merge, by the curvature of their losses: who pays, where, and whether curvature helps."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..mergeability import SAID, Examined, Expected, Mergeability, Place
from ..report import Report
from ..words import FEW, number, percent, several
from .said import Advice

MUCH = 0.5
"""A merge that is expected to lose more than half of what the mean task learned is expected to fail."""

PAYS = 1.5
"""A task that loses half as much again as the mean task pays for the others."""

WORTH = 0.05
"""Where curvature takes less than a twentieth off what is expected to be lost, it is hardly worth measuring."""

NOTICED = 0.01
"""Layers that would save less than a hundredth of what is expected to be lost are not named."""

NOTHING = 0.1
"""A layer that wants less than a tenth of the others' scale is better left out."""

ILL = 1e6
"""A condition number above which a solution in float32 rests on damping."""


USED = ("epimer",)


class Better(NamedTuple):
    """A layer that wants another scale than the rest, and what that saves of all that is lost, as a share."""

    layer: str
    saved: float
    scale: float


def curvature(report: Report) -> Iterator[Advice]:
    """Tell what curvature expects of a merge; nothing where it was not measured."""
    verdict = report.mergeability
    if verdict is None or not verdict.tensors:
        return
    merges = {which: verdict.total.expected(which) for which in SAID}
    best = min(merges.values(), key=lambda merge: float(merge.shares.mean()))
    if not best.gains.any():
        yield _nothing()
        return
    yield _outlook(verdict, best)
    yield from _who_pays(verdict, best)
    yield _worth(verdict, merges["flat"], merges["curved"])
    yield from places(verdict, best)
    yield from _subspace(verdict)
    yield from _spectrum(verdict)


def _nothing() -> Advice:
    text = (
        "The statistics have no curvature along any task vector, so they expect nothing of a merge. They were measured "
        "on data that the models do not mind, or on too few examples."
    )
    return Advice("curvature", "warning", "No curvature along the task vectors", text, {"gain": 0.0})


def _outlook(verdict: Mergeability, best: Expected) -> Advice:
    """Say whether it will merge: what the best of three merges is expected to keep."""
    mean, worst = float(best.shares.mean()), int(np.argmax(best.shares))
    most = float(best.shares[worst])
    name, method = verdict.models[worst], SAID[best.which]
    text = (
        f"Of what fine-tuning took off the losses, `{method}` at scale {number(best.scale)} is expected to lose "
        f"{percent(mean)} for the mean task and {percent(most)} for {name}, the worst (0 %: as fine-tuned; 100 %: as "
        f"the base). This takes each loss for a quadratic around its own model, and {_apart(verdict)} for independent: "
        "it is where to begin, and a score on examples decides."
    )
    behind = {
        "share_mean": mean,
        "share_worst": most,
        "excess_mean": float(best.excess.mean()),
        "excess_worst": float(best.excess.max()),
        "scale": best.scale,
    }
    if mean < MUCH and most < 1:
        return Advice("curvature", "note", "Expected to merge", text, behind, (name,))
    return Advice("curvature", "warning", "Expected to lose much", text, behind, (name,))


def _apart(verdict: Mergeability) -> str:
    """Say what the statistics take for independent: only Kronecker factors know that entries move together."""
    return "tensors" if verdict.estimator in ("kfac", "ekfac") else "entries"


def _who_pays(verdict: Mergeability, best: Expected) -> Iterator[Advice]:
    """Name the tasks that lose much more than the mean task does."""
    mean = float(best.shares.mean())
    order = np.argsort(-best.shares)
    pay = [int(t) for t in order if best.shares[t] > PAYS * mean]
    if not pay:
        return
    cases = [f"{verdict.models[t]} ({percent(float(best.shares[t]))})" for t in pay[:FEW]]
    text = (
        f"Expected to lose more than {number(PAYS, 1)} times the mean share of {percent(mean)}: {', '.join(cases)}. A "
        "larger weight moves the merge towards them, at the others' expense."
    )
    names = tuple(verdict.models[t] for t in pay)
    yield Advice("curvature", "suggestion", "Who pays", text, {"share": float(best.shares[pay[0]])}, names)


def _worth(verdict: Mergeability, flat: Expected, curved: Expected) -> Advice:
    """Say whether curvature is worth measuring: η for means, and what it comes to once merges are summed."""
    sums = verdict.total.inside or verdict.total.all
    before, after = float(flat.shares.mean()), float(curved.shares.mean())
    gain = (before - after) / before if before > 0 else 0.0
    sure, unsigned = sums.scaled_gain(float(len(verdict.models)))
    text = (
        f"In the same subspace, curvature takes {percent(sums.relative_eta)} off the Fréchet variance of the mean (η = "
        f"{_said(sums.eta)} of F = {_said(sums.variance('flat'))}), which it can only lower. Once merges are summed "
        f"that is not sure: F falls by {_said(sure)} and, by a term without a sign, by {_said(unsigned)}. At the best "
        f"scale of each, undamped `epimer` is expected to lose {percent(after)} of what the mean task gained, and "
        f"`tsv_m` {percent(before)}. "
    )
    behind = {"relative_eta": sums.relative_eta, "eta": sums.eta, "gain": gain, "unsigned_term": unsigned}
    if gain > WORTH:
        return Advice("curvature", "suggestion", "Curvature is worth it", text + "Try `epimer`.", behind, methods=USED)
    text += "`tsv_m` needs no data and is expected to do as well."
    return Advice("curvature", "note", "Curvature adds little", text, behind, methods=("tsv_m",))


def places(verdict: Mergeability, best: Expected) -> Iterator[Advice]:
    """Name layers that a merge had better leave at the base, and layers that want a smaller scale."""
    leave: list[Better] = []
    damp: list[Better] = []
    for place in verdict.layers:
        own = place.best_scale(best.which)
        scale = own if own > NOTHING * best.scale else 0.0
        saved = _cost(place, best, best.scale) - _cost(place, best, scale)
        share = saved / (float(best.shares.mean()) or 1.0)
        if own < best.scale and share > NOTICED:
            (damp if scale else leave).append(Better(say_layer(place), share, scale))
    if leave:
        yield _say_places("Layers to leave out", "would do better at the base's weights", leave)
    if damp:
        yield _say_places("Layers to damp", "want a smaller scale than the others", damp)


def _cost(place: Place, best: Expected, scale: float) -> float:
    """Return which share of what it gained the mean task loses in a place."""
    excess, gains = place.expected(best.which, scale).excess, best.gains
    return float(np.divide(excess, gains, out=np.zeros_like(gains), where=gains > 0).mean())


def _say_places(title: str, what: str, found: list[Better]) -> Advice:
    found = sorted(found, key=lambda case: -case.saved)
    cases = [f"{case.layer} (scale {number(case.scale)} saves {percent(case.saved)})" for case in found]
    are = "layer" if len(found) == 1 else "layers"
    text = (
        f"{len(found)} {are} {what}, by what is expected: {several(cases)} of what is lost. An override of `scale` "
        "for that layer does it."
    )
    behind = {"saved": found[0].saved, "layers": float(len(found)), "scale": found[0].scale}
    return Advice("curvature", "suggestion", title, text, behind, tuple(case.layer for case in found))


def _subspace(verdict: Mergeability) -> Iterator[Advice]:
    """Say what the subspace leaves out, and the bounds."""
    inside = verdict.total.inside
    if inside is None:
        return
    loose, tight = inside.bounds("curved")
    residual, variance = inside.residual_energy, inside.variance("curved")
    share = residual / (residual + variance) if residual + variance > 0 else 0.0
    apart = "" if not any(u != 1 for u in verdict.units) else " Each task's loss is in units of its own trace here."
    text = (
        f"By these quadratics the curved mean of matrices adds at most {tight:.3g} to the mean loss (V_S + R_S: "
        f"{loose:.3g}): "
        f"conflict between tasks is V_S = {variance:.3g}, and what the subspace leaves out is R_S = {residual:.3g}, "
        f"{percent(share)} of both.{apart}"
    )
    behind = {"variance": variance, "residual": residual, "bound": loose, "tight_bound": tight}
    if share > MUCH:
        text += " More directions a task (`--rank`) would lower the larger part."
    yield Advice("curvature", "note", "Conflict and residual", text, behind)


def _spectrum(verdict: Mergeability) -> Iterator[Advice]:
    """Say where the mean curvature is negative, or too uneven to solve without damping."""
    negative = [t for t in verdict.tensors if t.sums.negative]
    if negative:
        names = tuple(t.name for t in negative)
        text = (
            f"The mean curvature of {several(names)} is negative in some direction: there is no least loss there, and "
            "what is said of it is not to be trusted. Use an estimator that cannot be negative, such as `ggn`."
        )
        yield Advice("curvature", "warning", "Negative curvature", text, {"tensors": float(len(names))}, names)
    ill = sorted((t for t in verdict.tensors if t.inside and not t.sums.negative), key=_condition)
    if ill and _condition(ill[-1]) > ILL:
        worst = ill[-1]
        text = (
            f"In {worst.name} some directions have less than a millionth of the curvature of others (condition "
            f"{number(_condition(worst), 0)}): the data say nothing of them. `epimer` wants damping there."
        )
        behind = {"condition": min(_condition(worst), 1e300)}
        yield Advice("curvature", "note", "Uneven curvature", text, behind, (worst.name,), ("epimer",))


def _said(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _condition(tensor: Examined) -> float:
    return tensor.sums.condition


def say_layer(place: Place) -> str:
    """Say which layer a place is.

    >>> one = np.ones(1)
    >>> say_layer(Place("layers", 3, "all", None, None, one, one))
    'layer 3'
    """
    return "tensors outside layers" if place.layer is None else f"layer {place.layer}"
