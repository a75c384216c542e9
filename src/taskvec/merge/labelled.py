"""Atoms that belong to a task each: the largest singular vectors of all tasks, made orthogonal to each other."""

from typing import Annotated, NamedTuple

from ..ops.arrays import Array
from ..ops.atoms import Atoms
from ..ops.polar import polar
from ..ops.shapes import Float
from ..ops.spectral import Spectrum, svd
from .matrices import beside, decomposed, matrices, side
from .registry import Interval

Rank = Annotated[int, Interval(0, 1_000_000)]
"""How many singular values each task keeps; 0: as `share` says."""


class Labelled(NamedTuple):
    """Atoms in the order of the tasks, `keep` each; `s` has the singular value that each stands for."""

    atoms: Atoms
    s: Float[Array, " p"]
    keep: int


def kept(share: float, rank: int, least: int, tasks: int) -> int:
    """Return how many singular values each task keeps, of `least` that a matrix has.

    A `rank` goes down to what lets the vectors of all tasks be orthogonal: 1/T of the shorter side.

    >>> kept(0.0, 0, 100, 8), kept(0.5, 0, 100, 8), kept(0.001, 0, 100, 8), kept(0.0, 5, 100, 8), kept(0.0, 50, 100, 8)
    (12, 50, 1, 5, 12)
    """
    if rank:
        return min(least, max(1, min(rank, least // tasks)))
    return min(least, max(1, int(least * (share or 1 / tasks))))


def labelled(
    deltas: Float[Array, " task *shape"], weights: Float[Array, " task"], *, share: float, rank: int
) -> Labelled:
    """Return the atoms of TSV-M (Gargiulo et al. 2025, arXiv:2412.00081, §3.2 and §3.3).

    w_t τ_t ≈ U_t diag(s_t) V_tᵀ,   u = polar([U_1 … U_T]),   v = polar([V_1 … V_T]),   s = [s_1 … s_T]
    """
    keep = kept(share, rank, side(deltas), deltas.shape[0])
    u, s, v = own_vectors(deltas, weights, keep)
    u = polar(u)  # one after the other: each is replaced before the next is asked for
    return Labelled(Atoms(u, polar(v)), s, keep)


def own_vectors(deltas: Float[Array, " task *shape"], weights: Float[Array, " task"], keep: int) -> Spectrum:
    """Return each task's `keep` largest singular values and vectors, side by side: [U_1 … U_T] and so on."""
    return beside((svd(x, keep) for x in matrices(deltas, weights)), deltas, keep * deltas.shape[0])


def holds_labelled(tasks: int, rows: int, columns: int, keep: int) -> int:
    """Return how many float32 numbers are held at once while the atoms are made, and what is spanned by them."""
    width = tasks * keep
    largest = max(decomposed(rows, columns), decomposed(max(rows, columns), width))
    return 3 * (rows + columns) * width + rows * columns + largest
