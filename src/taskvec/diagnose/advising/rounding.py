"""What storing the merge will lose."""

from collections.abc import Iterator

import numpy as np

from .. import figures
from ..report import Report
from ..words import percent, several
from .said import Advice

LOST = 0.01
"""A hundredth of a change's energy: a tenth of its length, the size of what methods differ by."""

WHY = "docs/checkpoints.md#what-rounding-loses"

GONE = 0.1
"""Where more than a tenth of the changed entries stay as they were, rounding acts as a trim that nobody chose."""


def rounding(report: Report) -> Iterator[Advice]:
    """Tell what is lost to the output's type, for the average merge and the worst of the models."""
    measured = report.total.rounding
    lost, gone = figures.lost(measured), figures.gone(measured)
    if not measured.energy.any():
        return
    worst = int(np.argmax(lost[:-1]))
    behind = {
        "lost_average": float(lost[-1]),
        "gone_average": float(gone[-1]),
        "lost_worst_model": float(lost[worst]),
        "gone_worst_model": float(gone[worst]),
    }
    if lost[-1] > LOST or gone[-1] > GONE:
        yield _heavy(report, worst, behind)
        return
    text = (
        f"Stored as {report.dtype}, rounding loses {percent(float(lost.max()))} of a change's energy at most, and "
        f"{percent(float(gone.max()))} of the changed entries are stored as the base's are."
    )
    yield Advice("rounding", "note", f"{report.dtype} is fine enough", text, behind, (report.models[worst],))


def _heavy(report: Report, worst: int, behind: dict[str, float]) -> Advice:
    text = (
        f"Stored as {report.dtype}, the average of all models has a rounding error of "
        f"{percent(behind['lost_average'])} of the energy of what it changes (that of the base's own entries "
        f"included), and {percent(behind['gone_average'])} of the changed entries are stored as the base's are; the "
        f"worst single model is {report.models[worst]} ({percent(behind['lost_worst_model'])}, "
        f"{percent(behind['gone_worst_model'])}). Write the merge as `dtype: float32`, or use `rounding: stochastic`, "
        "which keeps small moves in the mean."
    )
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
