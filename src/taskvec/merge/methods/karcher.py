"""Karcher: the mean on the sphere, at the mean length."""

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, blend
from ...ops.gram import gram as gram_of
from ...ops.shapes import Float, Float64
from ...ops.sphere import karcher_mean
from ..registry import MANY, Needs, merge_method
from ..statistics import Gram


def steps(weights: Float[np.ndarray, " task"], *, gram: Float64[np.ndarray, "task task"]) -> Blend:
    """Return a sum with each model's factor."""
    del weights
    return Blend(karcher_mean(gram))


@merge_method(
    needs=Needs(space="weight", tasks=range(2, MANY), weighted=False, blend=steps, statistics={"gram": Gram()}),
    laws=("any_order", "idempotent", "homogeneous"),
    paper="Wang, Ye & Yin 2026, arXiv:2603.04972, §3.4",
)
def karcher(
    models: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    gram: Float64[np.ndarray, "task task"] | None = None,
) -> Float[Array, "*shape"]:
    """Take the point of the sphere that is nearest to all models, and give it their mean length.

        u_t = θ_t / |θ_t|,   m = the unit vector that makes Σ angle(m, u_t)² least,   in each tensor
        out = mean(|θ_t|) m

    Shape: `models` is (task, *shape); the result is (*shape). Weights are not used.
    Units: those of the weights. No base is needed.
    Zero:  a tensor of zeros has no direction and no say in m, but shortens the mean length. Where the directions
           cancel (opposite tensors) no point is nearest, and the plain average is taken; mergekit takes the first.
    Same:  `slerp` at t = 0.5 for two tensors of one length. For fine-tunes of one base, `linear` within a few per cent
           of the merged task vector.
    Paper: a fixed-point iteration on whole tensors. It stays in their span, so here it runs on their inner products in
           float64, to the end; mergekit stops after `max_iter` (10) steps or at `tol` (1e-5), in the inputs' type.

    Args:
        models: the models' weights.
        weights: not used.
        gram: their inner products over the whole tensor; found in `models` when not given.

    >>> karcher(np.array([[2.0, 0.0], [0.0, 4.0]]), np.ones(2)).round(4)
    array([2.1213, 2.1213])
    """
    return blend(models, steps(weights, gram=gram_of(models) if gram is None else gram))
