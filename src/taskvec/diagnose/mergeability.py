"""What a merge is expected to cost, by the curvature of the tasks' losses: sums of tensors, and what follows from them.

All of it is what quadratics around the fine-tuned models say (`ops.mergeability`). It is an expectation of losses: how
far it tells accuracies apart is an experiment's to say.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np

from ..ops.merge_sums import MergeSums, Which
from ..ops.shapes import Float64
from . import figures
from .report import Report

MERGES: tuple[Which, ...] = ("plain", "flat", "curved")

SAID: dict[Which, str] = {"plain": "task_arithmetic", "flat": "tsv_m", "curved": "epimer"}
"""The merge methods that the three means are those of, once they are summed."""


@dataclass(frozen=True)
class Examined:
    """One tensor. inside: whether it was looked at in a subspace, as matrices are; rank: directions a task there."""

    name: str
    stack: str
    layer: int | None
    kind: str
    shape: tuple[int, ...]
    inside: bool
    rank: int
    sums: MergeSums


@dataclass(frozen=True)
class Expected:
    """What is expected of one merge. scale: α, as a recipe has it.

    excess: (task,) the loss that is added to that of each fine-tuned model. gains: (task,) what fine-tuning took off.
    """

    which: Which
    scale: float
    excess: Float64[np.ndarray, " task"]
    gains: Float64[np.ndarray, " task"]

    @property
    def shares(self) -> Float64[np.ndarray, " task"]:
        """Which share of its gain each task loses: 0 as fine-tuned, 1 as the base; 0 for a task that gained nothing."""
        shares: Float64[np.ndarray, " task"]
        shares = np.divide(self.excess, self.gains, out=np.zeros_like(self.gains), where=self.gains > 0)
        return shares


@dataclass(frozen=True)
class Place:
    """Tensors that are told together: a layer, a kind, or all. inside: those in subspaces; outside: the others.

    units: (task,) by what each task's curvature was divided. gains: (task,) of the whole model, in these units.
    """

    stack: str
    layer: int | None
    kind: str
    inside: MergeSums | None
    outside: MergeSums | None
    units: Float64[np.ndarray, " task"]
    gains: Float64[np.ndarray, " task"]

    @cached_property
    def all(self) -> MergeSums:
        """Both together."""
        return _added([part for part in (self.inside, self.outside) if part is not None])

    def expected(self, which: Which, scale: float | None = None) -> Expected:
        """Return what is expected of a merge with a scale, or with the scale that is expected to be best.

            plain            θ_0 + α Σ_t δ_t                       `task_arithmetic`
            flat, curved     θ_0 + α T · mean in the subspace      `tsv_m`, `epimer`
                             θ_0 + α · mean, of other tensors      their default, `others: mean`

        Units: those of the losses that curvature was measured of, however tasks were normalised.
        """
        alpha = self.best_scale(which) if scale is None else scale
        parts = [sums.excess(which, alpha * factor) for sums, factor in self._parts(which)]
        return Expected(which, alpha, self.units * np.sum(parts, axis=0), self.units * self.all.gains)

    def best_scale(self, which: Which) -> float:
        """Return the α with the least mean share of what tasks gained; 0 where no curvature lies along the merge.

        Shares, not losses: a task with a steep loss counts as much as one with a flat one.
        """
        counts = np.divide(1.0, self.gains, out=np.zeros_like(self.gains), where=self.gains > 0)
        pull = bend = 0.0
        for sums, factor in self._parts(which):
            pull += factor * float(counts @ sums.pull(which))
            bend += factor**2 * float(counts @ getattr(sums, which).bend)
        return pull / bend if bend > 0 else 0.0

    def _parts(self, which: Which) -> list[tuple[MergeSums, float]]:
        tasks = float(len(self.all.weights))
        factors = ((self.inside, tasks), (self.outside, tasks if which == "plain" else 1.0))
        return [(sums, factor) for sums, factor in factors if sums is not None]


@dataclass(frozen=True)
class Mergeability:
    """What was found of all tensors.

    models: in the order of every "task" axis. estimator: what measured the curvature. rank: directions a task and
    matrix that were asked for; 0: an equal share of them. unknown: tensors of which no model has statistics.
    examples: on how many each was measured. units: by what each task's curvature was divided before it was compared
    with the others'; not at all when empty. Sums (F, η, V_S, R_S) are in these units, expected losses are not.
    """

    models: tuple[str, ...]
    estimator: str
    rank: int
    tensors: tuple[Examined, ...]
    unknown: tuple[str, ...] = ()
    examples: tuple[int, ...] = ()
    units: tuple[float, ...] = ()

    @cached_property
    def total(self) -> Place:
        """All tensors together."""
        return self._place(self.tensors, _added([tensor.sums for tensor in self.tensors]).gains)

    @cached_property
    def layers(self) -> tuple[Place, ...]:
        """One place for each layer of each stack, and one for what is outside of layers."""
        return self._grouped(lambda t: (t.stack, t.layer))

    @cached_property
    def groups(self) -> tuple[Place, ...]:
        """One place for each kind in each layer."""
        return self._grouped(lambda t: (t.stack, t.layer, t.kind))

    def _grouped(self, key: Callable[[Examined], Any]) -> tuple[Place, ...]:
        parts: dict[Any, list[Examined]] = {}
        for tensor in self.tensors:
            parts.setdefault(key(tensor), []).append(tensor)
        return tuple(self._place(part, self.total.gains) for part in parts.values())

    def _place(self, tensors: Sequence[Examined], gains: Float64[np.ndarray, " task"]) -> Place:
        layers, kinds = {(t.stack, t.layer) for t in tensors}, {t.kind for t in tensors}
        stack, layer = layers.pop() if len(layers) == 1 else ("", None)
        kind = kinds.pop() if len(kinds) == 1 else "all"
        inside, outside = ([t.sums for t in tensors if t.inside == there] for there in (True, False))
        units = np.array(self.units) if self.units else np.ones(len(self.models))
        sides = (_added(inside) if inside else None, _added(outside) if outside else None)
        return Place(stack, layer, kind, *sides, units, gains)


def predictors(report: Report | None, verdict: Mergeability, gains: Sequence[float] | None = None) -> dict[str, float]:
    """Return the numbers by which one may guess, before a merge, how good it will be.

    Args:
        report: how the task vectors relate; None leaves out what it tells (`mean_cosine` and so on).
        verdict: what curvature says.
        gains: what fine-tuning took off each task's loss, where that was measured; with it come `measured_share_…`,
            the expected excess losses as shares of these.

    Figures, for each merge of `plain`, `flat` and `curved` (see `Place.expected`) where a name ends in it:
        share_mean, share_worst: of what each task gained, what the mean task and the worst are expected to lose, at
            the scale that is expected to be best
        excess_mean, excess_worst: the same as losses
        mean_share, mean_share_worst: of the merge that is a mean, not scaled
        scale: the scale that is expected to be best
        eta, eta_relative: η, and as a share of F(flat)
        variance_flat, variance_curved, residual, bound, tight_bound: V_S at both means, R_S, and the bounds of curved
        variance_share, residual_share: V_S and R_S over the sum of all Σ λ_t ⟨δ_t, H_t δ_t⟩
        non_uniformity, interference: means over tasks, and over pairs of tasks
    """
    total, sums = verdict.total, verdict.total.all
    loose, tight = sums.bounds("curved")
    own = float(sums.weights @ sums.own) or 1.0
    found = {
        "eta": sums.eta,
        "eta_relative": sums.relative_eta,
        "variance_flat": sums.variance("flat"),
        "variance_curved": sums.variance("curved"),
        "residual": sums.residual_energy,
        "bound": loose,
        "tight_bound": tight,
        "variance_share": sums.variance("curved") / own,
        "residual_share": sums.residual_energy / own,
        "non_uniformity": float(sums.non_uniformity.mean()),
        "interference": figures.mean_pair(sums.interference),
    }
    for which in MERGES:
        found |= _of_merge(total, which, gains)
    return found | (_of_report(report) if report else {})


def _of_merge(total: Place, which: Which, gains: Sequence[float] | None) -> dict[str, float]:
    best, mean = total.expected(which), total.all.excess(which)
    shares = np.divide(mean, total.gains, out=np.zeros_like(mean), where=total.gains > 0)
    found = {
        f"excess_mean_{which}": float(best.excess.mean()),
        f"excess_worst_{which}": float(best.excess.max()),
        f"share_mean_{which}": float(best.shares.mean()),
        f"share_worst_{which}": float(best.shares.max()),
        f"mean_share_{which}": float(shares.mean()),
        f"mean_share_worst_{which}": float(shares.max()),
        f"scale_{which}": best.scale,
    }
    if gains is not None:
        measured = best.excess / np.asarray(gains, np.float64)
        found |= {f"measured_share_mean_{which}": float(measured.mean())}
        found |= {f"measured_share_worst_{which}": float(measured.max())}
    return found


def _of_report(report: Report) -> dict[str, float]:
    total = report.total
    return {
        "mean_cosine": figures.mean_cosine(total),
        "sign_conflict": figures.mean_pair(figures.sign_conflict(total).value),
        "trimmed_conflict": figures.mean_pair(figures.trimmed_conflict(total).value),
        "mean_norm": float(total.norms.mean()),
        "relative_change": float(figures.relative_change(total).mean()),
    }


def _added(sums: Sequence[MergeSums]) -> MergeSums:
    return reduce(lambda one, other: one + other, sums)
