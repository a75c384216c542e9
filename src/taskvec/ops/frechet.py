"""The Fréchet mean of task vectors under a metric each, in the whole space or in a subspace of it.

One function from which merge methods come by their choice of a basis S and of metrics H_t (EpiMer, Proposition 2):

    task arithmetic   S = I              H_t = I, summed
    Fisher averaging  S = I              H_t = diag(F_t)
    gradient matching S = I              H_t = H_0 + diag(F_t), summed; H_0 + Σ w_t diag(F_t) as the quadratic side
    RegMean           S = I              H_t = I ⊗ X_tᵀX_t
    MaTS              S = I              H_t = B_t ⊗ A_t
    TIES              S = I              H_t = diag(τ_t is kept and has the elected sign); `unseen: zero`
    TSV-M             labelled atoms     H_t = I, summed
    Iso-C             SVD of Σ w_t τ_t   H_t = I, summed; (M Mᵀ)^½ over its mean eigenvalue as the quadratic side
    EpiMer            labelled atoms     H_t = SᵀH_tS, summed
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .arrays import Array, namespace
from .atoms import Atoms
from .metric import Flat, Metric, Restricted, Rotated, plus
from .shapes import Float
from .solving import MOST, ZERO, cheap, inner, mean_eigenvalue, on_coordinates, solve

__all__ = [
    "Gathered",
    "Mean",
    "frechet",
    "gathered",
    "mean_eigenvalue",
    "mean_of",
    "on_coordinates",
    "predicted_gain",
    "solve",
]


Weights = Sequence[float] | Float[np.ndarray, " task"]
"""A number a task."""


class Gathered(NamedTuple):
    """What a mean is made of. Coordinates are (p,) in a basis of atoms, else (*shape).

    quadratic: H̄; on a basis, metrics that are cheap to write out are `Restricted` to it. pull: Σ w_t H_t d_t.
    flat: the same under equal metrics. energy: Σ w_t ⟨d_t, H_t d_t⟩.
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
    weights: Weights,
    *,
    basis: Atoms | None = None,
    quadratic: Metric | None = None,
    summed: bool = False,
    damping: float = 0.0,
    unseen: str = "flat",
    tolerance: float = 1e-6,
    most: int = MOST,
    least: float = ZERO,
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
           (but without a basis Kronecker factors of different tasks cannot be added up, and are kept; with one the
           eigenvectors of `Rotated` metrics are).
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
        most: products that conjugate gradients may take.
        least: below this share of the largest, an eigenvalue of one-sided metrics counts as zero.

    >>> from taskvec.ops.metric import Diagonal
    >>> d = [np.array([1.0, 0.0]), np.array([0.0, 1.0])]
    >>> frechet(d, [Diagonal(np.array([3.0, 1.0])), Diagonal(np.array([1.0, 1.0]))], [1.0, 1.0]).curved
    array([0.75, 0.5 ])
    """
    parts = gathered(targets, metrics, weights, basis=basis, summed=summed)
    return mean_of(
        parts, basis=basis, quadratic=quadratic, damping=damping, unseen=unseen, tolerance=tolerance, most=most,
        least=least,
    )  # fmt: skip


def gathered(
    targets: Iterable[Float[Array, "*shape"]],
    metrics: Iterable[Metric],
    weights: Weights,
    *,
    basis: Atoms | None = None,
    summed: bool = False,
) -> Gathered:
    """Return what a Fréchet mean is made of; see `frechet`.

    Raises:
        ValueError: no task, as many weights as there are no tasks, or weights that sum to 0 and have no mean.
    """
    w = np.asarray(weights, dtype=np.float64)
    total = float(w.sum())
    if not len(w):
        raise ValueError("there is no task to take the mean of")
    if not summed and not total:
        raise ValueError("the weights sum to 0, so there is no weighted mean")
    shares = np.full(len(w), 1 / len(w)) if summed else w / total
    pulls = w if summed else w / total
    sums = _Sums(basis)
    for share, weight, target, metric in zip(shares.tolist(), pulls.tolist(), targets, metrics, strict=True):
        sums.add(share, weight, target, metric)
    return sums.gathered()


class _Sums:
    """The sums over tasks. What metrics do to whole tensors is brought to coordinates once, at the end."""

    def __init__(self, basis: Atoms | None) -> None:
        self.basis = basis
        self.quadratic: Metric | None = None
        self.whole = self.pull = self.flat = None
        self.energy = 0.0

    def add(self, share: float, weight: float, target: Array, metric: Metric) -> None:
        """Add a task."""
        self.flat = _more(self.flat, weight * target)
        if self.basis is not None and (cheap(metric) or isinstance(metric, Rotated)):
            if cheap(metric):
                metric = Restricted(metric.on_atoms(self.basis.u, self.basis.v))
            bent = on_coordinates(metric, target, self.basis)
            self.pull = _more(self.pull, weight * bent)
        else:
            target = target if self.basis is None else self.basis.expand(target)
            bent = metric.apply(target)
            self.whole = _more(self.whole, weight * bent)
        self.energy += weight * inner(target, bent)
        self.quadratic = plus(self.quadratic, metric.times(share))

    def gathered(self) -> Gathered:
        """Return them."""
        pull = self.pull if self.basis is not None else self.whole
        if self.basis is not None and self.whole is not None:
            xp = namespace(self.flat)
            pull = _more(pull, xp.astype(self.basis.coordinates(self.whole), self.flat.dtype))
        assert self.quadratic is not None
        return Gathered(self.quadratic, pull, self.flat, self.energy)


def _more(one: Array | None, other: Array) -> Array:
    return other if one is None else one + other


def mean_of(
    parts: Gathered,
    *,
    basis: Atoms | None = None,
    quadratic: Metric | None = None,
    damping: float = 0.0,
    unseen: str = "flat",
    tolerance: float = 1e-6,
    most: int = MOST,
    least: float = ZERO,
) -> Mean:
    """Solve for the mean of what was gathered; see `frechet`."""
    form, pull = quadratic or parts.quadratic, parts.pull
    xp = namespace(pull)
    if damping:
        added = Flat(damping * mean_eigenvalue(form, parts.flat, basis))
        form, pull = plus(form, added), pull + on_coordinates(added, parts.flat, basis)
    start = xp.zeros_like(parts.flat) if unseen == "zero" else parts.flat
    curved, residual = solve(form, pull, start, basis, tolerance, most, least)
    return Mean(curved, parts.flat, residual)


def predicted_gain(parts: Gathered, mean: Mean, basis: Atoms | None = None, tasks: int = 1) -> float:
    """Return how much lower the quadratic model of all losses is at the curved mean than at the flat one.

        F(d) = Σ w_t ⟨d - d_t, H_t (d - d_t)⟩ = tasks · ⟨d, H̄ d⟩ - 2 ⟨d, Σ w_t H_t d_t⟩ + energy
        gain = F(flat) - F(curved)

    Units: those of a metric times a squared target; half of it is a loss.
    Zero:  for a mean it is η (EpiMer, Theorem 3), never below 0 but for damping and rounding. For a sum it has no sign.

    Args:
        parts: what the mean is made of.
        mean: the mean.
        basis: the atoms of its coordinates.
        tasks: by how much H̄ is smaller than Σ w_t H_t: T for what was summed with weights of 1, else 1.
    """

    def loss(d: Array) -> float:
        return tasks * inner(d, on_coordinates(parts.quadratic, d, basis)) - 2 * inner(d, parts.pull)

    return loss(mean.flat) - loss(mean.curved)
