"""How far apart the tasks are at each entry."""

from .arrays import Array, namespace
from .kernels import fused_for
from .shapes import Float


def spread(stack: Float[Array, " task *shape"]) -> Float[Array, "*shape"]:
    """Return the standard deviation over the tasks, found in float64 and rounded once.

        d_t = x_t - x_0
        out = sqrt(T Σ d_t² - (Σ d_t)²) / T

    Zero: where all tasks are equal, to the bit, it is exactly 0. As d_0 is 0, T Σ d² - (Σ d)² is at least Σ d², so
        that little cancels.
    Ties: nothing is divided before the root, so where all d_t are multiples of one number, up to 2²⁴ times it (bf16
        and float16 models are), nothing is rounded before it either: entries of equal variance have the same bits.

    It ranks as the variance does, and squares of small float32 numbers do not underflow in it.

    >>> import numpy as np
    >>> spread(np.array([[3.0, 1.0], [1.0, 1.0]]))
    array([1., 0.])
    """
    if fused := fused_for(stack):
        return fused.spread(stack)
    xp = namespace(stack)
    first = xp.astype(stack[0], xp.float64)
    tasks = stack.shape[0]
    total, energy = xp.zeros_like(first), xp.zeros_like(first)
    for t in range(1, tasks):
        d = xp.astype(stack[t], xp.float64) - first
        total, energy = total + d, energy + d * d
    return xp.astype(xp.sqrt(tasks * energy - total * total) / tasks, stack.dtype)


def differing(stack: Float[Array, " task *shape"]) -> int:
    """Return how many entries are not the same in all tasks.

    >>> import numpy as np
    >>> differing(np.array([[3.0, 1.0], [1.0, 1.0]]))
    1
    """
    if fused := fused_for(stack):
        return int(fused.differing(stack))
    xp = namespace(stack)
    return int(xp.count_nonzero(xp.any(stack[1:] != stack[:1], axis=0)))


def keep_apart(stack: Float[Array, " task *shape"], least: float) -> Float[Array, " task *shape"]:
    """Return the stack with 0 where the tasks' spread is below `least`.

    >>> import numpy as np
    >>> keep_apart(np.array([[3.0, 1.0], [1.0, 1.0]]), 0.5)
    array([[3., 0.],
           [1., 0.]])
    """
    if fused := fused_for(stack):
        return fused.keep_apart(stack, least)
    xp = namespace(stack)
    return xp.where(spread(stack) >= xp.asarray(least, dtype=stack.dtype), stack, xp.zeros_like(stack))
