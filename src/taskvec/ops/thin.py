"""Two thin factors in place of a matrix, and how many columns each of many matrices gets."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .shapes import Float
from .spectral import Spectrum


def factors_of(spectrum: Spectrum, rank: int) -> tuple[Float[np.ndarray, "row rank"], Float[np.ndarray, "rank column"]]:
    """Return the factors of the best approximation of a rank: each has the square roots of the singular values.

        left = U_k diag(√s_k),    right = diag(√s_k) V_kᵀ,    |X - left right|² = Σ_(i > k) s_i²

    Shape: left is (row, rank), right is (rank, column).
    Units: both those of √X, so that small numbers of X are none in the factors (in float16 they would be lost).

    >>> left, right = factors_of(Spectrum(np.eye(2), np.array([4.0, 1.0]), np.eye(2)), 1)
    >>> left.tolist(), right.tolist()
    ([[2.0], [0.0]], [[2.0, 0.0]])
    """
    root = np.sqrt(spectrum.s[:rank])
    return spectrum.u[:, :rank] * root, (spectrum.v[:, :rank] * root).T


def ranks(
    gains: Sequence[npt.NDArray[np.float64]],
    costs: Sequence[float],
    *,
    within: float | None = None,
    leaving: float | None = None,
) -> list[int]:
    """Return how many of the first entries of each list are taken: what gains most for its cost before others.

    Each list descends, as squares of singular values do, so the first of each is always taken before its second, and
    no other choice of the same cost gains more.

    Args:
        gains: a list for each matrix; what is gained by its first, second, … column.
        costs: what a column of each matrix costs.
        within: the most that may be spent.
        leaving: take as few as leave gains of at most this sum.

    >>> ranks([np.array([9.0, 1.0]), np.array([4.0, 3.0])], [1.0, 1.0], within=2.0)
    [1, 1]
    >>> ranks([np.array([9.0, 1.0]), np.array([4.0, 3.0])], [1.0, 1.0], leaving=1.0)
    [1, 2]
    """
    flat = np.concatenate([*gains, np.zeros(0)])
    owner = np.repeat(np.arange(len(gains)), [len(g) for g in gains])
    cost = np.asarray(costs, np.float64)[owner]
    order = np.argsort(-flat / cost, kind="stable")
    order = order[flat[order] > 0]
    count = order.size
    if within is not None:
        count = min(count, int(np.searchsorted(np.cumsum(cost[order]), within, side="right")))
    if leaving is not None:
        left = np.concatenate([np.cumsum(flat[order][::-1])[::-1], [0.0]])  # if the first 0, 1, … are taken
        count = min(count, int(np.flatnonzero(left <= leaving)[0]))
    taken: list[int] = np.bincount(owner[order[:count]], minlength=len(gains)).tolist()
    return taken
