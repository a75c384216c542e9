"""Which arithmetic runs: the plain array operations, or the same in one fused pass (numba, optional).

Both give the same bytes; the tests compare them. `TASKVEC_KERNELS=plain` in the environment turns the fused
ones off; without numba they are off anyway.
"""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Literal

import numpy as np

from .arrays import Array

choice: Literal["fused", "plain"] = "fused"
"""Set by whoever starts a run (and by tests); `fused` needs numba."""


@cache
def _fused() -> ModuleType | None:
    if find_spec("numba") is None:
        return None
    from . import fused

    return fused


def fused_for(*arrays: Array) -> ModuleType | None:
    """Return the module of fused kernels if it is there and takes these arrays: contiguous float32 numpy ones."""
    if choice == "plain":
        return None
    for x in arrays:
        if not (isinstance(x, np.ndarray) and x.dtype == np.float32 and x.flags.c_contiguous):
            return None
    return _fused()


def prepare() -> None:
    """Load the fused kernels (after an install: compile them) now, so that the first slice need not wait for it."""
    if fused := fused_for():
        fused.prepare()


def when_compiling(tell: Callable[[], None]) -> None:
    """Have `tell` called, once, when a kernel has to be compiled: its first use after an install."""
    if fused := fused_for():
        fused.when_compiling(tell)


def in_use() -> Literal["fused", "plain"]:
    """Tell which arithmetic a run would use now."""
    return "fused" if choice == "fused" and find_spec("numba") is not None else "plain"
