"""Tensors that a method must see as a whole: given to it one task at a time, as torch tensors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Rows = npt.NDArray[np.floating]


class Tasks:
    """The task vectors (or weights) of one tensor, read anew whenever one is asked for: none is held here."""

    def __init__(self, read: Callable[[int], Rows], tasks: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """Take what reads task number t, flat."""
        import torch

        self._read, self._shape = read, shape
        self.shape = (tasks, *shape)
        self.dtype = torch.float64 if dtype == np.float64 else torch.float32

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, task: int) -> "torch.Tensor":
        import torch

        if not 0 <= task < len(self):
            raise IndexError(task)
        return torch.from_numpy(self._read(task)).reshape(self._shape)

    def __iter__(self) -> Iterator["torch.Tensor"]:
        return (self[task] for task in range(len(self)))


class Listed:
    """The tasks of a tensor in another order: that in which the models are listed."""

    def __init__(self, tasks: Tasks, order: npt.NDArray[np.int64]) -> None:
        """Take what reads them, and which of them each is."""
        self._tasks, self._order = tasks, order
        self.shape, self.dtype = (len(order), *tasks.shape[1:]), tasks.dtype

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, task: int) -> "torch.Tensor":
        return self._tasks[int(self._order[task])]


def no_decomposition() -> tuple[type[Exception], ...]:
    """Return what libraries raise for a matrix that they cannot decompose."""
    import torch

    return np.linalg.LinAlgError, torch.linalg.LinAlgError  # type: ignore[attr-defined]


@contextmanager
def sharing_cores(workers: int) -> Iterator[None]:
    """Give each of some threads its part of torch's threads, so that they do not get in each other's way."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)
