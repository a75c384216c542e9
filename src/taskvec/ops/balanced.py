"""A Gram matrix made ready to be solved with: vectors of one length, and a ridge where they hardly differ."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .shapes import Float64

WORST = 1e10
"""The condition number that is worked with: a ridge raises the smallest eigenvalue to the largest over this."""


class Balanced(NamedTuple):
    """C + ridge·1 with C_ij = K_ij / (|v_i| |v_j|), and what is known of it.

    `negative` is λ_min(C)/λ_max(C) where that is below 0, else 0. `zeros` marks vectors of zeros; each stands
    as one of length 1, at right angles to all others.
    """

    lengths: Float64[np.ndarray, " task"]
    cosines: Float64[np.ndarray, "task task"]
    ridge: float
    rank: int
    negative: float
    zeros: npt.NDArray[np.bool_]

    @property
    def hessian(self) -> Float64[np.ndarray, "task task"]:
        """The matrix to solve with: positive definite."""
        return self.cosines + self.ridge * np.eye(len(self.lengths))


def balanced(gram: Float64[np.ndarray, "task task"], least: float = 0.0) -> Balanced:
    """Return the vectors' cosines, their rank, and the ridge that they need.

        ridge = max(least, λ_max(C)/1e10 - λ_min(C), 0)
        rank  = how many eigenvalues of C are above λ_max(C)/1e10

    Lengths are taken out first, so a short vector is not taken for a dependent one, and the ridge is a share of each
    vector's own squared length: K + ridge·diag(K).

    Zero: a vector of zeros counts as a direction of its own that nothing has a part in, and not in the rank.

    >>> balanced(np.array([[4.0, 4.0], [4.0, 4.0]])).rank
    1
    >>> balanced(np.diag([1.0, 1e-20])).ridge
    0.0
    """
    energies = np.diag(gram)
    zeros = energies <= 0
    lengths = np.sqrt(np.where(zeros, 1.0, energies))
    cosines = gram / lengths / lengths[:, None]
    np.fill_diagonal(cosines, 1.0)
    if _all_eigenvalues_above(cosines, len(cosines) / WORST):
        return Balanced(lengths, cosines, least, int((~zeros).sum()), 0.0, zeros)
    values = np.linalg.eigvalsh(cosines)
    floor = float(values[-1]) / WORST
    needed = max(0.0, floor - float(values[0]))
    rank = int((values > floor).sum() - zeros.sum())
    return Balanced(lengths, cosines, max(least, needed), rank, min(0.0, float(values[0] / values[-1])), zeros)


def _all_eigenvalues_above(matrix: Float64[np.ndarray, "n n"], bound: float) -> bool:
    """Return whether that is so, five times as fast as the eigenvalues: M - bound·1 has a Cholesky factor.

    Of a matrix with ones on its diagonal no eigenvalue is above n, so a bound of n/1e10 settles most matrices.
    """
    try:
        np.linalg.cholesky(matrix - bound * np.eye(len(matrix)))
    except np.linalg.LinAlgError:
        return False
    return True
