"""What curvature says of a merge in plain data, for JSON: of each tensor, of each layer and in total."""

from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from ..ops.merge_sums import MergeSums
from .mergeability import MERGES, SAID, Examined, Mergeability, Place, predictors

DIGITS = 9
"""Figures are written with so many digits: differences of them are of interest, too."""


def mergeability_facts(verdict: Mergeability) -> dict[str, Any]:
    """Return a verdict as JSON has it. Lists follow the order of the report's "models"."""
    return {
        "estimator": verdict.estimator,
        "examples": list(verdict.examples),
        "rank": verdict.rank,
        "units": [plain(unit) for unit in verdict.units],
        "unknown": list(verdict.unknown),
        "predictors": {name: plain(value) for name, value in predictors(None, verdict).items()},
        "merges": _merges(verdict.total),
        "total": _sums(verdict.total.all),
        "matrices": None if verdict.total.inside is None else _sums(verdict.total.inside),
        "others": None if verdict.total.outside is None else _sums(verdict.total.outside),
        "layers": [_place(place) for place in verdict.layers],
        "tensors": [_tensor(tensor) for tensor in verdict.tensors],
    }


def plain(value: float | npt.NDArray[Any]) -> Any:
    """Return numbers as JSON has them, with nine digits, and None for what is no number.

    >>> plain(np.array([1 / 3, np.inf]))
    [0.333333333, None]
    """
    if isinstance(value, np.ndarray) and value.ndim:
        return [plain(part) for part in value]
    number = float(value)
    return float(f"{number:.{DIGITS}g}") if isfinite(number) else None


def _merges(place: Place) -> list[dict[str, Any]]:
    """Return what is expected of the three merges, each at the scale that is expected to be best."""
    found = []
    for which in MERGES:
        merge = place.expected(which)
        found.append(
            {
                "merge": which,
                "method": SAID[which],
                "scale": plain(merge.scale),
                "excess": plain(merge.excess),
                "shares": plain(merge.shares),
            }
        )
    return found


def _place(place: Place) -> dict[str, Any]:
    return {
        "stack": place.stack,
        "layer": place.layer,
        "kind": place.kind,
        "merges": _merges(place),
        **_sums(place.all),
    }


def _tensor(tensor: Examined) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "stack": tensor.stack,
        "layer": tensor.layer,
        "kind": tensor.kind,
        "shape": list(tensor.shape),
        "inside": tensor.inside,
        "rank": tensor.rank,
        **_sums(tensor.sums),
    }


def _sums(sums: MergeSums) -> dict[str, Any]:
    tasks = float(len(sums.weights))
    loose, tight = sums.bounds("curved")
    sure, unsigned = sums.scaled_gain(tasks)
    merges = {
        which: {
            "excess": plain(sums.excess(which)),
            "bend": plain(getattr(sums, which).bend),
            "norm": plain(getattr(sums, which).norm ** 0.5),
            "best_scale": plain(sums.best_scale(which)),
        }
        for which in MERGES
    }
    return {
        "tensors": sums.tensors,
        "entries": sums.entries,
        "directions": sums.directions,
        "eta": plain(sums.eta),
        "relative_eta": plain(sums.relative_eta),
        "variance_flat": plain(sums.variance("flat")),
        "variance_curved": plain(sums.variance("curved")),
        "variance_of_sum_flat": plain(sums.variance("flat", tasks)),
        "variance_of_sum_curved": plain(sums.variance("curved", tasks)),
        "gain_of_sum": {"eta_term": plain(sure), "unsigned_term": plain(unsigned)},
        "residual": plain(sums.residual_energy),
        "bound": plain(loose),
        "tight_bound": plain(tight),
        "own": plain(sums.own),
        "kept": plain(sums.kept),
        "residuals": plain(sums.residual),
        "means": merges,
        "traces": plain(sums.traces),
        "traces_inside": plain(sums.inside),
        "least_eigenvalue": plain(sums.least),
        "largest_eigenvalue": plain(sums.largest),
        "condition": plain(sums.condition),
        "negative": sums.negative,
        "non_uniformity": plain(sums.non_uniformity),
        "interference": plain(sums.interference),
        "estimated": sums.estimated,
        "unsolved": plain(sums.unsolved),
    }
