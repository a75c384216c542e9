"""Passthrough: one model's weights, as they are or times a factor."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, blend
from ...ops.shapes import Float
from ..registry import Interval, Needs, each, merge_method


def steps(weights: Float[np.ndarray, " task"], *, factor: float | Sequence[float]) -> Blend:
    """Return a sum of one."""
    del weights
    return Blend(np.array([each(factor, 0)]))


@merge_method(
    needs=Needs(space="weight", tasks=range(1, 2), weighted=False, blend=steps),
    laws=("homogeneous", "linear"),
    paper="Goddard et al. 2024, arXiv:2403.13257, §3 (mergekit's `passthrough`)",
)
def passthrough(
    models: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    factor: Annotated[float | Sequence[float], Interval(-100, 100)] = 1.0,
) -> Float[Array, "*shape"]:
    """Take one model's weights, multiplied by a factor.

        out = factor θ_0

    Shape: `models` is (1, *shape); the result is (*shape). Weights are not used.
    Units: those of the weights. No base is needed.
    Zero:  factor 1 gives the very bits of the input (of every finite number, -0.0 and the smallest too), if the
           stored type is that of the input; factor 0 gives zeros.
    Paper: mergekit calls the factor `scale`; here `scale` is λ, which belongs to task vectors.

    Args:
        models: the one model's weights.
        weights: not used.
        factor: what they are multiplied by; under `settings`, under the model, or in an override for
            some tensors only.

    >>> passthrough(np.array([[1.0, -2.0]]), np.ones(1), factor=0.5)
    array([ 0.5, -1. ])
    """
    return blend(models, steps(weights, factor=factor))
