"""Metrics: how much a loss bends as a matrix of weights moves, in the forms in which curvature is measured.

A metric H is a symmetric, positive semi-definite form on tensors of one shape. Nobody ever holds it as a matrix: it is
applied to a tensor, or said in the coordinates of a few atoms (`ops.atoms`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Protocol

from .arrays import Array, namespace
from .shapes import Float


class Metric(Protocol):
    """A quadratic form on tensors of one shape: ⟨x, H x⟩."""

    def apply(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return H x."""

    def on_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, "p p"]:
        """Return ⟨u_i v_iᵀ, H u_j v_jᵀ⟩ for all i and j."""

    def at_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, " p"]:
        """Return ⟨u_i v_iᵀ, H u_i v_iᵀ⟩ for all i: the diagonal of `on_atoms`, at a fraction of its price."""

    def trace(self, shape: Sequence[int]) -> float:
        """Return the sum of its eigenvalues, on tensors of this shape."""

    def times(self, factor: float) -> "Metric":
        """Return factor · H."""


@dataclass(frozen=True)
class Flat:
    """H = factor · I: every direction counts the same."""

    factor: float = 1.0

    def apply(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """See `Metric`."""
        return self.factor * x

    def on_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, "p p"]:
        """See `Metric`."""
        return self.factor * ((u.T @ u) * (v.T @ v))

    def at_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, " p"]:
        """See `Metric`."""
        xp = namespace(u)
        return self.factor * (xp.sum(u * u, axis=0) * xp.sum(v * v, axis=0))

    def trace(self, shape: Sequence[int]) -> float:
        """See `Metric`."""
        return self.factor * reduce(lambda one, other: one * other, shape, 1)

    def times(self, factor: float) -> "Flat":
        """See `Metric`."""
        return Flat(factor * self.factor)


@dataclass(frozen=True)
class Diagonal:
    """H = diag(values): a number an entry, such as the diagonal of a Fisher information.

    values: (*shape), not below 0.
    """

    values: Float[Array, "*shape"]

    def apply(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """See `Metric`."""
        return self.values * x

    def on_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, "p p"]:
        """Return Σ_a (u_a u_aᵀ) ∘ (vᵀ diag(values_a) v), row a by row a: rows · columns · p² products, p² numbers held.

        That diagonal curvature has cross terms here is what lets a merge in a subspace couple entries (EpiMer).
        """
        xp = namespace(u)
        out = xp.zeros((u.shape[1], u.shape[1]), dtype=u.dtype, device=u.device)
        for row in range(u.shape[0]):
            out += xp.outer(u[row], u[row]) * (v.T @ (self.values[row][:, None] * v))
        return out

    def at_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, " p"]:
        """See `Metric`."""
        xp = namespace(u)
        return xp.sum((u * u) * (self.values @ (v * v)), axis=0)

    def trace(self, shape: Sequence[int]) -> float:
        """See `Metric`."""
        xp = namespace(self.values)
        return float(xp.sum(self.values, dtype=xp.float64))

    def times(self, factor: float) -> "Diagonal":
        """See `Metric`."""
        return Diagonal(factor * self.values)


@dataclass(frozen=True)
class Kronecker:
    """H x = B x A: what K-FAC measures of a linear layer y = x_in Wᵀ; B of its output's gradients, A of its inputs.

    outer: B (row, row), or None for the identity. inner: A (column, column), or None. RegMean is B = I, A = XᵀX.
    """

    outer: Float[Array, "row row"] | None
    inner: Float[Array, "column column"] | None

    def apply(self, x: Float[Array, "row column"]) -> Float[Array, "row column"]:
        """See `Metric`."""
        x = x if self.outer is None else self.outer @ x
        return x if self.inner is None else x @ self.inner

    def on_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, "p p"]:
        """Return (uᵀ B u) ∘ (vᵀ A v)."""
        return _through(self.outer, u) * _through(self.inner, v)

    def at_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, " p"]:
        """See `Metric`."""
        xp = namespace(u)
        outer = u if self.outer is None else self.outer @ u
        inner = v if self.inner is None else self.inner @ v
        return xp.sum(u * outer, axis=0) * xp.sum(v * inner, axis=0)

    def trace(self, shape: Sequence[int]) -> float:
        """See `Metric`."""
        return _trace(self.outer, shape[0]) * _trace(self.inner, shape[1])

    def times(self, factor: float) -> "Kronecker":
        """See `Metric`."""
        if self.inner is None and self.outer is not None:
            return replace(self, outer=factor * self.outer)
        if self.inner is None:
            raise ValueError("a Kronecker metric of two identities is flat; use Flat")
        return replace(self, inner=factor * self.inner)


@dataclass(frozen=True)
class Rotated:
    """H x = Q_B (values ∘ (Q_Bᵀ x Q_A)) Q_Aᵀ: K-FAC's eigenvectors with eigenvalues measured anew (EK-FAC).

    outer: Q_B (row, row). inner: Q_A (column, column). values: (row, column), not below 0.
    """

    outer: Float[Array, "row row"]
    inner: Float[Array, "column column"]
    values: Float[Array, "row column"]

    def apply(self, x: Float[Array, "row column"]) -> Float[Array, "row column"]:
        """See `Metric`."""
        return self.outer @ (self.values * (self.outer.T @ x @ self.inner)) @ self.inner.T

    def on_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, "p p"]:
        """See `Metric`."""
        return Diagonal(self.values).on_atoms(self.outer.T @ u, self.inner.T @ v)

    def at_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, " p"]:
        """See `Metric`."""
        return Diagonal(self.values).at_atoms(self.outer.T @ u, self.inner.T @ v)

    def trace(self, shape: Sequence[int]) -> float:
        """See `Metric`."""
        return Diagonal(self.values).trace(shape)

    def times(self, factor: float) -> "Rotated":
        """See `Metric`."""
        return replace(self, values=factor * self.values)


@dataclass(frozen=True)
class Products:
    """A metric known only by what it does to a tensor, such as products with an exact Hessian.

    product: x → H x. Its trace is not known, so it can be neither normalised nor damped by a share of it.
    """

    product: Callable[[Any], Any]
    factor: float = 1.0

    def apply(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """See `Metric`."""
        return self.factor * self.product(x)

    def on_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, "p p"]:
        """Return it by p products."""
        xp = namespace(u)
        columns = [xp.sum((u.T @ self.apply(xp.outer(u[:, j], v[:, j]))) * v.T, axis=1) for j in range(u.shape[1])]
        both = xp.stack(columns, axis=1)
        return (both + both.T) / 2

    def at_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, " p"]:
        """See `Metric`."""
        return namespace(u).linalg.diagonal(self.on_atoms(u, v))

    def trace(self, shape: Sequence[int]) -> float:
        """See `Metric`.

        Raises:
            ValueError: always; products alone do not tell it.
        """
        raise ValueError("the trace of a metric that is known by its products alone is not known")

    def times(self, factor: float) -> "Products":
        """See `Metric`."""
        return replace(self, factor=factor * self.factor)


@dataclass(frozen=True)
class Sum:
    """H = Σ_t H_t, of metrics that cannot be added into one of their own kind."""

    parts: tuple[Metric, ...]

    def apply(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """See `Metric`."""
        return _added([part.apply(x) for part in self.parts])

    def on_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, "p p"]:
        """See `Metric`."""
        return _added([part.on_atoms(u, v) for part in self.parts])

    def at_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, " p"]:
        """See `Metric`."""
        return _added([part.at_atoms(u, v) for part in self.parts])

    def trace(self, shape: Sequence[int]) -> float:
        """See `Metric`."""
        return sum(part.trace(shape) for part in self.parts)

    def times(self, factor: float) -> "Sum":
        """See `Metric`."""
        return Sum(tuple(part.times(factor) for part in self.parts))


def plus(one: Metric | None, other: Metric) -> Metric:
    """Return H_1 + H_2, as one metric of their kind where that exists: then as little is held as of one.

    >>> import numpy as np
    >>> plus(Diagonal(np.array([1.0, 2.0])), Diagonal(np.array([3.0, 4.0]))).values
    array([4., 6.])
    """
    if one is None:
        return other
    if isinstance(one, Flat) and isinstance(other, Flat):
        return Flat(one.factor + other.factor)
    if isinstance(one, Diagonal) and isinstance(other, Diagonal):
        return Diagonal(one.values + other.values)
    if isinstance(one, Diagonal) and isinstance(other, Flat):
        return Diagonal(one.values + other.factor)
    if isinstance(one, Kronecker) and isinstance(other, Kronecker):
        if one.outer is None and other.outer is None:
            return Kronecker(None, one.inner + other.inner)
        if one.inner is None and other.inner is None:
            return Kronecker(one.outer + other.outer, None)
    return Sum((*(one.parts if isinstance(one, Sum) else (one,)), other))


def _through(form: Array | None, vectors: Float[Array, "n p"]) -> Float[Array, "p p"]:
    return vectors.T @ (vectors if form is None else form @ vectors)


def _trace(form: Array | None, size: int) -> float:
    if form is None:
        return float(size)
    xp = namespace(form)
    return float(xp.sum(xp.linalg.diagonal(form), dtype=xp.float64))


def _added(parts: Sequence[Array]) -> Array:
    return reduce(lambda one, other: one + other, parts)
