"""What an array is on this floor: a numpy array, a torch tensor, or anything else of the array API standard."""

from collections.abc import Sequence
from math import prod
from typing import Any

from array_api_compat import array_namespace

Array = Any
"""An array of any library of the array API standard; its shape is said by jaxtyping beside it."""


def namespace(*arrays: Array) -> Any:
    """Return the array API namespace (numpy, torch, …) that the arrays belong to.

    >>> import numpy as np
    >>> namespace(np.zeros(2)).sign(np.array([-3.0]))
    array([-1.])
    """
    return array_namespace(*arrays)


def columns_of(shape: Sequence[int]) -> int:
    """Return the entries a row: those that share a first index; all of a tensor with one axis or none.

    >>> columns_of((3, 4, 5)), columns_of((7,)), columns_of(())
    (20, 7, 1)
    """
    return prod(shape[1:] if len(shape) > 1 else shape)


def per_task(values: Array, stack: Array) -> Array:
    """Give a vector of one number a task the trailing axes it needs to meet a stack of tensors.

        per_task(values, stack)[t, 0, 0, ...] = values[t]

    Shape: `values` is (task,), `stack` is (task, *shape); the result is (task, 1, …, 1), in the stack's type.

    >>> import numpy as np
    >>> per_task(np.array([1.0, 2.0]), np.zeros((2, 3, 4))).shape
    (2, 1, 1)
    """
    xp = namespace(stack)
    return xp.reshape(xp.asarray(values, dtype=stack.dtype), (-1,) + (1,) * (stack.ndim - 1))
