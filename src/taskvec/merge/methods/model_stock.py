"""Model Stock: the average of fine-tuned models, pulled towards the base by as much as they disagree."""

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, blend
from ...ops.gram import cosines
from ...ops.gram import gram as gram_of
from ...ops.shapes import Float, Float64
from ..registry import MANY, Needs, merge_method
from ..statistics import Gram


def interpolation_ratio(gram: Float64[np.ndarray, "task task"]) -> float:
    """Return t = T cos θ / (1 + (T - 1) cos θ), with cos θ the mean of the pairwise cosines, within [0, 1].

    >>> interpolation_ratio(np.array([[1.0, 0.5], [0.5, 1.0]]))
    0.6666666666666666
    """
    tasks = len(gram)
    pairs = cosines(gram)[np.triu_indices(tasks, k=1)]
    cos = float(pairs.mean())
    return float(np.clip(tasks * cos / (1 + (tasks - 1) * cos), 0.0, 1.0)) if cos > 0 else 0.0


def steps(weights: Float[np.ndarray, " task"], *, gram: Float64[np.ndarray, "task task"]) -> Blend:
    """Return a sum with the factor t / T for every task vector."""
    del weights
    return Blend(np.full(len(gram), interpolation_ratio(gram) / len(gram)))


@merge_method(
    needs=Needs(
        space="delta",
        tasks=range(2, MANY),
        weighted=False,
        blend=steps,
        statistics={"gram": Gram()},
    ),
    laws=("any_order", "homogeneous"),
    paper="Jang et al. 2024, arXiv:2403.19522, §4, eq. 4",
)
def model_stock(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    gram: Float64[np.ndarray, "task task"] | None = None,
) -> Float[Array, "*shape"]:
    """Average the task vectors, shortened the more the less they agree.

        cos θ = mean of the cosines between pairs of task vectors, in each tensor
        t = T cos θ / (1 + (T - 1) cos θ), clamped to [0, 1]
        out = t mean(τ_1 … τ_T)

    Shape: `deltas` is (task, *shape); the result is (*shape). Weights are not used: the method finds its own.
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  task vectors that oppose each other on the whole (cos θ ≤ 0) give 0: the base. A task vector of zeros has
           cosine 0 with the others.
    Scale: nothing is absolute: vectors a million times smaller have the same t.
    Paper: derived for two models and extended to T; a layer is a tensor here. No code was published. mergekit does
           not clamp (opposing models give t = -3) and holds norms above 1e-6, which spoils t for small tensors.

    Args:
        deltas: the task vectors.
        weights: not used.
        gram: their inner products over the whole tensor; found in `deltas` when not given.

    >>> model_stock(np.array([[1.0, 1.0], [1.0, 0.0]]), np.ones(2)).round(3)
    array([0.828, 0.414])
    """
    return blend(deltas, steps(weights, gram=gram_of(deltas) if gram is None else gram))
