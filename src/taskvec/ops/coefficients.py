"""Coefficients of a merge from inner products alone: closed forms that need no data."""

import numpy as np
import numpy.typing as npt

from .shapes import Float64


def products_of_sum(
    gram: Float64[np.ndarray, "task task"], weights: Float64[np.ndarray, " task"]
) -> tuple[float, Float64[np.ndarray, " task"]]:
    """Return |D|² and ⟨D, τ_t⟩ for D = Σ w_t τ_t.

        |D|² = wᵀKw,   ⟨D, τ_t⟩ = (Kw)_t

    Shape: `gram` holds K_ij = ⟨τ_i, τ_j⟩.

    >>> products_of_sum(np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([1.0, 1.0]))
    (7.0, array([3., 4.]))
    """
    inner = gram @ weights
    return float(weights @ inner), inner


def isotropic(energy: float, inner: Float64[np.ndarray, " task"]) -> float:
    """Return the scale that makes the merged model's mean squared distance from its specialists least.

        argmin_s Σ_t |sD - τ_t|² = mean_t ⟨D, τ_t⟩ / |D|²

    For a plain sum (D = Σ τ_t) Σ_t ⟨D, τ_t⟩ is |D|², so this is exactly 1/T whatever the task vectors are: the
    average. It says something new only for other weights and other methods.

    Shape: `energy` is |D|², `inner` holds ⟨D, τ_t⟩.
    Zero:  `energy` must not be 0.
    Assumes: every task's loss is a quadratic around its specialist, of one and the same curvature in all directions.

    >>> isotropic(*products_of_sum(np.array([[2.0, 1.0], [1.0, 3.0]]), np.ones(2)))
    0.5
    """
    return float(np.mean(inner)) / energy


def equal_energy(energy: float, energies: Float64[np.ndarray, " task"]) -> float:
    """Return the scale at which the merged model has moved as far as its specialists, in the root mean square.

        |sD|² = mean_t |τ_t|²,   so   s = √(mean_t |τ_t|² / |D|²)

    For a plain sum of orthogonal task vectors of one length this is 1/√T.

    Shape: `energy` is |D|², `energies` holds |τ_t|².
    Zero:  `energy` must not be 0.
    Assumes: what the base bears of one specialist it bears of the merge.

    >>> equal_energy(8.0, np.ones(8)).__round__(4)
    0.3536
    """
    return float(np.sqrt(np.mean(energies) / energy))


def norm_shares(energies: Float64[np.ndarray, " task"]) -> npt.NDArray[np.float64]:
    """Return each task's share of the squared norms, MetaGPT's weights; equal shares where all are zero.

        λ_t = |τ_t|² / Σ_k |τ_k|²

    Source: Zhou et al. 2024, arXiv:2406.11385, eq. 15.
    Assumes: orthogonal task vectors in the linear regime, and a loss that is bounded by the squared norm.

    >>> norm_shares(np.array([1.0, 3.0]))
    array([0.25, 0.75])
    """
    total = float(energies.sum())
    return energies / total if total else np.full(len(energies), 1 / len(energies))
