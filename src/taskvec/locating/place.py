"""From inner products to a place among the known tasks: coefficients, residual, verdict."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ops.locate import locate as fit
from ..ops.locate import reference_share
from ..ops.location import Location
from ..ops.shapes import Float64
from ..recipe.schema import Recipe
from .known import Known
from .products import Metric, Products
from .realise import recipe_of, scale_of


@dataclass(frozen=True)
class Place:
    """Where a new task lies among known ones.

    overall: coefficients, cosines and shares, all tensors together. groups: the same for each layer.
    verdict: `retrieve` (a known model, or a mixture that holds the task), `recombine` (in the known span), `learn`
    (mostly outside) or `undecided` (nothing says what share a known task would have). reason: the numbers behind it.
    reference: the share that a known task's own examples have explained, by calibration; None without one.
    mixture: the cone's coefficients as shares that add up to 1, in the order of `known`; scale: the λ of the merge.
    norms: (task,) |τ|.
    """

    known: Known
    metric: Metric
    signal: str
    overall: Location
    groups: Mapping[str, Location]
    verdict: str
    reason: str
    reference: float | None
    mixture: Float64[np.ndarray, " task"]
    scale: float
    norms: Float64[np.ndarray, " task"]
    facts: Mapping[str, Any]

    @property
    def nearest(self) -> str:
        """The known task with the largest cosine."""
        return self.known.names[int(np.argmax(self.overall.cosines))]

    @property
    def weights(self) -> Float64[np.ndarray, " task"]:
        """What the merge multiplies each known vector by."""
        return np.asarray(self.scale * self.mixture)

    @property
    def recipe(self) -> Recipe | None:
        """The merge that realises it; None where no known vector points the task's way."""
        return recipe_of(self.known, self.mixture, self.scale)

    @property
    def data(self) -> dict[str, Any]:
        """Everything as JSON has it."""
        tasks = [
            {"model": name, "path": self.known.models[name], "weight": float(w), "share": float(m), "cosine": float(c),
             "norm": float(n)}
            for name, w, m, c, n in zip(
                self.known.names, self.weights, self.mixture, self.overall.cosines, self.norms, strict=True
            )
        ]  # fmt: skip
        return {
            "signal": self.signal, "metric": self.metric, **self.facts, "verdict": self.verdict, "reason": self.reason,
            "reference": self.reference, "nearest": self.nearest, "scale": self.scale, "models": tasks,
            "overall": self.overall.facts(), "groups": {name: one.facts() for name, one in self.groups.items()},
        }  # fmt: skip


def place(
    known: Known,
    products: Products,
    signal: int = 0,
    *,
    metric: Metric = "euclidean",
    kind: str = "gradient",
    reference: float | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Place:
    """Return where the signal with this number lies; see `ops.locate.locate` for the fits.

    The length of a gradient means nothing: the merge takes the cone's direction, and its length from the models in it.
    A checkpoint has a length: the merge takes the cone's coefficients as they are, and the verdict goes by the simplex.
    """
    exact = kind == "checkpoint"
    whole = products.gram.sum(0), products.products[:, signal].sum(0), products.energy[:, signal].sum(0)
    told = 1.0 if reference is None else reference
    overall = fit(*whole, entries=int(products.entries.sum()), reference=told, scale_free=not exact)
    parts = fit(products.gram, products.products[:, signal], products.energy[:, signal], scale_free=not exact)
    groups = {name: parts[i] for i, name in enumerate(products.groups) if products.entries[i]}
    verdict, reason = str(overall.verdict), str(overall.reason)
    if reference is None and not exact and _clear(overall):
        verdict, reason = "undecided", _uncalibrated(overall)
    scale = float(overall.scale) if exact else scale_of(overall.mixture, products.plain)
    return Place(
        known, metric, kind, overall, groups, verdict, reason, reference, overall.mixture,
        scale, np.sqrt(np.diagonal(products.plain)), facts or {},
    )  # fmt: skip


def reference_of(products: Products) -> float:
    """Return the share that a known task's own examples have explained: the median over signals.

    Signal i is that of a known task, on as many examples as the new task has.
    """
    return float(reference_share(products.gram.sum(0), products.products.sum(0), products.energy.sum(0)))


def _clear(found: Location) -> bool:
    """Tell whether more is explained than by chance."""
    return bool(found.span.explained > found.random_mean + 4 * found.random_spread)


def _uncalibrated(found: Location) -> str:
    return (
        f"the span explains {float(found.span.explained):.3g} of it, and a random direction "
        f"{float(found.random_mean):.2g}; "
        f"what a known task has is not known without its examples (--calibrate)"
    )
