"""What methods of curvature are given in conformance tests: functions of task and place, so that slices fit wholes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from measured import random_part
from taskvec.merge import Method
from taskvec.merge.curvature import Measured
from taskvec.ops.metric import Diagonal, Kronecker, Metric, Rotated
from taskvec.store.statistics import part_shapes

BASE = 99
"""The number under which the base is measured."""


def diagonal(task: int, shape: Sequence[int], start: int = 0) -> np.ndarray:
    """Positive numbers: the same for an entry in every slice."""
    at = np.arange(start, start + int(np.prod(shape, dtype=np.int64)), dtype=np.float64)
    return np.reshape(0.1 + np.modf((at + 1) * 0.6180339887498949 * (task + 1))[0], shape)


def as_given(values: np.ndarray, like: Any) -> Any:
    """Return an array in the precision of another one, and of its library."""
    if isinstance(like, torch.Tensor):
        return torch.from_numpy(np.ascontiguousarray(values)).to(like.dtype).reshape(values.shape)
    return values.astype(like.dtype)


def measured(task: int, stack: Any, kind: str, gradients: float, turned: bool = False) -> Measured:
    """Return a random metric of one task, and its gradient; `gradients`: what this is multiplied by."""
    shape = tuple(stack.shape[1:])
    rng = np.random.default_rng([task, *shape])

    def part(name: str) -> Any:
        values = diagonal(task, shape) if name == "" else random_part(name, shapes[name], rng).astype(np.float64)
        return as_given(values, stack)

    matrix = len(shape) == 2
    shapes = part_shapes(kind if matrix else "diagonal", shape, turned=turned)
    metric: Metric = (
        Diagonal(part("")) if "" in shapes else _factored(kind, {name: part(name) for name in shapes}, turned)
    )
    gradient = 0.01 * float(gradients) * rng.standard_normal(shape)
    return Measured(metric, 10.0 + task, as_given(gradient, stack))


def _factored(kind: str, parts: dict[str, Any], turned: bool) -> Metric:
    if kind == "eigen":
        sides, values = (parts["output_vectors"], parts["input_vectors"]), parts["eigenvalues"]
        return Rotated(*sides[::-1], values.T) if turned else Rotated(*sides, values)
    outer, inner = parts.get("output"), parts["input"]
    return Kronecker(inner, outer) if turned else Kronecker(outer, inner)


def given(
    method: Method,
    settings: dict[str, Any],
    stack: Any,
    *,
    kind: str = "",
    order: Sequence[int] | None = None,
    start: int = 0,
    gradients: float = 1.0,
    turned: bool = False,
) -> dict[str, Any]:
    """Return the keywords of curvature that a method is called with.

    Args:
        method: what is called.
        settings: all of them.
        stack: the tensors that it merges.
        kind: of the statistics; the first that it can use when empty.
        order: the tasks' numbers.
        start: the first entry of a slice.
        gradients: what gradients are multiplied by.
        turned: whether the tensors are stored (in, out).
    """
    needs = method.needs
    if not needs.is_curved(settings):
        return {}
    tasks, kind = range(len(stack)) if order is None else order, kind or needs.curvature[0]
    own: Any
    base: Any
    if needs.scope == "entry":
        own = as_given(np.stack([diagonal(t, stack.shape[1:], start) for t in tasks]), stack)
        base = as_given(diagonal(BASE, stack.shape[1:], start), stack)
    elif kind == "gram" and len(stack.shape) != 3:
        own, base = None, None
    else:
        own = [measured(t, stack, kind, gradients, turned) for t in tasks]
        base = measured(BASE, stack, kind, gradients, turned)
    return {"curvature": own, **({"base_curvature": base} if needs.base_curvature else {})}
