"""MetaGPT: task arithmetic whose weights are the shares of the squared norms."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from ...ops.arrays import Array
from ...ops.blend import Blend, blend
from ...ops.gram import gram as gram_of
from ...ops.shapes import Float, Float64
from ..registry import MANY, Needs, merge_method
from ..statistics import Gram


def coefficients(gram: Float64[np.ndarray, "task task"]) -> npt.NDArray[np.float64]:
    """Return each task's share of the squared norms; equal shares where all are zero.

    >>> coefficients(np.array([[1.0, 5.0], [5.0, 3.0]]))
    array([0.25, 0.75])
    """
    squares = np.diag(gram).astype(np.float64)
    total = float(squares.sum())
    return squares / total if total else np.full(len(squares), 1 / len(squares))


def steps(
    weights: Float[np.ndarray, " task"], *, scope: Literal["model", "tensor"], gram: Float64[np.ndarray, "task task"]
) -> Blend:
    """Return a sum with each task vector's share."""
    del weights, scope
    return Blend(coefficients(gram))


@merge_method(
    needs=Needs(space="delta", tasks=range(2, MANY), weighted=False, blend=steps, statistics={"gram": Gram()}),
    laws=("any_order", "homogeneous"),
    paper="Zhou et al. 2024, arXiv:2406.11385, §4.4, eq. 15",
)
def metagpt(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    scope: Literal["model", "tensor"] = "model",
    gram: Float64[np.ndarray, "task task"] | None = None,
) -> Float[Array, "*shape"]:
    """Add task vectors, each weighted by its share of the squared norms.

        λ_t = |τ_t|² / Σ_k |τ_k|²
        out = Σ λ_t τ_t

    Shape: `deltas` is (task, *shape); the result is (*shape). Weights are not used: the method finds its own.
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  task vectors of zeros give zeros.
    Same:  `task_arithmetic` with the weights λ_t, which sum to 1.
    Paper: the norms are those of the whole model (`scope: model`). The formula minimises a bound on the mean loss of
           the tasks for orthogonal task vectors in the linear regime; a large change counts more than a small one.

    Args:
        deltas: the task vectors.
        weights: not used.
        scope: over what the norms are taken: the whole model, or each tensor.
        gram: their inner products, over what `scope` says; found in `deltas` when not given.

    >>> metagpt(np.array([[1.0, 0.0], [0.0, 2.0]]), np.ones(2))
    array([0.2, 1.6])
    """
    return blend(deltas, steps(weights, scope=scope, gram=gram_of(deltas) if gram is None else gram))
