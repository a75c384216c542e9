"""A subspace of matrices that few numbers span: matrices of rank one, u_i v_iᵀ, orthonormal to each other."""

from dataclasses import dataclass

from .arrays import Array, namespace
from .shapes import Float


@dataclass(frozen=True)
class Atoms:
    """The matrices E_i = u_i v_iᵀ. The basis S = [vec E_1 … vec E_p] is never formed: it would have rows · columns · p
    entries.

    u: (row, p). v: (column, p). Where uᵀu = I or vᵀv = I, SᵀS = (uᵀu) ∘ (vᵀv) = I; where directions are missing from
    both (the polar factors of vectors that depend on each other), it is singular.

    >>> import numpy as np
    >>> Atoms(np.eye(2), np.eye(2)).expand(np.array([3.0, 4.0]))
    array([[3., 0.],
           [0., 4.]])
    """

    u: Float[Array, "row p"]
    v: Float[Array, "column p"]

    @property
    def count(self) -> int:
        """How many there are: p."""
        return int(self.u.shape[1])

    def expand(self, d: Float[Array, " p"]) -> Float[Array, "row column"]:
        """Return S d: the matrix u diag(d) vᵀ, in the type of the atoms; what d leaves out costs nothing."""
        xp = namespace(self.u)
        live = xp.nonzero(d)[0]
        d = xp.astype(d[live], self.u.dtype)
        return (self.u[:, live] * d) @ self.v[:, live].T

    def coordinates(self, x: Float[Array, "row column"]) -> Float[Array, " p"]:
        """Return Sᵀ x: u_iᵀ x v_i for all i, added up in float64."""
        xp = namespace(self.u)
        return xp.astype(xp.sum(self.u * (x @ self.v), axis=0, dtype=xp.float64), self.u.dtype)
