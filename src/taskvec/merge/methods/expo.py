"""ExPO: go on from an aligned model in the direction that alignment took."""

from typing import Annotated

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, blend
from ...ops.shapes import Float
from ..registry import Interval, Needs, merge_method


def steps(weights: Float[np.ndarray, " task"], *, alpha: float) -> Blend:
    """Return a sum of one."""
    del weights
    return Blend(np.array([1 + alpha], dtype=np.float64))


@merge_method(
    needs=Needs(space="delta", tasks=range(1, 2), weighted=False, blend=steps),
    laws=("homogeneous", "linear"),
    paper="Zheng et al. 2024, arXiv:2404.16792, §2",
)
def expo(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    alpha: Annotated[float, Interval(-100, 100)] = 0.5,
) -> Float[Array, "*shape"]:
    """Extrapolate from the base through one model, beyond it.

        θ = θ_1 + alpha (θ_1 - θ_0) = θ_0 + (1 + alpha) τ,  so
        out = (1 + alpha) τ

    Shape: `deltas` is (1, *shape); the result is (*shape). Weights are not used.
    Units: those of `deltas` (aligned minus its start). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  alpha 0 gives the model itself, -1 the base.
    Same:  `task_arithmetic` with `scale` 1 + alpha.
    Paper: θ_0 is the model before preference training (SFT), θ_1 the one after (DPO, RLHF). The authors' code adds
           alpha τ to θ_1 in bf16; here the sum is rounded once. They call 0.3 or 0.5 usually good.

    Args:
        deltas: the one task vector.
        weights: not used.
        alpha: how far beyond the model, in lengths of its task vector.

    >>> expo(np.array([[2.0, -4.0]]), np.ones(1), alpha=0.5)
    array([ 3., -6.])
    """
    return blend(deltas, steps(weights, alpha=alpha))
