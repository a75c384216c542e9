"""EMR: one vector of elected signs and largest magnitudes, a mask a task, a factor a task."""

import numpy as np
import numpy.typing as npt

from .shapes import Float


def unified(deltas: Float[np.ndarray, " task *shape"]) -> Float[np.ndarray, "*shape"]:
    """Return, entry by entry, the sign that the sum has, with the largest magnitude of the tasks of that sign.

        γ = sign(Σ_t τ_t),    ε = max over tasks with sign(τ_t) = γ of |τ_t|,    τ_uni = γ ε

    Shape: `deltas` is (task, *shape); the result is (*shape).
    Zero:  where the sum is 0 the result is 0 (the authors' code takes -1 for its sign).
    Source: EMR-Merging, Huang et al. 2024, arXiv:2405.17461, §3.2 ("Elect").

    >>> unified(np.array([[1.0, -3.0], [2.0, 1.0]]))
    array([ 2., -3.])
    """
    sign = np.sign(deltas.sum(axis=0, dtype=np.float64)).astype(deltas.dtype)
    out: Float[np.ndarray, "*shape"] = sign * np.maximum(sign * deltas, 0).max(axis=0)
    return out


def agreeing(delta: Float[np.ndarray, "*shape"], merged: Float[np.ndarray, "*shape"]) -> npt.NDArray[np.bool_]:
    """Return where a task vector has the sign of the unified one: the task's mask.

        m_t = [τ_t ∘ τ_uni > 0],    τ̂_t = λ_t m_t ∘ τ_uni

    Source: arXiv:2405.17461, §3.2 ("Mask").

    >>> agreeing(np.array([1.0, -3.0, 0.0]), np.array([2.0, 3.0, 1.0])).tolist()
    [True, False, False]
    """
    kept: npt.NDArray[np.bool_] = np.sign(delta) * np.sign(merged) > 0  # a product of the entries could be too small
    return kept


def rescaler(own: float, masked: float) -> float:
    """Return the factor that gives a masked vector the mean magnitude of the task's own.

        λ_t = Σ |τ_t| / Σ |m_t ∘ τ_uni|        sums over all entries of all tensors

    Edge: 0 where nothing is left.
    Source: arXiv:2405.17461, §3.2 ("Rescale"). The authors' code for vision adds each tensor's mean instead of its
        sum, so that there a bias counts as much as a matrix.

    >>> rescaler(3.0, 4.0)
    0.75
    """
    return own / masked if masked > 0 else 0.0
