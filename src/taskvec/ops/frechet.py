"""The Fréchet mean of task vectors under a metric each, in the whole space or in a subspace of it.

One function from which merge methods come by their choice of a basis S and of metrics H_t (EpiMer, Proposition 2):

    task arithmetic   S = I              H_t = I, summed
    Fisher averaging  S = I              H_t = diag(F_t)
    gradient matching S = I              H_t = H_0 + F_t, and Σ w_t F_t + H_0 as the quadratic side
    RegMean           S = I              H_t = I ⊗ X_tᵀX_t
    MaTS              S = I              H_t = B_t ⊗ A_t
    TIES              S = I              H_t = diag(kept_t), what nobody keeps is zero
    TSV-M             labelled atoms     H_t = I, summed
    Iso-C             SVD of the sum     H_t = I, summed; (M Mᵀ)^½ over its mean singular value as the quadratic side
    EpiMer            labelled atoms     H_t = SᵀH_tS, summed
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .arrays import Array, namespace
from .atoms import Atoms
from .conjugate_gradients import conjugate_gradients
from .metric import Diagonal, Flat, Kronecker, Metric, Rotated, Sum, plus
from .shapes import Float

DENSE = 32
"""Up to so many coordinates any metric is written out as a matrix; more by conjugate gradients."""

WRITTEN_OUT = 2048
"""Likewise for metrics that are cheap to write out."""

ZERO = 1e-12
"""Eigenvalues below this share of the largest count as zero."""


class Gathered(NamedTuple):
    """What a mean is made of. Coordinates are (p,) in a basis of atoms, else (*shape).

    quadratic: H̄. pull: Σ w_t H_t d_t. flat: the same under equal metrics. energy: Σ w_t ⟨d_t, H_t d_t⟩.
    """

    quadratic: Metric
    pull: Float[Array, "*shape"]
    flat: Float[Array, "*shape"]
    energy: float


@dataclass(frozen=True)
class Mean:
    """A Fréchet mean, in coordinates.

    curved: the mean under the metrics. flat: the same under equal ones. residual: of the equations, as a share.
    """

    curved: Float[Array, "*shape"]
    flat: Float[Array, "*shape"]
    residual: float


def frechet(
    targets: Iterable[Float[Array, "*shape"]],
    metrics: Iterable[Metric],
    weights: Sequence[float],
    *,
    basis: Atoms | None = None,
    quadratic: Metric | None = None,
    summed: bool = False,
    damping: float = 0.0,
    unseen: str = "flat",
    tolerance: float = 1e-6,
) -> Mean:
    """Return the Fréchet mean of task vectors.

        mean    d = argmin Σ_t w_t ⟨d - d_t, H_t (d - d_t)⟩ = (Σ_t w_t H_t)⁻¹ Σ_t w_t H_t d_t
        summed  d = (1/T Σ_t H_t)⁻¹ Σ_t w_t H_t d_t        which is Σ_t w_t d_t where all H_t are equal
        damping H_t ← H_t + damping · tr(H̄)/n · I          in both places, so equal metrics stay equal

    Shape: targets are coordinates: (p,) with a basis of p atoms, else tensors (*shape); so is the result.
    Units: those of the targets. Metrics may be in any unit, but in the same one: a task whose metric is ten times as
           large pulls ten times as hard.
    Zero:  where H̄ is zero the metrics say nothing, and the flat mean stands there (`unseen: flat`: what damping
           tends to), or zero (`unseen: zero`: the pseudo-inverse).
    Edge:  targets and metrics are asked for once, in step, and none is kept, so T of them need not be in memory at once
           (Kronecker factors of different tasks cannot be added up, and are).
    Source: EpiMer (Lu et al. 2026, arXiv:2605.26693), eq. (1) to (3); its unification is Proposition 2.

    Args:
        targets: d_t of each task.
        metrics: H_t of each task, on whole tensors: the basis is applied here.
        weights: w_t.
        basis: atoms that span the subspace; everything when not given.
        quadratic: what stands in H̄'s place, for methods whose two sides differ.
        summed: whether equal metrics give the weighted sum, not the weighted mean.
        damping: a share of the mean eigenvalue of H̄.
        unseen: `flat` or `zero`.
        tolerance: of conjugate gradients, as a share of the right side's norm.

    >>> d = [np.array([1.0, 0.0]), np.array([0.0, 1.0])]
    >>> frechet(d, [Diagonal(np.array([3.0, 1.0])), Diagonal(np.array([1.0, 1.0]))], [1.0, 1.0]).curved
    array([0.75, 0.5 ])
    """
    parts = gathered(targets, metrics, weights, basis=basis, summed=summed)
    return mean_of(parts, basis=basis, quadratic=quadratic, damping=damping, unseen=unseen, tolerance=tolerance)


def gathered(
    targets: Iterable[Float[Array, "*shape"]],
    metrics: Iterable[Metric],
    weights: Sequence[float],
    *,
    basis: Atoms | None = None,
    summed: bool = False,
) -> Gathered:
    """Return what a Fréchet mean is made of; see `frechet`."""
    w = np.asarray(weights, dtype=np.float64)
    total = float(w.sum())
    if not summed and not total:
        raise ValueError("the weights sum to 0, so there is no weighted mean")
    shares = np.full(len(w), 1 / len(w)) if summed else w / total
    pulls = w if summed else w / total
    quadratic: Metric | None = None
    pull = flat = None
    energy = 0.0
    for share, weight, target, metric in zip(shares.tolist(), pulls.tolist(), targets, metrics, strict=True):
        xp = namespace(target)
        whole = target if basis is None else basis.expand(target)
        bent = metric.apply(whole)
        energy += weight * float(xp.sum(whole * bent, dtype=xp.float64))
        pull = weight * bent if pull is None else pull + weight * bent
        flat = weight * target if flat is None else flat + weight * target
        quadratic = plus(quadratic, metric.times(share))
    if quadratic is None:
        raise ValueError("there is no task to take the mean of")
    return Gathered(quadratic, pull if basis is None else basis.coordinates(pull), flat, energy)


def mean_of(
    parts: Gathered,
    *,
    basis: Atoms | None = None,
    quadratic: Metric | None = None,
    damping: float = 0.0,
    unseen: str = "flat",
    tolerance: float = 1e-6,
) -> Mean:
    """Solve for the mean of what was gathered; see `frechet`."""
    xp = namespace(parts.pull)
    form, pull = quadratic or parts.quadratic, parts.pull
    if damping:
        added = damping * mean_eigenvalue(form, parts.flat, basis)
        form, pull = plus(form, Flat(added)), pull + added * parts.flat
    start = xp.zeros_like(parts.flat) if unseen == "zero" else parts.flat
    curved, residual = solve(form, pull, start, basis, tolerance)
    return Mean(curved, parts.flat, residual)


def mean_eigenvalue(form: Metric, like: Float[Array, "*shape"], basis: Atoms | None = None) -> float:
    """Return tr(H)/n, of the whole metric or of SᵀHS; `like` has the shape of the coordinates."""
    if basis is None:
        return form.trace(like.shape) / max(1, int(np.prod(like.shape)))
    xp = namespace(basis.u)
    return float(xp.sum(form.at_atoms(basis.u, basis.v), dtype=xp.float64)) / max(1, basis.count)


def solve(
    form: Metric,
    right: Float[Array, "*shape"],
    start: Float[Array, "*shape"],
    basis: Atoms | None = None,
    tolerance: float = 1e-6,
) -> tuple[Float[Array, "*shape"], float]:
    """Return d with SᵀHS d = right, and the residual's share; where H is zero, d is that of `start`.

    d = start + H⁺ (right - H start)
    """
    if basis is not None:
        return _on_atoms(form, right, start, basis, tolerance)
    if isinstance(form, Flat | Diagonal):
        return _entry_by_entry(form, right, start), 0.0
    if isinstance(form, Kronecker | Rotated):
        return start + _by_eigenvectors(form, right - form.apply(start)), 0.0
    found = conjugate_gradients(form.apply, right, start=start, tolerance=tolerance)
    return found.x, found.residual


def _entry_by_entry(form: Flat | Diagonal, right: Array, start: Array) -> Array:
    xp = namespace(right)
    values = form.values if isinstance(form, Diagonal) else xp.ones_like(right) * form.factor
    seen = values > 0
    return xp.where(seen, right / xp.where(seen, values, xp.ones_like(values)), start)


def _by_eigenvectors(form: Kronecker | Rotated, right: Array) -> Array:
    """Return H⁺ right."""
    xp = namespace(right)
    if isinstance(form, Rotated):
        outer, inner, values = form.outer, form.inner, form.values
    else:
        b, outer = _eigen(form.outer, right.shape[0], right)
        a, inner = _eigen(form.inner, right.shape[1], right)
        values = b[:, None] * a[None, :]
    turned = right if outer is None else outer.T @ right
    turned = turned if inner is None else turned @ inner
    seen = values > ZERO * xp.max(values)
    turned = xp.where(seen, turned / xp.where(seen, values, xp.ones_like(values)), xp.zeros_like(turned))
    turned = turned if outer is None else outer @ turned
    return turned if inner is None else turned @ inner.T


def _eigen(form: Array | None, size: int, like: Array) -> tuple[Array, Array | None]:
    """Return eigenvalues and vectors, found in float64; of an identity ones and None."""
    xp = namespace(like)
    if form is None:
        return xp.ones(size, dtype=like.dtype, device=like.device), None
    values, vectors = xp.linalg.eigh(xp.astype(form, xp.float64))
    return xp.astype(values, like.dtype), xp.astype(vectors, like.dtype)


def _on_atoms(form: Metric, right: Array, start: Array, basis: Atoms, tolerance: float) -> tuple[Array, float]:
    if basis.count <= (WRITTEN_OUT if _cheap(form) else DENSE):
        return _dense(form.on_atoms(basis.u, basis.v), right, start)

    def product(d: Array) -> Array:
        return basis.coordinates(form.apply(basis.expand(d)))

    xp = namespace(right)
    bend = form.at_atoms(basis.u, basis.v)
    seen = bend > ZERO * xp.max(bend)
    steps = xp.where(seen, 1 / xp.where(seen, bend, xp.ones_like(bend)), xp.ones_like(bend))
    found = conjugate_gradients(product, right, start=start, inverse=lambda d: steps * d, tolerance=tolerance)
    return found.x, found.residual


def _cheap(form: Metric) -> bool:
    """Whether a metric costs little to write out on atoms."""
    if isinstance(form, Sum):
        return all(_cheap(part) for part in form.parts)
    return isinstance(form, Flat | Kronecker)


def _dense(matrix: Array, right: Array, start: Array) -> tuple[Array, float]:
    """Solve by eigenvectors, in float64."""
    xp = namespace(right)
    wide = xp.astype(matrix, xp.float64)
    values, vectors = xp.linalg.eigh((wide + wide.T) / 2)
    first = xp.astype(start, xp.float64)
    left = vectors.T @ (xp.astype(right, xp.float64) - wide @ first)
    seen = values > ZERO * xp.max(values)
    step = vectors @ xp.where(seen, left / xp.where(seen, values, xp.ones_like(values)), xp.zeros_like(left))
    return xp.astype(first + step, right.dtype), 0.0
