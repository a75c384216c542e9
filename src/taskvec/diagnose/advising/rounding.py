"""What storing the merge will lose."""

from collections.abc import Iterator

import numpy as np

from .. import figures
from ..report import Report, Rounding
from ..words import percent, several
from .said import Advice
from .scale import CANCELLED

LOST = 0.01
"""A hundredth of a change's energy: a tenth of its length, the size of what methods differ by."""

WHY = "docs/checkpoints.md#what-rounding-loses"

GONE = 0.1
"""Where more than a tenth of the changed entries stay as they were, rounding acts as a trim that nobody chose."""

FINER_THAN_HALF = (
    "Write the merge as `dtype: float32`, or use `rounding: stochastic`, which keeps small moves in the mean."
)
FINER = {
    "float32": "If the models are stored in float64, write the merge as `dtype: float64`; if they are not, changes "
    "this small are mostly the models' own rounding.",
    "float64": "No type is finer: changes this small are mostly the models' own rounding.",
}
"""What to do about each type, but for those of 16 bits."""


def rounding(report: Report) -> Iterator[Advice]:
    """Tell what is lost to the output's type, for the average merge and the worst of the models.

    Zero: an average whose vectors cancel is nothing but their rounding, so there the models alone are told of.
    """
    measured = report.total.rounding
    if not measured.energy.any():
        return
    lost, gone = figures.lost(measured), figures.gone(measured)
    worst = int(np.argmax(lost[:-1]))
    behind = {"lost_worst_model": float(lost[worst]), "gone_worst_model": float(gone[worst])}
    if _has_average(measured):
        behind = {"lost_average": float(lost[-1]), "gone_average": float(gone[-1])} | behind
    else:
        lost, gone = lost[:-1], gone[:-1]
    told = -1 if _has_average(measured) else worst
    if lost[told] > LOST or gone[told] > GONE:
        yield _heavy(report, worst, behind)
        return
    text = (
        f"Stored as {report.dtype}, rounding loses {percent(float(lost.max()))} of a change's energy at most, and "
        f"{percent(float(gone.max()))} of the changed entries are stored as the base's are."
    )
    yield Advice("rounding", "note", f"{report.dtype} is fine enough", text, behind, (report.models[worst],))


def _has_average(measured: Rounding) -> bool:
    """Tell whether the average of the models is more than what is left where their vectors cancel."""
    energies = measured.energy[:-1]
    return bool(measured.energy[-1] * len(energies) ** 2 > CANCELLED * energies.sum())


def _heavy(report: Report, worst: int, behind: dict[str, float]) -> Advice:
    model = f"{report.models[worst]} ({percent(behind['lost_worst_model'])}, {percent(behind['gone_worst_model'])})"
    included = "of the energy of what it changes (that of the base's own entries included)"
    if "lost_average" in behind:
        said = (
            f"the average of all models has a rounding error of {percent(behind['lost_average'])} {included}, and "
            f"{percent(behind['gone_average'])} of the changed entries are stored as the base's are; the worst single "
            f"model is {model}"
        )
    else:
        said = (
            f"{model} is the single model that loses most: first its rounding error as a share {included}, then the "
            "share of the changed entries that are stored as the base's are. The average of all models mostly cancels, "
            "and is not told of"
        )
    text = f"Stored as {report.dtype}, {said}. {FINER.get(report.dtype, FINER_THAN_HALF)}"
    title = f"{report.dtype} loses part of the change"
    return Advice("rounding", "warning", title, text, behind, (report.models[worst],), source=WHY)


def tensors(report: Report) -> Iterator[Advice]:
    """Tell of tensors that nobody changed, and of those that grew beyond the base."""
    if report.dead:
        text = (
            f"{len(report.dead)} {'tensor is' if len(report.dead) == 1 else 'tensors are'} as in the base in all "
            f"models ({several(report.dead)}): frozen in training, or never reached. A merge leaves them as they are."
        )
        yield Advice("tensors", "note", "Never changed", text, {"dead_tensors": float(len(report.dead))}, report.dead)
    if report.exploding:
        most = sorted(report.exploding, key=lambda found: -found[2])
        named = [f"{tensor} of {model} ({ratio:.3g} times)" for model, tensor, ratio in most]
        text = (
            f"Changed by more than the base itself is long: {several(named)}. Such a tensor was trained anew, or came "
            "from elsewhere; add it from one model, or leave it out (`ignore`)."
        )
        about = tuple(dict.fromkeys(tensor for _, tensor, _ in most))
        yield Advice(
            "tensors",
            "warning",
            "Larger than the base",
            text,
            {"largest_ratio": most[0][2], "cases": float(len(most))},
            about,
        )
