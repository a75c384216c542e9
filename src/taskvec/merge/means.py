"""What methods share that take a mean of models under the curvature of linear layers."""

from collections.abc import Iterator, Sequence

import numpy as np

from ..ops.arrays import Array, namespace
from ..ops.blend import Blend
from ..ops.frechet import frechet
from ..ops.metric import Diagonal, Flat, Metric
from ..ops.shapes import Float
from .curvature import Measured
from .matrices import TAKEN_APART, Role, Spectral, matrices, shaped
from .registry import shares


def averaged(weights: Float[Array, " task"], *, spectral: Spectral, role: Role | None = None) -> Blend | None:
    """Return the mean Σ w_t τ_t / Σ w_t for a tensor that is not taken apart; None for those that are.

    Raises:
        RecipeError: weights that sum to 0.
    """
    return None if role is None or role in TAKEN_APART[spectral] else Blend(shares(weights))


def metrics_of(curvature: Sequence[Measured] | None, tasks: int) -> Iterator[Metric]:
    """Yield each task's metric, on tensors seen as matrices; flat where nothing was measured."""
    for t in range(tasks):
        yield Flat() if curvature is None else as_matrix(curvature[t].metric)


def as_matrix(metric: Metric) -> Metric:
    """Return a metric on tensors seen as matrices, the first axis against all others."""
    if isinstance(metric, Diagonal) and metric.values.ndim != 2:
        return Diagonal(namespace(metric.values).reshape(metric.values, (metric.values.shape[0], -1)))
    return metric


def plain_mean(stack: Float[Array, " task *shape"], weights: Float[Array, " task"]) -> Float[Array, "*shape"]:
    """Return Σ w_t τ_t / Σ w_t of tasks that are asked for one after the other."""
    ones = np.ones(stack.shape[0])
    found = frechet(matrices(stack, ones), metrics_of(None, stack.shape[0]), shares(weights)).curved
    return shaped(found, stack)
