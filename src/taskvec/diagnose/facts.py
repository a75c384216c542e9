"""A report in plain data, for JSON and for the receipt of a merge."""

from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from .figures import (
    Share,
    cosines,
    gone,
    in_span,
    interference,
    lost,
    overlap,
    relative_change,
    shared_subspace,
    sign_conflict,
    stable_rank,
    trimmed_conflict,
)
from .mergeability_facts import mergeability_facts
from .report import Group, Matrix, Report

DIGITS = 6
"""Figures are written with so many digits."""


def facts(report: Report) -> dict[str, Any]:
    """Return a report as JSON has it: in total, by kind, by layer, and each matrix whose spectrum was looked at.

    Lists follow the order of "models"; what is said of pairs are lists of lists. A figure that does not exist (a share
    of nothing) is None. With curvature there is "mergeability", too.
    """
    expected = {"mergeability": mergeability_facts(report.mergeability)} if report.mergeability else {}
    return {
        "base": report.base,
        "models": list(report.models),
        "dtype": report.dtype,
        "kept": report.kept,
        "total": _of_group(report.total),
        "kinds": [_of_group(group) for group in report.by_kind()],
        "layers": [_of_group(group) for group in report.by_layer()],
        "dead": list(report.dead),
        "exploding": [{"model": m, "tensor": name, "ratio": plain(ratio)} for m, name, ratio in report.exploding],
        "spectra": report.spectra,
        "matrices": [_of_matrix(matrix) for group in report.groups for matrix in group.matrices],
        "bytes_read": report.read_bytes,
        "seconds": round(report.seconds, 3),
        "notes": list(report.notes),
        **expected,
    }


def plain(value: float | npt.NDArray[Any]) -> Any:
    """Return numbers as JSON has them: with six digits, and None for what is no number.

    >>> plain(np.array([[1 / 3, np.nan], [2, np.inf]]))
    [[0.333333, None], [2.0, None]]
    """
    if isinstance(value, np.ndarray) and value.ndim:
        return [plain(part) for part in value]
    number = float(value)
    return float(f"{number:.{DIGITS}g}") if isfinite(number) else None


def _of_group(group: Group) -> dict[str, Any]:
    shares = {
        "sign_conflict": sign_conflict(group),
        "trimmed_conflict": trimmed_conflict(group),
        "overlap": overlap(group),
    }
    left, stays = lost(group.rounding), gone(group.rounding)
    return {
        "stack": group.stack,
        "layer": group.layer,
        "kind": group.kind,
        "tensors": group.tensors,
        "entries": group.entries,
        "looked_at": group.counts.sampled,
        "base_norm": plain(group.base**0.5),
        "norms": plain(group.norms),
        "relative_change": plain(relative_change(group)),
        "largest": plain(group.largest),
        "cosines": plain(cosines(group)),
        "in_span": plain(in_span(group)),
        **{name: _of_share(share) for name, share in shares.items()},
        "lost": {"models": plain(left[:-1]), "average": plain(left[-1])},
        "gone": {"models": plain(stays[:-1]), "average": plain(stays[-1])},
    }


def _of_share(share: Share) -> dict[str, Any]:
    return {"share": plain(share.value), "error": plain(share.error)}


def _of_matrix(matrix: Matrix) -> dict[str, Any]:
    return {
        "name": matrix.name,
        "shape": list(matrix.shape),
        "values": plain(matrix.values),
        "error": plain(matrix.sure),
        "stable_rank": plain(stable_rank(matrix)),
        "left": plain(shared_subspace(matrix.left)),
        "right": plain(shared_subspace(matrix.right)),
        "interference": plain(interference(matrix)),
    }
