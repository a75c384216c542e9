"""What share of a vector others explain by chance: a random direction, and a vector like the others."""

from typing import NamedTuple

import numpy as np

from .balanced import Balanced
from .shapes import Float64


class Share(NamedTuple):
    """A share of the energy that is explained, and its standard deviation."""

    mean: float
    spread: float


def share_of_a_random_direction(rank: int, entries: int) -> Share:
    """Return the share of a random direction in n dimensions that lies in a given subspace of r.

        share ~ Beta(r/2, (n - r)/2),   mean r/n,   variance 2r(n - r) / (n²(n + 2))

    A standard normal vector has a squared length of χ²_r in the subspace and of an independent χ²_(n-r) beside it.

    Assumes: isotropic in the inner product that K is of: normal, with the inverse of its metric as covariance.

    >>> share_of_a_random_direction(2, 10)
    Share(mean=0.2, spread=0.16329931618554522)
    """
    mean = rank / entries
    return Share(mean, float(np.sqrt(2 * mean * (1 - mean) / (entries + 2))))


def shares_among_the_others(known: Balanced) -> Float64[np.ndarray, " task"]:
    """Return for each vector the share of it that the span of the others explains.

        share_i = 1 - 1 / (K_ii (K⁻¹)_ii)

    1/(K⁻¹)_ii is the Schur complement of the others' block in K, K_ii - k_iᵀ K_(-i)⁻¹ k_i: the squared distance of v_i
    from the span of the others. So one inverse leaves out every vector in turn.

    Zero:  NaN for a vector of zeros, and 0 where there is no other vector.
    Assumes: the ridge of `known`, where it has one, which changes a share by at most the ridge times 1 + |c|².

    >>> from .balanced import balanced
    >>> shares_among_the_others(balanced(np.array([[1.0, 0.6], [0.6, 1.0]]))).round(9)
    array([0.36, 0.36])
    """
    shares = np.clip(1 - 1 / np.diag(np.linalg.inv(known.hessian)), 0.0, 1.0)
    return np.where(known.zeros, np.nan, shares)


def share_of_one_like_the_others(shares: Float64[np.ndarray, " task"]) -> Share:
    """Return the mean of what each vector has explained by the others, and the standard deviation over the vectors.

    Zero: vectors of zeros (NaN) are left out; of fewer than two vectors the spread is 0, of none the mean.
    """
    some = shares[~np.isnan(shares)]
    return Share(float(some.mean()) if len(some) else 0.0, float(some.std(ddof=1)) if len(some) > 1 else 0.0)
