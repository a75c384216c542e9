"""NearSwap: take over from another model what differs little, and no more than so much of the rest."""

from typing import Annotated

from ...ops.arrays import Array, namespace
from ...ops.shapes import Float
from ..registry import Interval, Needs, merge_method


@merge_method(
    needs=Needs(space="delta", tasks=range(1, 2), weighted=False),
    laws=("odd",),
    paper="alchemonaut 2024, model card of QuartetAnemoi-70B-t0.0001, § NearSwap",
)
def nearswap(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    t: Annotated[float, Interval(0, 100)] = 0.0001,
) -> Float[Array, "*shape"]:
    """Move the base to another model where the two are near, and by `t` where they are not.

        g = min(1, t / |θ_1 - θ_0|),   θ = g θ_1 + (1 - g) θ_0,   which is
        out = τ clipped to [-t, t]

    Shape: `deltas` is (1, *shape); the result is (*shape). Weights are not used.
    Units: those of `deltas`, and so of `t`: the method is not homogeneous. Not scaled: the caller adds λ (`scale`)
           times this.
    Zero:  an entry that does not differ stays as it is; t = 0 gives the base.
    Paper: interpolation with a factor for each entry, g = t/|difference| held within [0, 1], and 1 where nothing
           differs. What that gives is the clipped task vector, exactly. mergekit holds the difference above 1e-6, so
           that below t = 1e-6 it moves small differences less.

    Args:
        deltas: the one task vector: the secondary model minus the base.
        weights: not used.
        t: the largest change of an entry.

    >>> import numpy as np
    >>> nearswap(np.array([[0.25, -3.0, 0.0]]), np.ones(1), t=0.5)
    array([ 0.25, -0.5 ,  0.  ])
    """
    del weights
    xp = namespace(deltas)
    end = xp.asarray(t, dtype=deltas.dtype)
    return xp.minimum(xp.maximum(deltas[0], -end), end)
