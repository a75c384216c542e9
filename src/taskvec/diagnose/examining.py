"""One tensor under the curvature of its tasks: a matrix in the subspace of its tasks' atoms, other tensors as they are.

Matrices are looked at where `tsv_m` and `epimer` merge them: on each task's largest singular vectors, made orthogonal
to those of the others, with the singular values as coordinates.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from ..merge.labelled import kept, own_vectors
from ..merge.matrices import decomposed, side
from ..ops.arrays import namespace
from ..ops.atoms import Atoms
from ..ops.coordinates import Numbered
from ..ops.merge_sums import MergeSums
from ..ops.mergeability import merge_sums
from ..ops.metric import Diagonal
from ..ops.polar import polar
from ..ops.shapes import Float
from ..store.layers import layer_of
from .kinds import kind_of
from .mergeability import Examined


def examined_matrix(name: str, tasks: Any, metrics: Numbered, rank: int = 0) -> Examined:
    """Return what curvature says of one matrix, in the subspace of its tasks' atoms.

    Args:
        name: what it is called.
        tasks: gives the task vectors one at a time, and has their shape (task, row, column).
        metrics: H_t of each task, on the matrix as it is stored.
        rank: singular vectors that each task keeps; 0: 1/T of the shorter side.
    """
    count = tasks.shape[0]
    keep = kept(0.0, rank, side(tasks), count)
    u, s, v = own_vectors(tasks, np.ones(count), keep)
    xp = namespace(s)
    live = [i for i, value in enumerate(s.tolist()) if value > 0]  # a task of zeros has no directions
    if not live:
        return _examined(name, tasks.shape[1:], False, 0, merge_sums(tasks, metrics))
    u, s, v, labels = u[:, live], s[live], v[:, live], [i // keep for i in live]
    own = [xp.where(xp.asarray([label == t for label in labels]), s, xp.zeros_like(s)) for t in range(count)]
    basis = Atoms(polar(u), polar(v))
    sums = merge_sums(tasks, metrics, basis=basis, targets=own, raw=Atoms(u, v), labels=labels)
    return _examined(name, tasks.shape[1:], True, keep, sums)


def holds(tasks: int, rows: int, columns: int, rank: int) -> int:
    """Return how many float32 numbers are held while a matrix is looked at, its metrics aside."""
    width = tasks * kept(0.0, rank, min(rows, columns), tasks)
    making = rows * columns + max(decomposed(rows, columns), decomposed(max(rows, columns), width))
    return 4 * (rows + columns) * width + max(making, 14 * rows * columns + 16 * width * width)


def examined_entries(rows: Float[np.ndarray, "task n"], diagonals: Float[np.ndarray, "task n"]) -> MergeSums:
    """Return what diagonal curvature says of some entries of a tensor; sums of disjoint entries add up."""
    return merge_sums(list(rows), [Diagonal(values) for values in diagonals])


def examined_tensor(name: str, shape: Sequence[int], parts: Sequence[MergeSums]) -> Examined:
    """Put together a tensor that was looked at slice by slice, in the whole space."""
    total = reduce(lambda one, other: one + other, parts)
    whole = replace(total, tensors=1, negative=min(1, total.negative), estimated=min(1, total.estimated))
    return _examined(name, shape, False, 0, whole)


def _examined(name: str, shape: Sequence[int], inside: bool, rank: int, sums: MergeSums) -> Examined:
    stack, layer = layer_of(name) or ("", None)
    sizes = tuple(int(n) for n in shape)
    return Examined(name, stack, layer, kind_of(name, sizes), sizes, inside, rank, sums)
