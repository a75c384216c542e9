"""A slice of a flattened matrix, as the pieces of rows that it consists of."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ...ops.floats import widen
from ..tensors import Files, Tensor

F32 = npt.NDArray[np.float32]
Piece = tuple[int, int, int, int]
"""First row, end of rows, first column, end of columns."""


def pieces(start: int, stop: int, columns: int) -> Iterator[Piece]:
    """Yield the rest of a row, whole rows, and the beginning of a row: what a slice covers, in its order.

    >>> list(pieces(2, 13, 4))
    [(0, 1, 2, 4), (1, 3, 0, 4), (3, 4, 0, 1)]
    >>> list(pieces(5, 7, 4)), list(pieces(4, 8, 4)), list(pieces(3, 3, 4))
    ([(1, 2, 1, 3)], [(1, 2, 0, 4)], [])
    """
    while start < stop:
        row, column = divmod(start, columns)
        if column or stop - start < columns:
            end = min(columns, column + stop - start)
            yield row, row + 1, column, end
            start += end - column
        else:
            rows = (stop - start) // columns
            yield row, row + rows, 0, columns
            start += rows * columns


def rows_of(start: int, stop: int, columns: int) -> tuple[int, int]:
    """Return the first row that a slice touches, and the end of those that it touches.

    >>> rows_of(2, 13, 4), rows_of(4, 8, 4)
    ((0, 4), (1, 2))
    """
    return start // columns, -(-stop // columns)


def entries(tensor: Tensor, files: Files, start: int, stop: int) -> F32:
    """Return entries of a float tensor in float32: a view where they are stored so, else a copy."""
    raw = files.raw(tensor, start, stop)
    return raw if tensor.dtype == "F32" else widen(raw, tensor.dtype)  # type: ignore[return-value]
