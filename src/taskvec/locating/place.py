"""From inner products to a place among the known tasks: coefficients, residual, verdict."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..ops.locate import locate as fit
from ..ops.locate import reference_share
from ..ops.location import Location
from ..ops.shapes import Float64
from ..ops.verdict import CLEARLY
from ..recipe.schema import Recipe
from .known import Known
from .products import Metric, Products
from .realise import recipe_by_layer, recipe_of, scale_of


@dataclass(frozen=True)
class Place:
    """Where a new task lies among known ones.

    overall: coefficients, cosines, shares and verdict, all tensors together. groups: the same for each layer.
    verdict: `retrieve` (a known model, or a mixture that holds the task), `recombine` (in the known span), `learn`
    (mostly outside) or `undecided` (nothing says what share a known task would have). reason: the numbers behind it.
    reference: the share that a known task's own examples have explained, by calibration; None without one.
    mixture: the cone's coefficients as shares that add up to 1, in the order of `known`; scale: the λ of the merge.
    scales: the λ of each group of tensors, were it merged by its own coefficients; by_layer: whether it is.
    norms: (task,) |τ|, of all tensors.
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
    scales: Mapping[str, float]
    norms: Float64[np.ndarray, " task"]
    facts: Mapping[str, Any]
    by_layer: bool = False

    @property
    def nearest(self) -> str:
        """The known task with the largest cosine."""
        return self.nearest_in(self.overall)

    def nearest_in(self, found: Location) -> str:
        """Return the known task with the largest cosine in everything or in a group; a model equal to the base is none.

        Where only such models are left, it is the first.
        """
        return self.known.names[int(np.argmax(np.where(self.norms > 0, found.cosines, -np.inf)))]

    @property
    def zeros(self) -> tuple[str, ...]:
        """The known models that are equal to the base: they have no direction."""
        return tuple(name for name, norm in zip(self.known.names, self.norms, strict=True) if norm == 0)

    @property
    def weights(self) -> Float64[np.ndarray, " task"]:
        """What the merge multiplies each known vector by."""
        return np.asarray(self.scale * self.mixture)

    @property
    def recipe(self) -> Recipe | None:
        """The merge that realises it; None where no known vector points the task's way."""
        return self.realised(1.0)

    def realised(self, share: float) -> Recipe | None:
        """Return the merge with a share of its length."""
        if not self.by_layer:
            return recipe_of(self.known, self.mixture, share * self.scale)
        own = {name: share * self.scales[name] * one.mixture for name, one in self.groups.items()}
        return recipe_by_layer(self.known, own)

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
            "reference": self.reference, "nearest": self.nearest, "zeros": list(self.zeros), "scale": self.scale,
            "scales": dict(self.scales), "by_layer": self.by_layer,
            "models": tasks, "overall": self.overall.facts(),
            "groups": {name: one.facts() for name, one in self.groups.items()},
        }  # fmt: skip


def place(
    known: Known,
    products: Products,
    signal: int = 0,
    *,
    metric: Metric = "euclidean",
    kind: str = "gradient",
    probes: Products | None = None,
    facts: Mapping[str, Any] | None = None,
    by_layer: bool = False,
) -> Place:
    """Return where the signal with this number lies; see `ops.locate.locate` for the fits.

    The length of a gradient means nothing: the merge takes the cone's direction, and its length from the models in it.
    A checkpoint has a length: the merge takes the cone's coefficients as they are, and the verdict goes by the simplex.

    Args:
        known: the known models.
        products: of these, and of signals.
        signal: the number of the one that is located.
        metric: of the products.
        kind: of the signal.
        probes: the same of signals of known tasks, got from as many examples: what every verdict is measured by.
        facts: of the signal, for `data`.
        by_layer: whether the merge has weights of its own in each layer, by the layer's own cone.
    """
    exact = kind == "checkpoint"
    whole = products.gram.sum(0), products.products[:, signal].sum(0), products.energy[:, signal].sum(0)
    reference = reference_of(probes) if probes else None
    overall = fit(
        *whole, entries=int(products.entries.sum()), reference=1.0 if reference is None else reference,
        scale_free=not exact,
    )  # fmt: skip
    some = np.flatnonzero(products.entries)
    parts = fit(
        products.gram[some], products.products[some, signal], products.energy[some, signal],
        entries=products.entries[some], reference=references_of(probes)[some] if probes else 1.0, scale_free=not exact,
    )  # fmt: skip
    if probes is None and not exact:
        overall, parts = _uncalibrated(overall), _uncalibrated(parts)
    groups = {products.groups[at]: parts[i] for i, at in enumerate(some.tolist())}
    scale = float(overall.scale) if exact else scale_of(overall.mixture, products.plain)
    scales = {
        products.groups[at]: float(parts[i].scale) if exact else scale_of(parts[i].mixture, products.lengths[at])
        for i, at in enumerate(some.tolist())
    }
    return Place(
        known, metric, kind, overall, groups, str(overall.verdict), str(overall.reason), reference, overall.mixture,
        scale, scales, np.sqrt(np.diagonal(products.plain)), facts or {}, by_layer,
    )  # fmt: skip


def reference_of(products: Products) -> float:
    """Return the share that a known task's own examples have explained: the median over signals.

    Signal i is that of a known task, on as many examples as the new task has.
    """
    return float(reference_share(products.gram.sum(0), products.products.sum(0), products.energy.sum(0)))


def references_of(products: Products) -> Float64[np.ndarray, " group"]:
    """Return the same for each group of tensors; NaN where no signal has anything there."""
    return reference_share(products.gram, np.moveaxis(products.products, 0, 1), products.energy.T)


def _uncalibrated(found: Location) -> Location:
    """Return the same, undecided wherever more is explained than by chance: the share of a known task is not known."""
    clear = found.span.explained > found.random_mean + CLEARLY * found.random_spread
    reasons = [
        f"the span explains {share:.3g} of it, and a random direction {chance:.2g}; "
        f"what a known task has is not known without its examples (--calibrate)"
        for share, chance in zip(found.span.explained.flat, found.random_mean.flat, strict=True)
    ]
    return replace(
        found,
        inside=np.where(clear, np.nan, found.inside),
        in_hull=np.where(clear, np.nan, found.in_hull),
        verdict=np.where(clear, np.array("undecided", object), found.verdict),
        reason=np.where(clear, np.array(reasons, object).reshape(found.batch), found.reason),
    )
