"""Which families of merge methods suit what was measured, and why."""

from collections.abc import Iterator, Sequence

import numpy as np

from ...ops.coefficients import norm_shares
from .. import figures
from ..report import Matrix, Report
from ..words import number, percent
from .said import TEXT8, VISION8, Advice

ORTHOGONAL = 0.1
"""Mean |cosine| below which a sum of ten vectors still keeps most of each as it was."""

ALIKE = 0.7
"""Mean cosine above which vectors have half of their energy (0.7²) in common, so an average keeps most of each."""

CONTESTED = 0.25
"""Opposing large entries of other models for each large entry of one; at a quarter, votes decide something."""

LOW_RANK = 0.1
"""Mean stable rank, as a share of what the matrices could have, below which few directions hold a task."""

OVERLAPPING = 2.0
"""Leading subspaces that share twice what random ones would: tasks use the same directions."""

DOMINANT = 0.5
"""One of several vectors with more than half of all squared norms decides the direction of a sum by itself."""


def methods(report: Report) -> Iterator[Advice]:
    """Tell which families suit, from how vectors, entries and matrices lie to each other."""
    if np.count_nonzero(~figures.zero_vectors(report.total)) < 2:
        return
    yield from _by_direction(report)
    yield from _by_sign(report)
    yield from _by_matrix(report)
    yield from _by_norm(report)


def _by_direction(report: Report) -> Iterator[Advice]:
    """Compare directions: orthogonal ones can be summed, common ones averaged."""
    moved = np.flatnonzero(~figures.zero_vectors(report.total))
    cos = figures.cosines(report.total)[np.ix_(moved, moved)][np.triu_indices(len(moved), 1)]
    mean, size = float(cos.mean()), float(np.abs(cos).mean())
    behind = {"mean_cosine": mean, "mean_absolute_cosine": size}
    if size < ORTHOGONAL:
        text = (
            f"The task vectors are nearly orthogonal (mean cosine {number(mean, 3)}, between {number(cos.min(), 3)} "
            f"and {number(cos.max(), 3)}): a sum hardly mixes them, so `task_arithmetic` suits, with its scale "
            f"searched. An average keeps 1/{len(report.models)} of each, which on Text-8 was too little."
        )
        yield Advice("method", "suggestion", "Sums suit", text, behind, methods=("task_arithmetic",), source=TEXT8)
    elif mean > ALIKE:
        text = (
            f"The task vectors are much alike (mean cosine {number(mean)}): what they have in common survives an "
            "average (`linear`, `model_stock`) at its full length, and a plain sum would take it several times over."
        )
        yield Advice("method", "suggestion", "Averages suit", text, behind, methods=("linear", "model_stock"))


def _by_sign(report: Report) -> Iterator[Advice]:
    """Count for each large entry the others' large entries of opposite sign."""
    counts = report.total.counts
    kept = np.diagonal(counts.kept).astype(np.float64)
    against = counts.kept_opposite.astype(np.float64)
    against = against.sum(axis=1) - np.diagonal(against)
    mean = float(np.mean(against[kept > 0] / kept[kept > 0])) if kept.any() else 0.0
    if mean < CONTESTED:
        return
    text = (
        f"Where a model has one of its largest {percent(report.kept)} of entries, {number(mean)} of the other "
        f"{len(report.models) - 1} have one of the opposite sign, on average. Methods that vote on signs or drop "
        "entries (`ties`, `pcb`, `della`, `dare_ties`) address that. On Text-8 they were two to three points ahead of "
        "`task_arithmetic` at the scales of the literature and level once its scale was searched; on Vision-8 `pcb` "
        "and `ties` stayed two points ahead."
    )
    suited = ("ties", "pcb", "della", "dare_ties")
    behind = {"opposing_large_entries": mean}
    yield Advice("method", "suggestion", "Votes on signs may help", text, behind, methods=suited, source=VISION8)


def _by_matrix(report: Report) -> Iterator[Advice]:
    """Compare leading subspaces, where spectra were looked at."""
    matrices = figures.changed(report.total.matrices)
    if not matrices:
        yield _unseen()
        return
    rank = float(np.mean([figures.stable_rank(matrix).mean() for matrix in matrices]))
    full = float(np.mean([min(matrix.shape) for matrix in matrices]))
    shared, chance = _shared(matrices)
    if rank > LOW_RANK * full or not shared > OVERLAPPING * chance:
        return
    text = (
        f"A matrix's change has a stable rank of {number(rank, 1)} on average (of at most {full:.0f}), and the leading "
        f"{report.spectra} directions of two tasks share {percent(shared)} of their space (random ones: "
        f"{percent(chance)}). Methods that take matrices apart (`tsv_m`, `iso_cts`, `wudi`, `subspace_boosting`) "
        "separate tasks there; on Text-8 they were three points ahead of the best scale of a sum, on Vision-8 ten to "
        "sixteen. They cost more time."
    )
    behind = {"stable_rank": rank, "shared_subspace": shared, "shared_by_chance": chance}
    suited = ("tsv_m", "iso_cts", "wudi", "subspace_boosting")
    yield Advice("method", "suggestion", "Methods of matrices may help", text, behind, methods=suited, source=TEXT8)


def _unseen() -> Advice:
    text = (
        "Spectra were not looked at (`taskvec inspect --spectra 16` does), so this does not say whether tasks share "
        "subspaces. Methods that take matrices apart were three points ahead of the best scale of a sum on Text-8, and "
        "up to sixteen on Vision-8."
    )
    return Advice("method", "note", "Matrices were not taken apart", text, source=TEXT8)


def _shared(matrices: Sequence[Matrix]) -> tuple[float, float]:
    """Return what leading subspaces share on average, and what random ones of that size would: k/n."""
    shared, chance = [], []
    for matrix in matrices:
        for cosines, length in ((matrix.left, matrix.shape[0]), (matrix.right, matrix.shape[1])):
            shared.append(figures.mean_pair(figures.shared_subspace(cosines)))
            chance.append(cosines.shape[-1] / length)
    return float(np.nanmean(shared)), float(np.mean(chance))


def _by_norm(report: Report) -> Iterator[Advice]:
    """Tell of one vector that outweighs all others together, and the weights that would make them even."""
    energies = np.diagonal(report.total.gram)
    shares = norm_shares(energies)
    t = int(np.argmax(shares))
    if len(shares) < 3 or shares[t] < DOMINANT:
        return
    text = (
        f"{report.models[t]} alone has {percent(float(shares[t]))} of all squared norms: in a sum of equal weights it "
        "decides the direction. Weights of 1/|τ| give every model the same say; `metagpt` does the contrary, weights "
        "of |τ|², which stays nearest to the long one."
    )
    behind = {"share_of_squared_norms": float(shares[t])}
    yield Advice("method", "warning", "One outweighs the others", text, behind, (report.models[t],))
