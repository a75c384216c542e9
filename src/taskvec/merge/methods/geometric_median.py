"""Geometric median: the vector whose distances to all task vectors sum to the least."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from ...errors import RecipeError
from ...ops.arrays import Array
from ...ops.blend import Blend, blend
from ...ops.gram import gram as gram_of
from ...ops.median import geometric_median as median_of
from ...ops.shapes import Float, Float64
from ..registry import MANY, Needs, merge_method
from ..statistics import Gram


def coefficients(weights: Float[Array, " task"], gram: Float64[np.ndarray, "task task"]) -> npt.NDArray[np.float64]:
    """Return each task vector's factor; a negative weight turns its vector around.

    Raises:
        RecipeError: every weight is 0.

    >>> coefficients(np.array([1.0, -2.0]), np.eye(2))
    array([ 0., -1.])
    """
    w = np.asarray(weights, dtype=np.float64)
    if not w.any():
        raise RecipeError(f"the weights {w.tolist()} are all 0, and so is every distance. Type other weights.")
    side = np.where(w < 0, -1.0, 1.0)
    return side * median_of(gram * side[:, None] * side[None, :], np.abs(w) / float(np.abs(w).sum()))


def steps(
    weights: Float[np.ndarray, " task"], *, scope: Literal["model", "tensor"], gram: Float64[np.ndarray, "task task"]
) -> Blend:
    """Return a sum with each task vector's factor."""
    del scope
    return Blend(coefficients(weights, gram))


@merge_method(
    needs=Needs(space="delta", tasks=range(2, MANY), blend=steps, statistics={"gram": Gram()}),
    laws=("any_order", "homogeneous"),
    paper="Vardi & Zhang 2000, PNAS 97:1423 (Weiszfeld's algorithm, with their eq. for an iterate at a data point)",
)
def geometric_median(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    scope: Literal["model", "tensor"] = "model",
    gram: Float64[np.ndarray, "task task"] | None = None,
) -> Float[Array, "*shape"]:
    """Take the point that is nearest to all task vectors, by the sum of the distances.

        out = argmin_y Σ w_t |τ_t - y|

    Shape: `deltas` is (task, *shape), `weights` is (task,); the result is (*shape).
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  weights that are all 0 are refused; a weight of 0 leaves its vector out. A negative weight turns its vector
           around first, as in `ties`.
    Edge:  of two task vectors the heavier one is the median; of two that weigh the same, and of an even number on one
           line, every point between is, and the one is taken that the iteration reaches from the weighted mean.
    Note:  an average that outliers hardly move: less than half of the weight cannot drag it away.
    Base:  while no weight is negative the median moves with the base: any other one gives the same merged model.
    Paper: Weiszfeld's iteration stops at a data point that is not the median; Vardi & Zhang's does not. It stays in
           the span of the vectors, so here it runs on their inner products in float64, until the factors settle to
           1e-14.

    Args:
        deltas: the task vectors.
        weights: one number a task.
        scope: what is one vector: the whole model, or each tensor.
        gram: their inner products, over what `scope` says; found in `deltas` when not given.

    >>> geometric_median(np.array([[0.0, 0.0], [1.0, 0.0], [100.0, 1.0]]), np.ones(3)).round(3)
    array([1., 0.])
    """
    return blend(deltas, steps(weights, scope=scope, gram=gram_of(deltas) if gram is None else gram))
