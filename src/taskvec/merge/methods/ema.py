"""EMA: an exponential moving average over the checkpoints of one run."""

from typing import Annotated

import numpy as np
import numpy.typing as npt

from ...ops.arrays import Array
from ...ops.blend import Blend, blend
from ...ops.shapes import Float
from ..registry import MANY, Interval, Needs, merge_method


def coefficients(tasks: int, decay: float) -> npt.NDArray[np.float64]:
    """Return what each of `tasks` checkpoints, oldest first, counts in the end.

    >>> coefficients(3, 0.5)
    array([0.25, 0.25, 0.5 ])
    """
    after = decay ** np.arange(tasks - 1, -1, -1, dtype=np.float64)
    new = np.full(tasks, 1 - decay)
    new[0] = 1.0
    return new * after


def steps(weights: Float[np.ndarray, " task"], *, decay: float) -> Blend:
    """Return a sum with each checkpoint's factor."""
    return Blend(coefficients(len(weights), decay))


@merge_method(
    needs=Needs(space="weight", tasks=range(2, MANY), weighted=False, blend=steps),
    laws=("idempotent", "linear"),
    paper="Tarvainen & Valpola 2017, arXiv:1703.01780, §2 (over the steps of a run)",
)
def ema(
    models: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    decay: Annotated[float, Interval(0, 1)] = 0.8,
) -> Float[Array, "*shape"]:
    """Average a run's checkpoints, listed oldest first, the later ones more.

        m_0 = θ_0,   m_i = decay m_(i-1) + (1 - decay) θ_i
        out = m_(n-1) = decay^(n-1) θ_0 + Σ_(i≥1) (1 - decay) decay^(n-1-i) θ_i

    Shape: `models` is (n, *shape), oldest first; the result is (*shape). Weights are not used.
    Units: those of the weights. No base is needed.
    Edge:  decay 0 gives the last checkpoint, 1 the first. The order of the list matters.
    Same:  `linear` with the weights above, which sum to 1.
    Paper: the average is kept at every step of training, with a decay of 0.99 and more; over the few checkpoints that
           are left on disk smaller ones are used.

    Args:
        models: the checkpoints' weights, oldest first.
        weights: not used.
        decay: how much of the average so far stays at each checkpoint.

    >>> ema(np.array([[4.0], [8.0], [0.0]]), np.ones(3), decay=0.5)
    array([3.])
    """
    return blend(models, steps(weights, decay=decay))
