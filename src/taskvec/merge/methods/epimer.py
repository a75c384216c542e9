"""EpiMer: TSV-M's labelled atoms, added up where each task's loss bends."""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import numpy as np

from ...ops.arrays import Array, namespace
from ...ops.atoms import Atoms
from ...ops.blend import Blend, blend
from ...ops.frechet import gathered, mean_of, predicted_gain
from ...ops.metric import Diagonal, Metric, Restricted
from ...ops.shapes import Float
from ..curvature import Measured
from ..labelled import Labelled, Rank, holds_labelled, kept, labelled
from ..matrices import Others, Role, Spectral, added, matrices, role_in, shaped, total
from ..means import as_matrix
from ..newton import Corrected
from ..registry import Interval, Needs, Rest, merge_method
from ..statistics import Settings

Of = Literal["statistics", "deltas", "squares"]
Normalise = Literal["none", "tensor", "model"]
Measures = Sequence[Measured] | Any | None


def steps(
    weights: Float[np.ndarray, " task"],
    *,
    spectral: Spectral,
    others: Others,
    role: Role | None = None,
    **settings: Any,
) -> Blend | None:
    """Return a mean or a sum for a tensor that is not taken apart."""
    del settings
    return added(weights, spectral=spectral, others=others, role=role)


def measured(settings: Settings) -> tuple[str, ...]:
    """Return what is used of the statistics."""
    newton = settings["targets"] == "newton"
    return (*(["metric"] if newton or settings["metric"] == "statistics" else []), *(["gradient"] if newton else []))


def holds(tasks: int, rows: int, columns: int, settings: Settings) -> int:
    """Return how many float32 numbers are held at once, factors of a linear layer's sides among them."""
    keep = kept(settings["share"], settings["rank"], min(rows, columns), tasks)
    width, sides = tasks * keep, sum(min(one, 16 * other) ** 2 for one, other in ((rows, columns), (columns, rows)))
    solving = 8 * rows * columns + 24 * width**2 + 6 * (rows + columns) * width
    newton = (tasks + 4) * sides if settings["targets"] == "newton" else 0
    return holds_labelled(tasks, rows, columns, keep) + solving + 3 * sides + newton


@merge_method(
    needs=Needs(
        space="delta",
        scope="tensor",
        role=True,
        curvature=("diagonal", "kronecker", "eigen"),
        measured=measured,
        holds=holds,
        blend=steps,
    ),
    laws=("any_order", "homogeneous"),
    paper="Lu et al. 2026, arXiv:2605.26693, eq. (3) and Proposition 2",
)
def epimer(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    share: Rest = 0.0,
    rank: Rank = 0,
    coords: Literal["label", "project"] = "label",
    aggregate: Literal["sum", "mean"] = "sum",
    metric: Of = "statistics",
    normalise: Normalise = "tensor",
    damping: Annotated[float, Interval(0, 1e6)] = 1e-3,
    targets: Literal["plain", "newton"] = "plain",
    safeguard: bool = False,
    spectral: Spectral = "matrices",
    others: Others = "mean",
    role: Role | None = None,
    curvature: Measures = None,
) -> Float[Array, "*shape"]:
    """Keep each task's largest singular vectors, made orthogonal, and weigh them by how each task's loss bends.

        w_t τ_t ≈ U_t diag(s_t) V_tᵀ,   U = polar([U_1 … U_T]),   V = polar([V_1 … V_T])       as in `tsv_m`
        S = [vec u_1 v_1ᵀ … vec u_p v_pᵀ],   H̃_t = Sᵀ H_t S,   H̄ = Σ H̃_t / T
        d_t = s_t at the atoms of task t, 0 at the others'         (`coords: label`)
        d_t = Sᵀ w_t τ_t                                           (`coords: project`)
        d = H̄⁻¹ Σ H̃_t d_t,   T times shorter with `aggregate: mean`
        out = U diag(d) Vᵀ

    Shape: `deltas` is (task, *shape), or gives such tensors one by one; `weights` is (task,); the result is (*shape).
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this. Metrics of all
           tasks are in one unit, whichever that is; with `normalise` each task's has its own.
    Equal: where all H_t are equal, or with one task, the result is that of `tsv_m`, whatever the damping.
    Zero:  where no task's loss bends the result is that of `tsv_m`, too. A task that is zero, or that weighs 0, adds
           nothing, but its metric still holds the others back.
    Rest:  what is not taken apart (embeddings, positional tables, heads, convolutions, biases, norms), and what has no
           statistics (`curvature: None`), gets the mean, T times shorter than the sum that matrices get; `others: sum`
           treats all alike.
    Guard: `safeguard` keeps the flat solution f, that of `tsv_m`, for a tensor where the quadratic model of all tasks'
           losses, F(d) = Σ ⟨d - d_t, H̃_t (d - d_t)⟩ / T, is lower at it than at d. For `aggregate: mean` that cannot
           be: F(f) - F(d) = η ≥ 0. For sums at λ = 1 it is T² η + 2 T (T - 1) ⟨f - d, H̄ d⟩ of the two means, whose
           second term has no sign. A λ of 1 is taken for granted.
    Paper: k of 32 and diagonal empirical Fisher information; what damping and which scale between tasks it has is not
           known. Only H̄ and Σ H̃_t d_t are ever formed, on few atoms; else conjugate gradients apply H̄.
           `normalise`, `targets: newton`, `safeguard` and the metrics without data are ours.

    Args:
        deltas: the task vectors.
        weights: one number a task.
        share: the share of singular values that each task keeps; 0: 1/T.
        rank: how many singular values each task keeps, at most 1/T of them; 0: as `share` says.
        coords: a task's coordinates: its singular values at its own atoms (`label`), or what its task vector has in
            common with every atom (`project`).
        aggregate: whether equal metrics give the sum of the tasks or their mean.
        metric: H_t: as measured (`statistics`), or without data I ⊗ τ_tᵀτ_t, the inputs that the task vector's rows
            span (`deltas`), or diag(τ_t ∘ τ_t) (`squares`).
        normalise: by what each H_t is divided: nothing, its trace over this tensor, or its trace over the whole model
            (over this tensor where it is made from task vectors, which are squared: `none` leaves it so).
        damping: how much of the mean eigenvalue of H̄ is added to every H̃_t.
        targets: the task vectors, or where a Newton step would take them: τ_t - (H_t + damping · mean)⁻¹ g_t, for
            models that training has left on a slope; the statistics must hold the gradients g_t. Measure them by `ggn`
            or `fisher`: near a fit an empirical Fisher is much smaller than the Hessian, and its step much too long.
        safeguard: fall back to the flat solution where the metrics predict that it is better.
        spectral: which tensors are taken apart: linear layers (`matrices`), embeddings and other tables too (`tables`),
            everything with two axes or more (`all`, first axis against the others), or `none`.
        others: how all other tensors are added.
        role: what the tensor is (names tell tables from matrices); by its shape alone when not given.
        curvature: each task's metric (and gradient), measured at its own model on its own task.

    >>> x = np.array([[[4.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 2.0]]])
    >>> bends = [Measured(Diagonal(np.full((2, 2), 1.0)), 4.0), Measured(Diagonal(np.full((2, 2), 3.0)), 12.0)]
    >>> epimer(x, np.ones(2), curvature=bends, normalise="none", damping=0.0).round(9)
    array([[2., 0.],
           [0., 3.]])
    """
    role = role_in(deltas, role)
    if how := added(weights, spectral=spectral, others=others, role=role):
        return blend(deltas, how)
    if curvature is None and measured({"targets": targets, "metric": metric}):
        w = np.asarray(weights, dtype=np.float64)
        return shaped(total(deltas, w / len(w) if others == "mean" else w), deltas)
    if targets == "newton":
        deltas = Corrected(deltas, curvature, damping)
    parts = labelled(deltas, weights, share=share, rank=rank)
    found = (
        from_statistics(curvature, deltas.shape, normalise)
        if metric == "statistics"
        else from_deltas(deltas, weights, parts.atoms, metric, normalise, role)
    )
    own = list(coordinates(parts, deltas, weights, coords))
    d = merged(own, found, parts.atoms, aggregate == "sum", damping, safeguard)
    return shaped(parts.atoms.expand(d), deltas)


def merged(
    targets: Sequence[Array], metrics: Iterator[Metric], atoms: Atoms, summed: bool, damping: float, safeguard: bool
) -> Float[Array, " p"]:
    """Return the coordinates of the merge: the Fréchet mean of the tasks', with equal weights."""
    parts = gathered(targets, metrics, np.ones(len(targets)), basis=atoms, summed=summed)
    mean = mean_of(parts, basis=atoms, damping=damping)
    if safeguard and predicted_gain(parts, mean, atoms, len(targets) if summed else 1) < 0:
        return mean.flat
    return mean.curved


def coordinates(
    parts: Labelled, deltas: Float[Array, " task *shape"], weights: Float[Array, " task"], coords: str
) -> Iterator[Float[Array, " p"]]:
    """Yield each task's coordinates, in float64."""
    xp = namespace(parts.s)
    wide = xp.astype(parts.s, xp.float64)
    if coords == "project":
        yield from (xp.astype(parts.atoms.coordinates(x), xp.float64) for x in matrices(deltas, weights))
        return
    for t in range(deltas.shape[0]):
        own = slice(t * parts.keep, (t + 1) * parts.keep)
        d = xp.zeros_like(wide)
        d[own] = wide[own]
        yield d


def from_statistics(curvature: Any, shape: Sequence[int], normalise: Normalise) -> Iterator[Metric]:
    """Yield each task's measured metric, comparable to the others'; `shape` is that of all task vectors."""
    for t in range(shape[0]):
        one = curvature[t]
        metric = as_matrix(one.metric)
        size = {"none": 1.0, "model": one.total}.get(normalise)
        if size is None:
            size = metric.trace((shape[1], math.prod(shape[2:])))
        yield metric.times(1 / size) if size else metric


def from_deltas(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    atoms: Atoms,
    of: Of,
    normalise: Normalise,
    role: Role,
) -> Iterator[Metric]:
    """Yield a metric that each task vector itself suggests."""
    for x in matrices(deltas, np.ones(len(weights))):
        xp = namespace(x)
        size = 1.0 if normalise == "none" else float(xp.sum(xp.astype(x, xp.float64) ** 2)) or 1.0
        if of == "squares":
            yield Diagonal(x * x).times(1 / size)
            continue
        u, v = (xp.astype(side, xp.float64) for side in (atoms.u, atoms.v))
        wide = xp.astype(x, xp.float64)
        u, v = (wide.T @ u, v) if role == "turned" else (u, wide @ v)
        yield Restricted((u.T @ u) * (v.T @ v) / size)
