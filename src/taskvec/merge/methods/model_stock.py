"""Model Stock: the average of fine-tuned models, pulled towards the base by as much as they disagree."""

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...ops.arrays import Array, namespace
from ...ops.blend import Blend, blend
from ...ops.combine import weighted_sum
from ...ops.gram import Over, cosines, vectors_of
from ...ops.shapes import Float, Float64
from ..registry import MANY, Needs, merge_method
from ..statistics import Gram, Settings


def over_what(settings: Settings) -> Over:
    """Return what is one vector."""
    over: Over = settings["over"]
    return over


PRODUCTS = Gram(over=over_what)


def interpolation_ratio(gram: Float64[np.ndarray, "*part task task"]) -> npt.NDArray[np.float64]:
    """Return t = T cos θ / (1 + (T - 1) cos θ), with cos θ the mean of the pairwise cosines, within [0, 1].

    >>> float(interpolation_ratio(np.array([[1.0, 0.5], [0.5, 1.0]])))
    0.6666666666666666
    """
    tasks = gram.shape[-1]
    pairs = np.ascontiguousarray(cosines(gram)[(..., *np.triu_indices(tasks, k=1))])
    cos = np.maximum(pairs.mean(axis=-1), 0.0)
    return np.asarray(np.clip(tasks * cos / (1 + (tasks - 1) * cos), 0.0, 1.0))


def steps(
    weights: Float[np.ndarray, " task"], *, over: Over, gram: Float64[np.ndarray, "part task task"]
) -> Blend | None:
    """Return a sum with the factor t / T for every task vector, where all is one vector."""
    del weights, over
    tasks = gram.shape[-1]
    return Blend(np.full(tasks, interpolation_ratio(gram[0]) / tasks)) if len(gram) == 1 else None


@merge_method(
    needs=Needs(
        space="delta",
        tasks=range(2, MANY),
        weighted=False,
        place=True,
        blend=steps,
        statistics={"gram": PRODUCTS},
    ),
    laws=("any_order", "homogeneous"),
    paper="Jang et al. 2024, arXiv:2403.19522, §4, eq. 4",
)
def model_stock(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    over: Literal["tensor", "row"] = "tensor",
    gram: Float64[np.ndarray, "part task task"] | None = None,
    place: tuple[int, int] | None = None,
) -> Float[Array, "*shape"]:
    """Average the task vectors, shortened the more the less they agree.

        cos θ = mean of the cosines between pairs of task vectors, in each tensor or row
        t = T cos θ / (1 + (T - 1) cos θ), clamped to [0, 1]
        out = t mean(τ_1 … τ_T)

    Shape: `deltas` is (task, *shape); the result is (*shape). Weights are not used: the method finds its own.
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  task vectors that oppose each other on the whole (cos θ ≤ 0) give 0: the base. A task vector of zeros has
           cosine 0 with the others.
    Note:  what shares a first index is one row; a tensor of one axis or one row is one vector. `over: row` is
           mergekit's `filter_wise: true` (vectors along the last axis, which differs where there are more than two).
    Scale: nothing is absolute: vectors a million times smaller have the same t.
    Paper: derived for two models and extended to T; a layer is a tensor here. No code was published. mergekit does
           not clamp (opposing models give t = -3) and holds norms above 1e-6, which spoils t for small tensors.

    Args:
        deltas: the task vectors.
        weights: not used.
        over: what is one vector, with a t of its own: the tensor, or each row.
        gram: inner products of each of these vectors; found in `deltas` when not given.
        place: the offset of the first entry and the entries a row, when `deltas` is a slice of flat tensors.

    >>> model_stock(np.array([[1.0, 1.0], [1.0, 0.0]]), np.ones(2)).round(3)
    array([0.828, 0.414])
    """
    gram = PRODUCTS.whole(deltas, {"over": over}) if gram is None else gram
    if how := steps(weights, over=over, gram=gram):
        return blend(deltas, how)
    start, columns = place or (0, math.prod(deltas.shape[2:]))
    row = vectors_of(start, math.prod(deltas.shape[1:]), columns, over)
    first, tasks = int(row.min()), deltas.shape[0]
    ratios = interpolation_ratio(gram[first : int(row.max()) + 1])[row - first]
    xp = namespace(deltas)
    factor = xp.reshape(xp.asarray(ratios / tasks, dtype=deltas.dtype), deltas.shape[1:])
    return factor * weighted_sum(deltas, np.ones(tasks))
