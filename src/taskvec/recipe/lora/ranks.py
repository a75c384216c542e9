"""How many singular values of each matrix are kept: by number, by share of the energy, or by bytes over all of them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.floating]
"""Singular values of a matrix, the largest first."""


def rank_by_energy(values: Values, share: float) -> int:
    """Return the smallest r whose first r values hold a share of the sum of squares; 0 where all are 0.

    >>> rank_by_energy(np.array([3.0, 2.0, 1.0]), 0.9), rank_by_energy(np.array([3.0, 2.0, 1.0]), 0.5)
    (2, 1)
    """
    squares = values.astype(np.float64) ** 2
    held = np.cumsum(squares)
    if not len(held) or held[-1] == 0:
        return 0
    return min(int(np.searchsorted(held, share * held[-1])) + 1, int(np.count_nonzero(squares)))


def ranks_by_budget(spectra: Sequence[Values], costs: Sequence[int], budget: int) -> list[int]:
    """Return a rank for each matrix: the largest squares a byte first, while they fit.

    Args:
        spectra: the singular values of each matrix, the largest first.
        costs: bytes that one rank of each matrix takes.
        budget: bytes for all of them.

    >>> ranks_by_budget([np.array([3.0, 2.0]), np.array([2.5])], [10, 10], 20)
    [1, 1]
    """
    ranks = [0] * len(spectra)
    owner = np.repeat(np.arange(len(spectra)), [len(s) for s in spectra])
    cost = np.repeat(np.asarray(costs, np.float64), [len(s) for s in spectra])
    worth = np.concatenate([np.zeros(0), *spectra]).astype(np.float64) ** 2 / cost
    left, full = budget, [False] * len(spectra)
    for at in np.argsort(-worth, kind="stable"):
        one = owner[at]
        if worth[at] <= 0:
            break
        full[one] = full[one] or costs[one] > left  # what follows of the same matrix is worth less and costs as much
        if not full[one]:
            ranks[one] += 1
            left -= costs[one]
    return ranks
