"""Slerp: walk from one model to another along the arc between them."""

from typing import Annotated

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, blend
from ...ops.gram import gram as gram_of
from ...ops.shapes import Float, Float64
from ...ops.sphere import arc
from ..registry import Interval, Needs, merge_method
from ..statistics import Gram


def steps(weights: Float[np.ndarray, " task"], *, t: float, gram: Float64[np.ndarray, "2 2"]) -> Blend:
    """Return a sum with both models' factors."""
    del weights
    return Blend(arc(gram, t))


@merge_method(
    needs=Needs(
        space="weight",
        tasks=range(2, 3),
        weighted=False,
        blend=steps,
        statistics={"gram": Gram()},
    ),
    laws=("idempotent",),
    paper="Shoemake 1985, SIGGRAPH, §3.3 (applied to each weight tensor as one vector)",
)
def slerp(
    models: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    t: Annotated[float, Interval(0, 1)] = 0.5,
    gram: Float64[np.ndarray, "2 2"] | None = None,
) -> Float[Array, "*shape"]:
    """Interpolate between two models along the arc between their weight tensors.

        Ω = angle between θ_0 and θ_1, each tensor taken as one vector
        out = sin((1 - t) Ω) / sin Ω θ_0 + sin(t Ω) / sin Ω θ_1

    Shape: `models` is (2, *shape); the result is (*shape). Weights are not used: `t` says where to stop.
    Units: those of the weights; the first model is at t = 0.
    Zero:  where the arc is not defined (a tensor of zeros, parallel or opposite tensors) the straight line is taken.
    Note:  two fine-tunes of one base lie at an angle of a few degrees, where the arc and the straight line differ by
           Ω²/8 of a weight at most: expect the result of `linear`. mergekit takes the line above a cosine of 0.9995
           without saying so; here the arc is computed at any angle.
    Paper: Shoemake interpolates points of length 1; here each model keeps its own length, as in mergekit.

    Args:
        models: the two models' weights.
        weights: not used.
        t: where between the first (0) and the second (1).
        gram: their inner products over the whole tensor; found in `models` when not given.

    >>> slerp(np.array([[1.0, 0.0], [0.0, 1.0]]), np.ones(2)).round(4)
    array([0.7071, 0.7071])
    """
    return blend(models, steps(weights, t=t, gram=gram_of(models) if gram is None else gram))
