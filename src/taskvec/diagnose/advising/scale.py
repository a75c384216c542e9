"""How much of a sum to add: closed forms from the inner products, and what each takes for granted."""

from collections.abc import Iterator

import numpy as np

from ...ops.coefficients import equal_energy, isotropic, products_of_sum
from ...ops.shapes import Float64
from .. import figures
from ..report import Report
from ..words import number, percent
from .said import TEXT8, Advice

CANCELLED = 0.1
"""A sum with less than a tenth of the squared norms that went into it: what was added mostly cancelled."""

LEFT_OUT = 0.1
"""A vector of which the merge goes less than a tenth of the way: its task is hardly in it."""


def scale(report: Report) -> Iterator[Advice]:
    """Tell the scale of a plain sum D = Σ τ_t by both closed forms, and which model the sum leaves out."""
    total = report.total
    energies = np.diagonal(total.gram)
    energy, inner = products_of_sum(total.gram, np.ones(len(report.models)))
    if energy <= CANCELLED * energies.sum():
        if energies.any():
            yield _cancelled(energy, float(energies.sum()))
        return
    even, mean = equal_energy(energy, energies), isotropic(energy, inner)
    text = (
        f"For a plain sum: scale {number(even)} moves the merge as far from the base as its models are in the root "
        "mean square (equal energy, what `scale: auto` takes; it assumes the base bears the merge as it bears them). "
        f"Scale {number(mean)} comes nearest to all models at once, the average (isotropic; it assumes that every loss "
        "is a quadratic around its model, with one curvature in all directions). Both are where to begin a search: on "
        "Text-8 equal energy was a point better than 0.3, 1/T more than five points worse, and the best lay at 0.65; "
        "on Vision-8 equal energy was level with 0.3, and the best lay at 0.2."
    )
    behind = {"scale": even, "equal_energy": even, "isotropic": mean}
    yield Advice("scale", "suggestion", f"Begin at a scale of {number(even)}", text, behind, source=TEXT8)
    yield from _left_out(report, even * inner)


def _cancelled(energy: float, apart: float) -> Advice:
    text = (
        f"The sum of all task vectors has {percent(max(0.0, energy) / apart)} of their squared norms: they mostly "
        "cancel, so no scale of a plain sum carries them. Merge those that agree, or use other weights."
    )
    return Advice("scale", "warning", "The task vectors cancel", text, {"energy_of_sum": max(0.0, energy) / apart})


def _left_out(report: Report, inner: Float64[np.ndarray, " task"]) -> Iterator[Advice]:
    """Tell of models whose own direction the merge hardly goes: ⟨sD, τ_t⟩ / |τ_t|² is small, or negative."""
    energies = np.diagonal(report.total.gram)
    way = np.divide(inner, energies, out=np.ones_like(inner), where=energies > 0)
    low = [int(t) for t in np.argsort(way) if way[t] < LEFT_OUT and not figures.zero_vectors(report.total)[t]]
    if low:
        t = low[0]
        text = (
            f"At that scale the sum goes {percent(way[t])} of the way to {report.models[t]} along its own direction: "
            "the others outweigh it. Give it a larger weight."
        )
        names = tuple(report.models[t] for t in low)
        yield Advice("scale", "warning", "Hardly in the sum", text, {"way": float(way[t])}, names)
