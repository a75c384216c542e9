"""Groups and reports made of arrays, for tests."""

import numpy as np

from taskvec.diagnose import Counts, Group, Rounding
from taskvec.diagnose.measure import Tally, least_of
from taskvec.ops.slices import Slice, Stored


def group_of(
    tasks: np.ndarray, base: np.ndarray | None = None, *, kept: float = 0.2, name: str = "w", out: str = "F32"
) -> Group:
    """Return what is found of task vectors (task, entry) on a base."""
    rows = np.ascontiguousarray(tasks, np.float32)
    base = np.ones(rows.shape[1], np.float32) if base is None else base.astype(np.float32)
    tally = Tally(rows.shape[1], least_of(rows, kept), out)
    stored = [Stored(row, "F32", delta=True) for row in rows]
    tally.look(Slice(stored, Stored(base, "F32"), np.dtype(np.float32)))
    return tally.group(name, (rows.shape[1],), np.arange(len(rows)))


def group_with(gram: np.ndarray, base: float = 1.0) -> Group:
    """Return a group of which only the inner products matter."""
    tasks = len(gram)
    none, nothing = np.zeros((tasks, tasks), np.int64), np.zeros(tasks + 1, np.int64)
    counts, rounding = (
        Counts(0, none, none, none, none),
        Rounding(np.zeros(tasks + 1), np.zeros(tasks + 1), *[nothing] * 2),
    )
    return Group("", None, "other", 1, 10, base, np.asarray(gram, float), np.zeros(tasks), counts, rounding)
