"""What the matrices' singular vectors say: spectra, stable ranks, shared subspaces, interference."""

from html import escape

import numpy as np

from ...ops.shapes import Float64
from .. import figures
from ..report import Group, Matrix
from ..words import number, percent, say_kind
from .colours import sequential
from .curves import LINES, line_class, spectrum_figure
from .heat import Heat, heat_map
from .html import figure, plots, section
from .html import figures as side_by_side
from .layers import by_kind, some
from .shown import Percent, Shown

LEAST = 5
"""The axes of spectra span this factor at least."""

Kinds = list[tuple[str, list[Matrix]]]
"""Kinds by their names, and the matrices of each."""


def spectra(shown: Shown) -> str:
    """Return the section on spectra; nothing where none were looked at."""
    kinds = [(say_kind(group), own) for group in shown.kinds if (own := figures.changed(group.matrices))]
    if not kinds:
        return ""
    lead = (
        f"The leading {shown.report.spectra} directions of each matrix's task vector. A steep curve: few directions "
        "hold the task. A shared subspace: tasks write to the same directions, and methods that take matrices apart "
        "have something to separate."
    )
    drawn = [_curves(shown, kinds), side_by_side([_ranks(shown, kinds), _shared(shown, kinds), _interference(shown)])]
    return section("spectra", "Inside the matrices", lead, drawn)


def _curves(shown: Shown, kinds: Kinds) -> str:
    curves = [_mean_curve(matrices)[shown.order] for _, matrices in kinds]
    some = np.concatenate([curve[curve > 0] for curve in curves])
    high = 1.15 * float(some.max(initial=1.0 if not some.size else 0.0))
    low = min([high / LEAST, *(some / 1.15).tolist()])
    drawings = [
        spectrum_figure(f"spectrum-{k}", name, curve, shown.names, low, high)
        for k, ((name, _), curve) in enumerate(zip(kinds, curves, strict=True))
    ]
    how = "Singular values over |τ|, in the quadratic mean of a kind's matrices, on a logarithmic axis."
    return plots("Spectra", how, _key(shown.names), drawings)


def _mean_curve(matrices: list[Matrix]) -> Float64[np.ndarray, "task k"]:
    """Return σ_i / |τ|_F in the quadratic mean of the matrices that have an i-th direction."""
    longest = max(matrix.values.shape[1] for matrix in matrices)
    total, counted = np.zeros((2, len(matrices[0].energy), longest))
    for matrix in matrices:
        here = matrix.values.shape[1]
        energy = matrix.energy[:, None]
        shares = np.divide(matrix.values**2, energy, out=np.zeros_like(matrix.values), where=energy > 0)
        total[:, :here] += shares
        counted[:, :here] += 1
    curve: Float64[np.ndarray, "task k"] = np.sqrt(total / counted)
    return curve


def _key(names: list[str]) -> str:
    if len(names) > LINES:
        return '<p class="how">More than eight models: all lines are alike; point at one to read its name.</p>'
    lines = (
        f'<li><svg width="30" height="8" aria-hidden="true"><line x1="0" y1="4" x2="30" y2="4" '
        f'class="{line_class(m, len(names))}"/></svg>{escape(name)}</li>'
        for m, name in enumerate(names)
    )
    return f'<ul class="key">{"".join(lines)}</ul>'


def _ranks(shown: Shown, kinds: Kinds) -> str:
    values = np.array(
        [np.mean([figures.stable_rank(m) for m in matrices], axis=0)[shown.order] for _, matrices in kinds]
    )
    heat = Heat(
        key="ranks",
        title="Stable rank by kind and model",
        about=f"{len(kinds)} kinds of matrices by {len(shown.names)} models.",
        rows=[name for name, _ in kinds],
        columns=shown.names,
        values=values,
        scale=sequential(values.reshape(-1).tolist()),
        said=lambda value: number(value, 1),
        unit="",
        legend="|τ|² / σ₁²",
    )
    how = "How many directions a matrix's change has, counted by their energy; the mean of a kind's matrices."
    return figure("Stable rank", how, heat_map(heat))


def _shared(shown: Shown, kinds: Kinds) -> str:
    matrices = [matrix for _, own in kinds for matrix in own]
    left = np.mean([figures.shared_subspace(matrix.left) for matrix in matrices], axis=0)
    right = np.mean([figures.shared_subspace(matrix.right) for matrix in matrices], axis=0)
    values = np.tril(shown.ordered(left), -1) + np.triu(shown.ordered(right), 1)
    np.fill_diagonal(values, np.nan)
    flat = values.reshape(-1).tolist()
    chance = [np.mean([m.left.shape[-1] / m.shape[side] for m in matrices]) for side in (0, 1)]
    heat = Heat(
        key="angles",
        title="Shared subspaces of the models",
        about=f"{len(values)} by {len(values)} models; below the diagonal the left spaces, above it the right ones.",
        rows=shown.names,
        columns=shown.names,
        values=values,
        scale=sequential(flat),
        said=Percent(flat),
        unit=" %",
        legend="mean cos² of principal angles, in per cent",
    )
    how = (
        f"Below the diagonal: left singular vectors (random ones: {percent(float(chance[0]))}); above: right ones "
        f"({percent(float(chance[1]))}). Mean of all matrices."
    )
    return figure("Shared subspaces", how, heat_map(heat))


def _interferences(group: Group) -> list[float]:
    return [figures.interference(matrix) for matrix in figures.changed(group.matrices)]


def _interference(shown: Shown) -> str:
    values = by_kind(shown, lambda group: float(np.mean(_interferences(group) or [np.nan])))
    rows, columns = some(values)
    values = values[np.ix_(rows, columns)]
    names = shown.layer_names()
    heat = Heat(
        key="interference",
        title="Singular task interference by layer and kind",
        about=f"{len(rows)} layers by {len(columns)} kinds of matrices.",
        rows=[names[place] for place in rows],
        columns=[say_kind(shown.kinds[place]) for place in columns],
        values=values,
        scale=sequential(values.reshape(-1).tolist()),
        said=lambda value: number(value, 1),
        unit="",
        legend="interference over Σ σ",
    )
    how = "How much the singular vectors of all tasks, side by side, are not orthogonal (0: they all are)."
    return figure("Singular task interference", how, heat_map(heat))
