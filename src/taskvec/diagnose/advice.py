"""What a report suggests, in plain words, each with the figure behind it."""

from .advising.conflict import conflict
from .advising.curvature import curvature
from .advising.kin import kin
from .advising.methods import methods
from .advising.rounding import rounding, tensors
from .advising.said import Advice, Severity, Topic
from .advising.scale import scale
from .report import Report

__all__ = ["Advice", "Severity", "Topic", "advise"]

SUBJECTS = (kin, curvature, conflict, tensors, rounding, methods, scale)
ORDER: tuple[Severity, ...] = ("warning", "suggestion", "note")


def advise(report: Report) -> tuple[Advice, ...]:
    """Return what follows from a report: warnings first, then suggestions, then notes.

    A piece of advice says what was measured and what that suggests. None of it has seen data: it is where to begin, and
    a score on examples decides.
    """
    found = [advice for subject in SUBJECTS for advice in subject(report)]
    return tuple(sorted(found, key=lambda advice: ORDER.index(advice.severity)))
