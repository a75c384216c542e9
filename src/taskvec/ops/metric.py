"""Metrics: how much a loss bends as a matrix of weights moves, in the forms in which curvature is measured.

A metric H is a symmetric, positive semi-definite form on tensors of one shape. Nobody ever holds it as a matrix: it is
applied to a tensor, or said in the coordinates of a few atoms (`ops.atoms`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Protocol, runtime_checkable

from .arrays import Array, namespace
from .shapes import Float

BLOCK = 1 << 22
"""How many products of a diagonal metric and atoms are held at a time."""


@runtime_checkable
class Metric(Protocol):
    """A quadratic form on tensors of one shape: ⟨x, H x⟩."""

    def apply(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return H x."""

    def on_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, "p p"]:
        """Return ⟨u_i v_iᵀ, H u_j v_jᵀ⟩ for all i and j, in float64."""

    def at_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, " p"]:
        """Return ⟨u_i v_iᵀ, H u_i v_iᵀ⟩ for all i: the diagonal of `on_atoms`, at a fraction of its price."""

    def near_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, "p p"] | None:
        """Return something positive semi-definite near `on_atoms` that costs little; None where there is nothing."""

    def diagonal(self, like: Float[Array, "*shape"]) -> Float[Array, "*shape"] | None:
        """Return ⟨e, H e⟩ for every entry e of tensors like this one; None where it is not known."""

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
        return self.factor * (_through(None, u) * _through(None, v))

    def at_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, " p"]:
        """See `Metric`."""
        xp = namespace(u)
        return self.factor * (xp.sum(u * u, axis=0) * xp.sum(v * v, axis=0))

    def near_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, "p p"]:
        """Return `on_atoms` itself."""
        return self.on_atoms(u, v)

    def diagonal(self, like: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """See `Metric`."""
        return self.factor * namespace(like).ones_like(like)

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
        """Return Σ_ab values_ab u_ai u_aj v_bi v_bj: rows · columns · p² / 2 products of two, the half being symmetry.

        That diagonal curvature has cross terms here is what lets a merge in a subspace couple entries (EpiMer).
        """
        xp, p = namespace(u), u.shape[1]
        out = xp.zeros((p, p), dtype=xp.float64, device=u.device)
        step = max(1, BLOCK // max(1, p * max(u.shape[0], v.shape[0])))
        for start in range(0, p, step):
            stop = min(p, start + step)  # columns of the result, and of them the rows from `start` on
            right = xp.reshape(v[:, start:stop, None] * v[:, None, start:], (v.shape[0], -1))
            bent = xp.reshape(self.values @ right, (u.shape[0], stop - start, p - start))
            found = xp.sum(bent * u[:, start:stop, None] * u[:, None, start:], axis=0, dtype=xp.float64)
            out[start:stop, start:] = found
            out[start:, start:stop] = found.T
        return out

    def at_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, " p"]:
        """See `Metric`."""
        xp = namespace(u)
        return xp.sum((u * u) * (self.values @ (v * v)), axis=0)

    def near_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, "p p"]:
        """Return `on_atoms` of the nearest outer product of a number a row and a number a column.

        values_ab ≈ Σ_b values_ab · Σ_a values_ab / Σ values, as Adafactor has it (Shazeer and Stern 2018): squared
        gradients of a linear layer are near such a product.
        """
        xp = namespace(u)
        wide = xp.float64
        rows, columns = (xp.sum(self.values, axis=axis, dtype=wide) for axis in (1, 0))
        total = float(xp.sum(rows))
        u, v = xp.astype(u, wide), xp.astype(v, wide)
        return (u.T @ (rows[:, None] * u)) * (v.T @ (columns[:, None] * v)) / (total or 1.0)

    def diagonal(self, like: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """See `Metric`."""
        del like
        return self.values

    def trace(self, shape: Sequence[int]) -> float:
        """See `Metric`."""
        del shape
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

    def __post_init__(self) -> None:
        if self.outer is None and self.inner is None:
            raise ValueError("a Kronecker metric of two identities is flat; use Flat")

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

    def near_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, "p p"]:
        """Return `on_atoms` itself."""
        return self.on_atoms(u, v)

    def diagonal(self, like: Float[Array, "row column"]) -> Float[Array, "row column"]:
        """Return diag(B) diag(A)ᵀ."""
        outer, inner = (_diagonal(form, like, axis) for axis, form in enumerate((self.outer, self.inner)))
        return outer[:, None] * inner[None, :]

    def trace(self, shape: Sequence[int]) -> float:
        """See `Metric`."""
        return _trace(self.outer, shape[0]) * _trace(self.inner, shape[1])

    def times(self, factor: float) -> "Kronecker":
        """See `Metric`."""
        if self.inner is not None:
            return Kronecker(self.outer, factor * self.inner)
        assert self.outer is not None
        return Kronecker(factor * self.outer, None)


@dataclass(frozen=True)
class Rotated:
    """H x = Q_B (values ∘ (Q_Bᵀ x Q_A)) Q_Aᵀ: K-FAC's eigenvectors with eigenvalues measured anew (EK-FAC).

    outer: Q_B (row, row), orthogonal. inner: Q_A (column, column), orthogonal. values: (row, column), not below 0.
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

    def near_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, "p p"]:
        """See `Diagonal`, among its own vectors."""
        return Diagonal(self.values).near_atoms(self.outer.T @ u, self.inner.T @ v)

    def diagonal(self, like: Float[Array, "row column"]) -> Float[Array, "row column"]:
        """Return (Q_B ∘ Q_B) values (Q_A ∘ Q_A)ᵀ."""
        del like
        return (self.outer * self.outer) @ self.values @ (self.inner * self.inner).T

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
        both = xp.astype(xp.stack(columns, axis=1), xp.float64)
        return (both + both.T) / 2

    def at_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, " p"]:
        """See `Metric`."""
        return namespace(u).linalg.diagonal(self.on_atoms(u, v))

    def near_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> None:
        """Return None."""
        del u, v

    def diagonal(self, like: Float[Array, "*shape"]) -> None:
        """Return None."""
        del like

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
class Restricted:
    """A metric of which only SᵀHS is known, for one basis S of atoms; no other atoms may be asked about.

    matrix: (p, p), as `Metric.on_atoms` of those atoms returned it.
    """

    matrix: Float[Array, "p p"]

    def apply(self, x: Float[Array, "row column"]) -> Float[Array, "row column"]:
        """See `Metric`.

        Raises:
            ValueError: always; it is not known outside of its atoms.
        """
        raise ValueError("a metric that is restricted to atoms cannot be applied to a tensor")

    def on_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, "p p"]:
        """See `Metric`."""
        del u, v
        return self.matrix

    def at_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, " p"]:
        """See `Metric`."""
        del u, v
        return namespace(self.matrix).linalg.diagonal(self.matrix)

    def near_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, "p p"]:
        """Return `on_atoms` itself."""
        return self.on_atoms(u, v)

    def diagonal(self, like: Float[Array, "*shape"]) -> None:
        """Return None."""
        del like

    def trace(self, shape: Sequence[int]) -> float:
        """See `Metric`.

        Raises:
            ValueError: always; it is not known outside of its atoms.
        """
        raise ValueError("the trace of a metric that is restricted to atoms is not known")

    def times(self, factor: float) -> "Restricted":
        """See `Metric`."""
        return Restricted(factor * self.matrix)


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

    def near_atoms(self, u: Float[Array, "row p"], v: Float[Array, "column p"]) -> Float[Array, "p p"] | None:
        """See `Metric`."""
        return _added_if_known([part.near_atoms(u, v) for part in self.parts])

    def diagonal(self, like: Float[Array, "*shape"]) -> Float[Array, "*shape"] | None:
        """See `Metric`."""
        return _added_if_known([part.diagonal(like) for part in self.parts])

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
    if isinstance(one, Sum):
        return Sum((*one.parts, other))
    if isinstance(one, Flat) and not isinstance(other, Flat):
        return plus(other, one)
    return _as_one(one, other) or Sum((one, other))


def _as_one(one: Metric, other: Metric) -> Metric | None:
    """Return H_1 + H_2 if it is of the kind of H_1."""
    match one, other:
        case Flat(), Flat():
            return Flat(one.factor + other.factor)
        case Diagonal(), Diagonal():
            return Diagonal(one.values + other.values)
        case ((Diagonal() | Rotated()), Flat()):
            return replace(one, values=one.values + other.factor)
        case Restricted(), Restricted():
            return Restricted(one.matrix + other.matrix)
        case Kronecker(None, inner), Kronecker(None, more):
            return Kronecker(None, _added([inner, more]))
        case Kronecker(outer, None), Kronecker(more, None):
            return Kronecker(_added([outer, more]), None)
    return None


def _through(form: Array | None, vectors: Float[Array, "n p"]) -> Float[Array, "p p"]:
    """Return vectorsᵀ form vectors, in float64; the form is widened a few rows at a time."""
    xp = namespace(vectors)
    wide = xp.astype(vectors, xp.float64)
    if form is None:
        return wide.T @ wide
    out = xp.zeros((vectors.shape[1], vectors.shape[1]), dtype=xp.float64, device=vectors.device)
    step = max(1, BLOCK // max(1, form.shape[1]))
    for start in range(0, form.shape[0], step):
        rows = slice(start, start + step)
        out += wide[rows].T @ (xp.astype(form[rows], xp.float64) @ wide)
    return out


def _diagonal(form: Array | None, like: Array, axis: int) -> Array:
    xp = namespace(like)
    return xp.ones_like(like[:, 0] if axis == 0 else like[0]) if form is None else xp.linalg.diagonal(form)


def _trace(form: Array | None, size: int) -> float:
    if form is None:
        return float(size)
    xp = namespace(form)
    return float(xp.sum(xp.linalg.diagonal(form), dtype=xp.float64))


def _added(parts: Sequence[Array]) -> Array:
    return reduce(lambda one, other: one + other, parts)


def _added_if_known(parts: Sequence[Array | None]) -> Array | None:
    return None if any(part is None for part in parts) else _added(parts)
