"""Curvature of every specialist, measured on its own training examples with its task's head, and kept on disk."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch

from taskvec.curvature import Estimating, measure_curvature
from taskvec.evaluate.model import Model
from taskvec.merge.curvature import Measured
from taskvec.ops.metric import Diagonal, Kronecker, Metric, Rotated
from taskvec.store.statistics import GRADIENT, Statistics

from .study import Study
from .ways import Way

SHARE = 0.1
"""The share of the training examples that statistics take where nothing else is said."""


def count_of(study: Study, share: float = SHARE) -> int:
    """Return how many examples a task a share is; two at least."""
    return max(2, round(share * study.training))


def with_count(study: Study, way: Way) -> Way:
    """Return a way whose number of examples is said."""
    return replace(way, examples=way.examples or count_of(study)) if way.estimator else way


@dataclass(frozen=True)
class Measures:
    """What was measured of some specialists, read from disk tensor by tensor."""

    held: Sequence[Statistics]

    def of(self, name: str, task: int) -> Measured | None:
        """Return what is known of one tensor of one specialist; None where nothing is."""
        found = self.held[task]
        if name not in found:
            return None
        gradient = _read(found, name, GRADIENT) if GRADIENT in found.shapes(name) else None
        return Measured(metric_of(found, name), found.total, gradient)


def metric_of(found: Statistics, name: str) -> Metric:
    """Return the metric that was measured of one tensor."""
    kind = found.kind_of(name)
    parts = {part: _read(found, name, part) for part in found.parts(name)}
    if kind == "eigen":
        return Rotated(parts["output_vectors"], parts["input_vectors"], parts["eigenvalues"])
    if kind == "diagonal":
        return Diagonal(parts[""])
    return Kronecker(parts.get("output"), parts["input"])


def _read(found: Statistics, name: str, part: str) -> torch.Tensor:
    return torch.from_numpy(found.read(name, part).copy())


def measures(study: Study, way: Way) -> Measures | None:
    """Return the statistics that a way needs of every specialist; those that were measured before are read."""
    if not way.estimator:
        return None
    return _measures(study, way.estimator, way.examples, way.gradient)


@cache
def _measures(study: Study, estimator: str, examples: int, gradient: bool) -> Measures:
    how = Estimating(estimator=estimator, examples=examples, gradient=gradient)
    return Measures([_measured(study, task, how) for task in study.every])


def _measured(study: Study, task: int, how: Estimating) -> Statistics:
    """Measure one specialist."""
    name = f"{how.estimator}-{how.examples}{'-gradient' if how.gradient else ''}"
    out = study.folder / "statistics" / name / study.names[task]
    if not out.is_dir():
        out.parent.mkdir(parents=True, exist_ok=True)
        model = Model(study.paths[task], device=study.device, inputs=study.model.path)
        measure_curvature(model, study.lesson(task), out, how)
    return Statistics(out)
