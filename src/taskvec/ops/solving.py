"""Linear systems whose matrix is a metric: H x = right, in the whole space or in the coordinates of a basis."""

import operator
from collections.abc import Callable
from functools import reduce

import numpy as np

from .arrays import Array, namespace
from .atoms import Atoms
from .conjugate_gradients import conjugate_gradients
from .metric import Diagonal, Flat, Kronecker, Metric, Restricted, Rotated, Sum
from .shapes import Float

DENSE = 32
"""Up to so many coordinates any metric is written out as a matrix; of more only those that cost little."""

WRITTEN_OUT = 2048
"""Up to so many a matrix that is written out is solved by its eigenvectors; more by conjugate gradients."""

MOST = 500
"""Products that conjugate gradients may take, where nobody says."""

ZERO = 1e-12
"""Eigenvalues below this share of the largest count as zero."""

SLACK = 1e-8
"""This share of the mean eigenvalue is added to a preconditioner, that it can be inverted."""


def solve(
    form: Metric,
    right: Float[Array, "*shape"],
    start: Float[Array, "*shape"],
    basis: Atoms | None = None,
    tolerance: float = 1e-6,
    most: int = MOST,
    least: float = ZERO,
) -> tuple[Float[Array, "*shape"], float]:
    """Return d with SᵀHS d = right, and the residual's norm as a share of the right side's.

        d = start + H⁺ (right - H start)        where H is zero, d is that of `start`

    Entry by entry for diagonals; by eigenvectors for one Kronecker product, or on few atoms; else by conjugate
    gradients from `start`, on atoms preconditioned with what is near H. (Where SᵀHS is singular, they then end at a
    solution that is nearest in another norm.)

    Shape: `right` and `start` are (p,) with a basis of p atoms, else (*shape).
    Zero:  of a form of one side, eigenvalues below `least` of the largest count as zero: rounding, where it was
           measured in float32.
    """
    if basis is None:
        if isinstance(form, Flat | Diagonal):
            return _entry_by_entry(form, right, start), 0.0
        if isinstance(form, Kronecker) and (form.outer is None or form.inner is None):
            return start + _one_sided(form, right - form.apply(start), least), 0.0
        if turned := _turned(form, right):
            return start + _by_eigenvectors(turned, right - form.apply(start)), 0.0
    else:
        form = Restricted(form.on_atoms(basis.u, basis.v)) if cheap(form) or basis.count <= DENSE else form
        if isinstance(form, Restricted) and basis.count <= WRITTEN_OUT:
            return _by_matrix(form.matrix, right, start), 0.0
    found = conjugate_gradients(
        lambda d: on_coordinates(form, d, basis),
        right,
        start=start,
        inverse=_near_inverse(form, right, basis),
        tolerance=tolerance,
        most=most,
    )
    return found.x, found.residual


def on_coordinates(form: Metric, d: Float[Array, "*shape"], basis: Atoms | None) -> Float[Array, "*shape"]:
    """Return SᵀHS d: H d without a basis."""
    if basis is None:
        return form.apply(d)
    xp = namespace(d)
    if cheap(form):
        return xp.astype(form.on_atoms(basis.u, basis.v) @ xp.astype(d, xp.float64), d.dtype)
    if isinstance(form, Sum):
        return reduce(operator.add, (on_coordinates(part, d, basis) for part in form.parts))
    if isinstance(form, Rotated):  # turning the atoms costs less than turning what they span
        turned = Atoms(form.outer.T @ basis.u, form.inner.T @ basis.v)
        return on_coordinates(Diagonal(form.values), d, turned)
    return xp.astype(basis.coordinates(form.apply(basis.expand(d))), d.dtype)


def mean_eigenvalue(form: Metric, like: Float[Array, "*shape"], basis: Atoms | None = None) -> float:
    """Return tr(H)/n, of the whole metric or of SᵀHS; `like` has the shape of the coordinates."""
    if basis is None:
        return form.trace(like.shape) / max(1, int(np.prod(like.shape)))
    xp = namespace(basis.u)
    return float(xp.sum(form.at_atoms(basis.u, basis.v), dtype=xp.float64)) / max(1, basis.count)


def inner(one: Float[Array, "*shape"], other: Float[Array, "*shape"]) -> float:
    """Return ⟨one, other⟩, added up in float64."""
    xp = namespace(one)
    return float(xp.sum(xp.astype(one, xp.float64) * xp.astype(other, xp.float64)))


def cheap(form: Metric) -> bool:
    """Whether a metric is better written out on atoms than applied to what they span."""
    if isinstance(form, Sum):
        return all(cheap(part) for part in form.parts)
    return isinstance(form, Flat | Kronecker | Restricted)


def _entry_by_entry(form: Flat | Diagonal, right: Array, start: Array) -> Array:
    xp = namespace(right)
    values = form.values if isinstance(form, Diagonal) else xp.ones_like(right) * form.factor
    seen = values > 0
    return xp.where(seen, right / xp.where(seen, values, xp.ones_like(values)), start)


def _turned(form: Metric, like: Array) -> Rotated | None:
    """Return a metric that has eigenvectors of both sides with them; None for others.

    A Kronecker product has them, also when a multiple of the identity is added.
    """
    first, *rest = form.parts if isinstance(form, Sum) else (form,)
    flats = [part.factor for part in rest if isinstance(part, Flat)]
    if not isinstance(first, Kronecker | Rotated) or len(flats) < len(rest):
        return None
    if isinstance(first, Kronecker):
        b, outer = _eigen(first.outer, like.shape[0], like)
        a, inner = _eigen(first.inner, like.shape[1], like)
        first = Rotated(outer, inner, b[:, None] * a[None, :])
    return Rotated(first.outer, first.inner, first.values + sum(flats))


def _eigen(form: Array | None, size: int, like: Array) -> tuple[Array, Array]:
    """Return eigenvalues and vectors, found in float64; rounding below zero is zero."""
    xp = namespace(like)
    if form is None:
        return xp.ones(size, dtype=like.dtype, device=like.device), xp.eye(size, dtype=like.dtype, device=like.device)
    values, vectors = xp.linalg.eigh(xp.astype(form, xp.float64))
    return xp.astype(xp.clip(values, min=0.0), like.dtype), xp.astype(vectors, like.dtype)


def _one_sided(form: Kronecker, right: Array, least: float) -> Array:
    """Return H⁺ right for a form of one side, whose other is the identity."""
    if form.inner is None:
        return _one_sided(Kronecker(None, form.outer), right.T, least).T
    values, vectors = _eigen(form.inner, right.shape[1], right)
    return _divided(right @ vectors, values, least) @ vectors.T


def _by_eigenvectors(form: Rotated, right: Array) -> Array:
    """Return H⁺ right."""
    turned = form.outer.T @ right @ form.inner
    return form.outer @ _divided(turned, form.values) @ form.inner.T


def _by_matrix(matrix: Array, right: Array, start: Array) -> Array:
    """Solve by the eigenvectors of a matrix, in float64."""
    xp = namespace(right)
    values, vectors = xp.linalg.eigh((matrix + matrix.T) / 2)
    first = xp.astype(start, xp.float64)
    left = vectors.T @ (xp.astype(right, xp.float64) - matrix @ first)
    return xp.astype(first + vectors @ _divided(left, values), right.dtype)


def _divided(x: Array, values: Array, least: float = ZERO) -> Array:
    """Return x / values, and 0 where a value is nothing beside the largest."""
    xp = namespace(x)
    seen = values > least * (xp.max(values) if all(values.shape) else 0.0)
    return xp.where(seen, x / xp.where(seen, values, xp.ones_like(values)), xp.zeros_like(x))


def _near_inverse(form: Metric, like: Array, basis: Atoms | None) -> Callable[[Array], Array] | None:
    """Return x → M⁻¹ x for an M near the metric on atoms, or None where nothing near it is known.

    In the whole space there is none: a system without one solution is then solved nearest to where it began.
    """
    near = None if basis is None else form.near_atoms(basis.u, basis.v)
    if near is None:
        return None
    xp = namespace(near)
    mean = float(xp.linalg.trace(near)) / max(1, near.shape[0])
    if not mean > 0:
        return None
    inverse = xp.linalg.inv(near + SLACK * mean * xp.eye(near.shape[0], dtype=near.dtype, device=near.device))
    inverse = xp.astype((inverse + inverse.T) / 2, like.dtype)
    return lambda d: inverse @ d
