"""Consensus task arithmetic: add task vectors where enough tasks want the sum, by their TALL masks."""

from collections.abc import Sequence
from typing import Annotated

from ...errors import RecipeError
from ...ops.arrays import Array, namespace
from ...ops.combine import weighted_sum
from ...ops.shapes import Float
from ..registry import MANY, Interval, Needs, each, merge_method


@merge_method(
    needs=Needs(space="delta", tasks=range(2, MANY)),
    laws=("any_order", "homogeneous"),
    paper="Wang et al. 2024, arXiv:2405.07813, §4 (TALL masks, eq. 4) and §5 (Consensus Merging)",
)
def consensus_ta(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    tall: Annotated[float | Sequence[float], Interval(0, 1)] = 0.4,
    k: Annotated[float, Interval(1, MANY)] = 2.0,
) -> Float[Array, "*shape"]:
    """Add task vectors, and keep the entries of the sum that serve at least k of the tasks.

        τ_MTL = Σ w_t τ_t
        m_t = |τ_t| ≥ tall_t |τ_MTL - τ_t|        the sum is nearer to what task t wants than the base is
        out = τ_MTL [Σ m_t ≥ k]

    Shape: `deltas` is (task, *shape), `weights` is (task,); the result is (*shape).
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  entries that fewer than k tasks want come out as exactly 0. k = 1 drops what no task wants ("catastrophic"
           entries), k = 2 also what only one does ("selfish" ones).
    Paper: weights are 1 and the merge is scaled afterwards (by λ, here `scale`), so masks do not depend on it. The
           authors look for `tall` in 0.2 … 0.6 on each task's validation data and use k = 2; without data the middle
           is the default. Their code asks for > where equation 4 has ≥.

    Args:
        deltas: the task vectors.
        weights: one number a task; they weigh the sum that the masks are made for.
        tall: λ of the masks: the larger, the fewer entries a task wants; one number, or one a task.
        k: the least number of tasks that want an entry, from 1 to the number of tasks.

    >>> import numpy as np
    >>> consensus_ta(np.array([[1.0, 1.0, 1.0], [1.0, 0.0, -5.0]]), np.ones(2))
    array([2., 0., 0.])
    """
    tasks = deltas.shape[0]
    if k > tasks:
        raise RecipeError(
            f"'k' is {k:g} and only {tasks} models are merged: no entry would be left. Type 'k: {tasks}'."
        )
    xp = namespace(deltas)
    merged = weighted_sum(deltas, weights)
    wanted = xp.zeros_like(merged)
    for t in range(tasks):
        reach = xp.asarray(each(tall, t), dtype=deltas.dtype) * xp.abs(merged - deltas[t])
        wanted = wanted + xp.astype(xp.abs(deltas[t]) >= reach, deltas.dtype)
    return xp.where(wanted >= k, merged, xp.zeros_like(merged))
