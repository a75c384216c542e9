"""Magnitude pruning: keep the largest entries of each task vector, then add."""

from typing import Any, Literal

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, blend
from ...ops.select import count_of
from ...ops.shapes import Float
from ..registry import Needs, Shares, each, factors, merge_method
from ..statistics import Magnitudes, Settings


def ranks(settings: Settings, task: int, total: int) -> tuple[int, ...]:
    """Return the rank of the smallest magnitude kept: the nearest number to density · total, at least 1."""
    return (max(1, count_of(each(settings["density"], task), total)),)


KEPT = Magnitudes(ranks)


def steps(
    weights: Float[np.ndarray, " task"], *, normalize: bool, threshold: Float[np.ndarray, "task 1"], **settings: Any
) -> Blend:
    """Return a sum of what reaches each task's threshold."""
    del settings  # they were needed for the threshold
    return Blend(factors(weights, normalize), band=(threshold[:, 0], np.full(len(threshold), np.inf)))


@merge_method(
    needs=Needs(space="delta", blend=steps, statistics={"threshold": KEPT}),
    laws=("any_order", "homogeneous"),
    paper="Yadav et al. 2023, arXiv:2306.01708, Algorithm 1 (its first step alone)",
)
def magnitude_prune(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    density: Shares = 0.2,
    scope: Literal["model", "tensor"] = "model",
    normalize: bool = False,
    threshold: Float[np.ndarray, "task 1"] | None = None,
) -> Float[Array, "*shape"]:
    """Keep the largest entries of each task vector and add.

        out = Σ w_t τ_t [|τ_t| ≥ threshold_t]        with `normalize`, divided by Σ w_t

    Shape: `deltas` is (task, *shape), `weights` is (task,); the result is (*shape).
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  density 1 keeps everything: task arithmetic.
           Weights that sum to 0 cannot be normalised and are refused.
    Ties:  all entries as large as the smallest one kept are kept, so the result does not depend on any order.
    Paper: the trim of TIES, without its vote; with `scope: tensor` it is `breadcrumbs` with gamma 0. PEFT's
           `magnitude_prune` does it to each factor of an adapter, `magnitude_prune_svd` to each tensor; what is kept of
           equal entries is arbitrary there. Nothing is rescaled in any of them.

    Args:
        deltas: the task vectors.
        weights: one number a task.
        density: share of each task's entries that is kept; one number, or one a task.
        scope: over what a task's entries are ranked: the whole model, or each tensor.
        normalize: divide by the sum of the weights.
        threshold: each task's smallest kept magnitude; found in `deltas` when not given.

    >>> magnitude_prune(np.array([[3.0, 0.1], [1.0, -4.0]]), np.ones(2), density=0.5)
    array([ 3., -4.])
    """
    del scope  # the planner's: it decides which tensors share a threshold
    if threshold is None:
        threshold = KEPT.whole(deltas, {"density": density})
    return blend(deltas, steps(weights, normalize=normalize, threshold=threshold))
