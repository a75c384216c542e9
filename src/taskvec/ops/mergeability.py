"""What merging costs the tasks, under the curvature of their losses: the sums of one tensor, which add up over tensors.

Each loss counts as a quadratic around its own model, L_t(θ_t + x) - L_t(θ_t) ≈ ½⟨x, H_t x⟩: no gradient is left there,
curvature does not change on the way, and different tensors do not bend each other's loss.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .arrays import Array, namespace
from .atoms import Atoms
from .coordinates import Coordinates, Numbered
from .merge_sums import Merged, MergeSums
from .metric import Metric, plus
from .projected import Projected
from .shapes import Float, Float64
from .solving import inner, on_coordinates, solve

TOLERANCE, FINE_TOLERANCE = 1e-6, 1e-9
"""Of the equations for the curved mean, as a share of their right side; in float64 the finer one. η is off by its
square."""

NEGATIVE = 1e-5
"""Eigenvalues below minus this share of the largest are negative curvature; less is rounding."""

Row = npt.NDArray[np.float64]


def merge_sums(
    deltas: Numbered,
    metrics: Numbered,
    weights: Numbered | None = None,
    *,
    basis: Atoms | None = None,
    targets: Numbered | None = None,
    raw: Atoms | None = None,
    labels: Sequence[int] = (),
) -> MergeSums:
    """Return what is to be known of one tensor before it is merged.

        λ = weights / Σ weights,   H̃_t = SᵀH_tS,   H̄ = Σ λ_t H̃_t,   r_t = δ_t - S d_t
        plain  m = Σ λ_t δ_t                       task arithmetic
        flat   m = S d_I,   d_I = Σ λ_t d_t        the subspace without curvature (labelled atoms: TSV-M)
        curved m = S d_H,   d_H = d_I + H̄⁻¹ c,     c = Σ λ_t (H̃_t - H̄)(d_t - d_I)      (EpiMer)
        η = cᵀH̄⁻¹c = F(d_I) - F(d_H),              F(d) = Σ λ_t (d - d_t)ᵀH̃_t(d - d_t)

    All three are means; merges that sum are T times as long (`MergeSums` takes a scale).

    Shape: `deltas` are tensors (*shape), matrices where there is a basis; `targets` are coordinates (p,).
    Units: those of the metrics: for curvature of a loss, of that loss; nothing is halved but `excess` and `gains`.
    Zero:  where H̄ is zero the metrics say nothing, and the curved mean is the flat one there.
    Edge:  tensors and metrics are asked for by number and more than once, in order, so they may be read anew each
           time. Without a basis S = I, and p is the number of entries.
    Source: EpiMer (Lu et al. 2026, arXiv:2605.26693), eq. (1) to (4), Theorems 2 and 3.

    Args:
        deltas: δ_t, the task vectors.
        metrics: H_t, on whole tensors.
        weights: in proportion to λ; equal ones when not given.
        basis: the atoms that span the subspace.
        targets: d_t; the projections Sᵀδ_t when not given.
        raw: each task's own singular vectors, side by side, before they were made orthogonal; for interference.
        labels: of which task each of these is.

    Raises:
        ValueError: weights that are negative or sum to 0, or targets without a basis.

    >>> from .metric import Diagonal
    >>> d = [np.array([1.0, 0.0]), np.array([0.0, 1.0])]
    >>> sums = merge_sums(d, [Diagonal(np.array([3.0, 1.0])), Diagonal(np.array([1.0, 1.0]))])
    >>> sums.eta, sums.variance("flat") - sums.variance("curved")
    (0.125, 0.125)
    """
    shares = _shares(weights, len(deltas))
    space = Coordinates(deltas, basis, targets)
    flat = _mean(space.target, shares)
    mean, c = _heterogeneity(space, metrics, shares, flat)
    xp = namespace(c)
    step, left = solve(mean, c, xp.zeros_like(c), basis, FINE_TOLERANCE if c.dtype == xp.float64 else TOLERANCE)
    curved = flat + step
    bent = on_coordinates(mean, curved, basis)
    projected = Projected(mean, flat, basis)
    whole = space.expand(flat)
    merges = [_Merge(whole, flat), _Merge(space.expand(curved), curved)]
    merges += [] if basis is None else [_Merge(_mean(space.delta, shares), None)]
    rows = [_of_task(space, t, metrics[t], merges, projected) for t in range(len(shares))]
    found = [_merged([row.merges[i] for row in rows], m.whole) for i, m in enumerate(merges)]
    ends = projected.ends()
    shared, ranks = _interference(raw, labels, len(shares))
    own, kept, residual, trace, inside, uneven = _columns([row.numbers for row in rows])
    return MergeSums(
        weights=shares,
        tensors=1,
        entries=int(np.prod(whole.shape)),
        directions=int(np.prod(flat.shape)),
        own=own,
        kept=kept,
        residual=residual,
        flat=found[0],
        curved=found[1],
        plain=found[-1] if basis is not None else found[0],
        eta=inner(c, step),
        cross=-inner(step, bent),
        traces=trace,
        inside=inside,
        uneven=uneven,
        size=inner(projected.mean, projected.mean),
        least=ends.least,
        largest=ends.largest,
        negative=int(ends.least < -NEGATIVE * abs(ends.largest)),
        unsolved=left,
        shared=shared,
        ranks=ranks,
        estimated=int(not (projected.exact and ends.exact)),
    )


def excess_losses(deltas: Numbered, metrics: Numbered, merged: Float[Array, "*shape"]) -> Float64[np.ndarray, " task"]:
    """Return how much a merge of one tensor is expected to add to each task's loss: ½⟨δ_m - δ_t, H_t (δ_m - δ_t)⟩.

    Shape: `deltas` and `merged` are (*shape); the result is (task,). Sums over tensors are those of a model.

    >>> from .metric import Flat
    >>> excess_losses([np.array([1.0, 0.0])], [Flat(2.0)], np.array([0.0, 0.0]))
    array([1.])
    """
    apart = [merged - deltas[t] for t in range(len(deltas))]
    return np.array([inner(x, metrics[t].apply(x)) / 2 for t, x in enumerate(apart)])


class _Merge(NamedTuple):
    """A merge, and its coordinates; None for one that lies outside the subspace."""

    whole: Array
    d: Array | None


class _Row(NamedTuple):
    """What is found of one task.

    numbers: own, kept, residual, trace, trace inside, uneven. merges: bend, apart and inside of each merge.
    """

    numbers: tuple[float, ...]
    merges: tuple[tuple[float, ...], ...]


def _shares(weights: Numbered | None, tasks: int) -> Row:
    given = np.ones(tasks) if weights is None else np.asarray(weights, dtype=np.float64)
    if len(given) != tasks or not given.min() >= 0 or not given.sum() > 0:
        raise ValueError(f"the weights must be {tasks} numbers, none below 0 and not all 0, got {given.tolist()}")
    shares: Row = given / given.sum()
    return shares


def _mean(vectors: Callable[[int], Array], shares: Row) -> Array:
    out = None
    for t, share in enumerate(shares.tolist()):
        out = share * vectors(t) if out is None else out + share * vectors(t)
    return out


def _heterogeneity(space: Coordinates, metrics: Numbered, shares: Row, flat: Array) -> tuple[Metric, Array]:
    """Return H̄, restricted to the atoms where that is little, and c = Σ λ_t (H̃_t - H̄)(d_t - d_I).

    The deviations d_t - d_I add up to 0, and so does what H̄ makes of them: c = Σ λ_t H̃_t (d_t - d_I).
    """
    mean: Metric | None = None
    c = None
    for t, share in enumerate(shares.tolist()):
        metric = space.restricted(metrics[t])
        bent = share * on_coordinates(metric, space.target(t) - flat, space.basis)
        c = bent if c is None else c + bent
        mean = plus(mean, metric.times(share))
    assert mean is not None
    return mean, c


def _of_task(space: Coordinates, task: int, metric: Metric, merges: Sequence[_Merge], projected: Projected) -> _Row:
    delta, inside = space.delta(task), space.expand(space.target(task))
    bend_of = space.bending(metric)
    bent, bent_inside = metric.apply(delta), bend_of(space.target(task))
    found = []
    for whole, d in merges:
        bend = metric.apply(whole) if d is None else bend_of(d)
        apart = inner(whole - delta, bend - bent)
        found.append((inner(whole, bend), apart, inner(whole - inside, bend - bent_inside)))
    off = projected.form(metric) - projected.mean
    energies = inner(delta, bent), inner(inside, bent_inside), inner(delta - inside, bent - bent_inside)
    return _Row((*energies, *space.traces(metric, delta.shape), inner(off, off)), tuple(found))


def _merged(rows: Sequence[tuple[float, ...]], m: Array) -> Merged:
    bend, apart, inside = _columns(rows)
    return Merged(bend, apart, inside, inner(m, m))


def _interference(raw: Atoms | None, labels: Sequence[int], tasks: int) -> tuple[Row, Row]:
    """Return ½(|U_sᵀU_t|_F² + |V_sᵀV_t|_F²) for all pairs of tasks, and how many directions both have."""
    if raw is None:
        return np.zeros((tasks, tasks)), np.zeros((tasks, tasks))
    own = [[i for i, label in enumerate(labels) if label == t] for t in range(tasks)]
    sides = []
    for vectors in (raw.u, raw.v):
        parts = [vectors[:, i] for i in own]
        sides.append(np.array([[_energy(one.T @ other) for other in parts] for one in parts]))
    count = np.array([_energy(raw.u[:, i]) for i in own]).round()
    return (sides[0] + sides[1]) / 2, np.minimum(count[:, None], count[None, :])


def _columns(rows: Sequence[Sequence[float]]) -> list[Row]:
    return list(np.array(rows, dtype=np.float64).T)


def _energy(x: Array) -> float:
    return inner(x, x)
