"""NuSLERP: slerp of two models or of two task vectors, with a weight each; of whole tensors, rows or columns."""

import math

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, blend
from ...ops.combine import sum_by_parts
from ...ops.gram import Over
from ...ops.shapes import Float, Float64
from ...ops.sphere import arc, arcs
from ..registry import Needs, merge_method, shares
from ..statistics import Gram, Settings


def over_what(settings: Settings) -> Over:
    """Return what is one vector."""
    over: Over = settings["over"]
    return over


PRODUCTS = Gram(over=over_what)


def end(weights: Float[Array, " task"]) -> float:
    """Return where between the first (0) and the second (1) the weights lie."""
    return float(shares(weights, "Type other weights.")[1])


def steps(weights: Float[np.ndarray, " task"], *, over: Over, gram: Float64[np.ndarray, "part 2 2"]) -> Blend | None:
    """Return a sum with both factors, where all is one vector."""
    del over
    return Blend(arc(gram[0], end(weights))) if len(gram) == 1 else None


@merge_method(
    needs=Needs(space="either", tasks=range(2, 3), place=True, blend=steps, statistics={"gram": PRODUCTS}),
    laws=("any_order", "idempotent", "homogeneous"),
    paper="Shoemake 1985, SIGGRAPH, §3.3 (as mergekit's `nuslerp` applies it)",
)
def nuslerp(
    stack: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    over: Over = "tensor",
    gram: Float64[np.ndarray, "part 2 2"] | None = None,
    place: tuple[int, int] | None = None,
) -> Float[Array, "*shape"]:
    """Interpolate along the arc between two models, or between their task vectors.

        t = w_1 / (w_0 + w_1),   Ω = angle between x_0 and x_1
        out = sin((1 - t) Ω) / sin Ω x_0 + sin(t Ω) / sin Ω x_1        in each tensor, row or column

    Shape: `stack` is (2, *shape), `weights` is (2,); the result is (*shape).
    Units: those of the stack: task vectors where there is a base, else weights.
    Zero:  where the arc is not defined (a vector of zeros, parallel or opposite vectors) the straight line is taken.
           mergekit takes a vector of zeros to be at a right angle. Weights that sum to 0 are refused; mergekit takes
           t = 1/2.
    Same:  `slerp` at t, where there is no base and `over: tensor`.
    Note:  what shares a first index is one row; a tensor of one axis or one row is one vector. mergekit's
           `nuslerp_flatten: false` is `over: row` (vectors along the last axis, which differs where there are more
           than two), and with `nuslerp_row_wise: true` too it is `over: column`.
    Paper: Shoemake interpolates points of length 1; here each vector keeps its own length, as in mergekit.

    Args:
        stack: two task vectors, or the weights of two models.
        weights: one number each.
        over: what is one vector: the tensor, each row, or each column.
        gram: inner products of each of these vectors; found in `stack` when not given.
        place: the offset of the first entry and the entries a row, when `stack` is a slice of flat tensors.

    >>> nuslerp(np.array([[1.0, 0.0], [0.0, 1.0]]), np.ones(2)).round(4)
    array([0.7071, 0.7071])
    """
    gram = PRODUCTS.whole(stack, {"over": over}) if gram is None else gram
    if how := steps(weights, over=over, gram=gram):
        return blend(stack, how)
    start, columns = place or (0, math.prod(stack.shape[2:]))
    first, skipped = divmod(start, columns)
    if over == "row":
        gram = gram[first : first - (-(skipped + math.prod(stack.shape[1:])) // columns)]
    return sum_by_parts(stack, arcs(gram, end(weights)), skipped, columns, over == "row")
