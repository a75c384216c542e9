"""Add up a stack of tensors: with weights, or only where their signs agree."""

import math
from typing import Literal

import numpy as np

from .arrays import Array, namespace
from .kernels import fused_for
from .select import keep_between
from .shapes import Float

Band = tuple[Float[np.ndarray, " task"], Float[np.ndarray, " task"]]
"""Each task's smallest and largest magnitude that is kept."""

Elect = Literal["sum", "weighted", "count"]
Combine = Literal["mean", "sum", "count"]
Tied = Literal["zero", "positive"]


def weighted_sum(
    stack: Float[Array, " task *shape"], weights: Float[Array, " task"], band: Band | None = None
) -> Float[Array, "*shape"]:
    """Add tensors with a weight each, one after the other, in the stack's own precision.

        x_t = stack_t, or keep_between(stack_t, band)
        out = w_0 x_0 + w_1 x_1 + …        left to right, every product and sum rounded once

    >>> weighted_sum(np.array([[1.0, 2.0], [10.0, 20.0]]), np.array([1.0, 0.5]))
    array([ 6., 12.])
    """
    w = _one_a_task(weights, stack).tolist()
    if fused := fused_for(stack):
        return fused.blend_rows(stack, w, band=band)
    xp = namespace(stack)
    stack = keep_between(stack, *band) if band else stack
    w = [xp.asarray(x, dtype=stack.dtype) for x in w]
    out = w[0] * stack[0]
    for t in range(1, stack.shape[0]):
        out = out + w[t] * stack[t]
    return out


def sum_by_parts(
    stack: Float[Array, " task *shape"],
    factors: Float[np.ndarray, "part task"],
    start: int,
    columns: int,
    by_row: bool,
) -> Float[Array, "*shape"]:
    """Add tensors, seen as flat, with a factor for each row (of so many columns), or for each column.

        out[i] = f_0 stack_0[i] + f_1 stack_1[i] + …
        f = factors[(start + i) // columns], or factors[(start + i) % columns]

    >>> sum_by_parts(np.ones((1, 4)), np.array([[5.0], [7.0]]), 1, 3, by_row=True)
    array([5., 5., 7., 7.])
    """
    if fused := fused_for(stack):
        return fused.sum_by_parts(stack, factors, start, columns, by_row)
    xp, shape = namespace(stack), stack.shape[1:]
    stop = start + math.prod(shape)
    each = (np.repeat(f, columns)[start:stop] if by_row else np.resize(f, stop)[start:] for f in factors.T)
    f = [xp.reshape(xp.asarray(x, dtype=stack.dtype), shape) for x in each]
    out = f[0] * stack[0]
    for t in range(1, stack.shape[0]):
        out = out + f[t] * stack[t]
    return out


def elect_and_average(
    stack: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    band: Band | None = None,
    elect: Elect = "sum",
    combine: Combine = "mean",
    tied: Tied = "zero",
) -> Float[Array, "*shape"]:
    """Elect a sign for each entry, then average the tensors that have it.

        x_t = sign(w_t) stack_t, or of keep_between(stack_t, band)  a negative weight turns its tensor around
        vote = Σ x_t  |  Σ |w_t| x_t  |  Σ sign(x_t)                `elect`: sum, weighted, count
        s = sign(vote), where sign(0) = 0 or +1                     `tied`: zero, positive
        A = {t : sign(x_t) = s ≠ 0}
        out = Σ_A |w_t| x_t / Σ_A |w_t|  |  Σ_A |w_t| x_t  |  Σ_A |w_t| x_t / #A     `combine`: mean, sum, count

    Zero: an entry that nobody has, or whose vote is tied under `tied="zero"`, comes out as 0.

    >>> elect_and_average(np.array([[3.0, 0.0], [1.0, -4.0]]), np.ones(2))
    array([ 2., -4.])
    """
    w = _one_a_task(weights, stack)
    if fused := fused_for(stack):
        return fused.blend_rows(stack, w, band=band, vote=(elect, combine, tied))
    xp = namespace(stack)
    stack = keep_between(stack, *band) if band else stack
    size = [xp.asarray(abs(x), dtype=stack.dtype) for x in w.tolist()]
    # A weight that the stack's precision rounds to zero has no side.
    side = [-1.0 if x < 0 and float(s) > 0 else 1.0 for x, s in zip(w.tolist(), size, strict=True)]
    zero, one = xp.zeros_like(stack[0]), xp.ones_like(stack[0])
    vote = zero
    for t, flip in enumerate(side):
        x = flip * stack[t]
        if elect == "count":
            x = xp.where(x == x, xp.sign(x), zero)  # NaN has no vote
        vote = vote + (size[t] * x if elect == "weighted" else x)
    winner = xp.sign(vote)
    if tied == "positive":
        winner = xp.where(winner == 0, one, winner)
    total, share = zero, zero
    for t, flip in enumerate(side):
        x = flip * stack[t]
        agrees = (xp.sign(x) == winner) & (x != 0)
        total = total + xp.where(agrees, size[t] * x, zero)
        share = share + xp.where(agrees, one if combine == "count" else size[t] * one, zero)
    if combine == "sum":
        return total
    return xp.where(share == 0, zero, total / xp.where(share == 0, one, share))


def _one_a_task(weights: Float[Array, " task"], stack: Array) -> Float[np.ndarray, " task"]:
    w = np.asarray(weights, dtype=np.float64)
    if len(w) != stack.shape[0]:
        raise ValueError(f"{len(w)} weights for {stack.shape[0]} tasks")
    return w


def add_scaled(
    base: Float[Array, "*shape"], delta: Float[Array, "*shape"], scale: float = 1.0
) -> Float[Array, "*shape"]:
    """Move a base along a delta: base + λ delta, and the base's very bits where λ delta is zero.

    Zero: where λ delta = ±0 the result is the base itself, so that -0.0 stays -0.0 and λ = 0 changes no bit.

    >>> add_scaled(np.array([1.0, -0.0]), np.array([2.0, 0.0]), 0.5)
    array([ 2., -0.])
    """
    if fused := fused_for(base, delta):
        return fused.add_scaled(base, delta, scale)
    xp = namespace(base)
    step = xp.asarray(scale, dtype=base.dtype) * delta
    return xp.where(step == 0, base, base + step)
