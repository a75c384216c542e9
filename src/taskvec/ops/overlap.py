"""Which tasks changed an entry: averages over those alone, and how many changes a task shares with others."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .arrays import Array, namespace
from .kernels import fused_for
from .shapes import Float


def average_changed(
    stack: Float[Array, " task *shape"], epsilon: float = 0.0, alone: Sequence[float] | None = None
) -> Float[Array, "*shape"]:
    """Average at each entry the tasks that changed it by more than epsilon.

        c = #{t : |x_t| > epsilon}
        out = Σ x_t [|x_t| > epsilon] / c          0 where c = 0
        out = alone_t x_t                          where c = 1 and `alone` is given

    >>> average_changed(np.array([[3.0, 0.0, 2.0], [1.0, 0.0, 0.0]]), alone=[1.5, 1.5])
    array([2., 0., 3.])
    """
    if fused := fused_for(stack):
        return fused.average_changed(stack, epsilon, alone)
    xp = namespace(stack)
    zero, one = xp.zeros_like(stack[0]), xp.ones_like(stack[0])
    total, raised, count = zero, zero, zero
    for t in range(stack.shape[0]):
        changed = changed_by(stack[t], epsilon)
        x = xp.where(changed, stack[t], zero)
        total = total + x
        count = count + xp.astype(changed, stack.dtype)
        if alone is not None:
            raised = raised + xp.asarray(alone[t], dtype=stack.dtype) * x
    mean = total / xp.where(count == 0, one, count)
    return mean if alone is None else xp.where(count == 1, raised, mean)


def overlaps(rows: Float[np.ndarray, "task n"], epsilon: float = 0.0) -> npt.NDArray[np.float64]:
    """Count for each task the entries that others changed too, and those that it changed alone.

    >>> overlaps(np.array([[3.0, 0.0, 2.0], [1.0, 0.0, 0.0]]))
    array([[1., 1.],
           [1., 0.]])
    """
    if fused := fused_for(rows):
        counts: npt.NDArray[np.float64] = fused.overlaps(rows, epsilon)
        return counts
    changed = np.stack([changed_by(row, epsilon) for row in rows])
    several = changed.sum(axis=0, dtype=np.int16) > 1
    mine = np.count_nonzero(changed, axis=1)
    shared = np.count_nonzero(changed & several, axis=1)
    return np.stack([shared, mine - shared], axis=1).astype(np.float64)


def changed_by(x: Float[Array, "*shape"], epsilon: float) -> Array:
    """Return where |x| > epsilon, with epsilon in the precision of x."""
    xp = namespace(x)
    return xp.abs(x) > xp.asarray(epsilon, dtype=x.dtype)
