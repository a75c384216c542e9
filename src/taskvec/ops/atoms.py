"""A subspace of matrices that few numbers span: matrices of rank one, u_i v_iᵀ, orthonormal to each other."""

from dataclasses import dataclass

from .arrays import Array, namespace
from .shapes import Float


@dataclass(frozen=True)
class Atoms:
    """The matrices E_i = u_i v_iᵀ. The basis S = [vec E_1 … vec E_p] is never formed: it would have rows · columns · p
    entries.

    u: (row, p). v: (column, p). Where uᵀu = I or vᵀv = I, SᵀS = (uᵀu) ∘ (vᵀv) = I.
    """

    u: Float[Array, "row p"]
    v: Float[Array, "column p"]

    @property
    def count(self) -> int:
        """How many there are: p."""
        return int(self.u.shape[1])

    def expand(self, d: Float[Array, " p"]) -> Float[Array, "row column"]:
        """Return S d: the matrix u diag(d) vᵀ."""
        return (self.u * d) @ self.v.T

    def coordinates(self, x: Float[Array, "row column"]) -> Float[Array, " p"]:
        """Return Sᵀ x: u_iᵀ x v_i for all i."""
        xp = namespace(self.u)
        return xp.sum(self.u * (x @ self.v), axis=0)
