"""Slerp of two stacks of vectors with weights: Shoemake 1985, SIGGRAPH, §3.3; mergekit's `nuslerp`."""

from collections.abc import Sequence

from .slerp import slerp


def nuslerp(
    stack: Sequence[Sequence[float]], weights: Sequence[float], *, over: str = "tensor", columns: int = 0
) -> list[float]:
    """Slerp at t = w_1 / (w_0 + w_1), of all as one vector, of each row of `columns` entries, or of each column."""
    t = weights[1] / (weights[0] + weights[1])
    n = len(stack[0])
    if over == "tensor":
        vectors = [range(n)]
    elif over == "row":
        vectors = [range(at, at + columns) for at in range(0, n, columns)]
    else:
        vectors = [range(at, n, columns) for at in range(columns)]
    merged = [0.0] * n
    for vector in vectors:
        for at, x in zip(vector, slerp([[x[i] for i in vector] for x in stack], t), strict=True):
            merged[at] = x
    return merged
