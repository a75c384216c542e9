"""How it was measured: what was counted in full, what from a sample, and how sure that is."""

import numpy as np

from .. import figures
from ..words import percent, several
from .html import escape, section
from .opening import count
from .shown import Shown


def closing(shown: Shown) -> str:
    """Return the section on how the figures were found."""
    items = "".join(f"<li>{escape(line)}</li>" for line in _lines(shown))
    return section("how", "How this was measured", "", [f'<ul class="how">{items}</ul>'])


def _lines(shown: Shown) -> list[str]:
    report, total = shown.report, shown.total
    lines = [
        "Norms, cosines, relative changes, largest entries and shares in a span: from all entries, in float64.",
        _sampled(shown),
        f"Largest entries: the largest {percent(report.kept)} of each tensor by magnitude. Two sets of that size would "
        f"overlap by {percent(report.kept / (2 - report.kept))} of their union by chance.",
        f"Rounding: to {report.dtype}, to nearest, of θ + τ for each model and of θ plus the mean of all.",
    ]
    if report.spectra:
        sure = max(float(matrix.sure.max()) for matrix in total.matrices) if total.matrices else 0.0
        error = (
            "exactly" if sure == 0 else f"with a measured error of at most {percent(sure)} of the first singular value"
        )
        lines.append(f"Spectra: the leading {report.spectra} directions of {len(total.matrices)} matrices, {error}.")
    if report.dead:
        lines.append(f"Tensors that no model changed: {several(report.dead, 12)}.")
    if report.exploding:
        cases = [f"{tensor} of {model} ({ratio:.3g} times)" for model, tensor, ratio in report.exploding]
        lines.append(f"Tensors that changed by more than their length: {several(cases, 12)}.")
    if report.read_bytes:
        lines.append(f"{report.read_bytes / 1e9:.2f} GB were read in {report.seconds:.1f} s.")
    return [*lines, *report.notes]


def _sampled(shown: Shown) -> str:
    counts = shown.total.counts
    share = counts.sampled / max(1, shown.total.entries)
    errors = figures.trimmed_conflict(shown.total).error
    errors = errors[np.isfinite(errors)]
    sure = (
        f" One standard error of a trimmed share in total is at most {percent(float(errors.max()))}"
        if errors.size
        else ""
    )
    caution = "; neighbours in a block are alike, so it may be somewhat more." if sure else ""
    return (
        f"Signs, overlap and rounding: from {count(counts.sampled)} entries ({percent(share)} of all).{sure}{caution}"
    )
