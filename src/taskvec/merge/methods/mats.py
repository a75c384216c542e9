"""MaTS: the model in whose place each task's loss rises least, by conjugate gradients in the space of all weights."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, blend
from ...ops.frechet import frechet, gathered, solve
from ...ops.metric import Diagonal
from ...ops.shapes import Float
from ..curvature import Measured
from ..matrices import Role, Spectral, matrices, role_in, shaped
from ..means import averaged, metrics_of, plain_mean
from ..registry import Interval, Needs, merge_method, shares
from ..statistics import Settings

Start = Literal["mean", "fisher"]


def steps(
    weights: Float[np.ndarray, " task"],
    *,
    iterations: int,
    start: Start,
    spectral: Spectral,
    role: Role | None = None,
) -> Blend | None:
    """Return a mean for a tensor that is not taken apart."""
    del iterations, start
    return averaged(weights, spectral=spectral, role=role)


def holds(tasks: int, rows: int, columns: int, settings: Settings) -> int:
    """Return how many float32 numbers are held at once; factors of all tasks are among them."""
    del settings
    return (20 + tasks) * rows * columns + (tasks + 6) * (rows**2 + columns**2)


def by_diagonals(
    stack: Float[Array, " task *shape"], curvature: Sequence[Measured] | Any, weights: Float[Array, " task"]
) -> Float[Array, "row column"]:
    """Return where the diagonals of the metrics alone lead: the Fisher mean."""
    tasks, like = stack.shape[0], next(matrices(stack, np.ones(1)))
    diagonals = (Diagonal(metric.diagonal(like)) for metric in metrics_of(curvature, tasks))
    return frechet(matrices(stack, np.ones(tasks)), diagonals, weights).curved


@merge_method(
    needs=Needs(
        space="either",
        scope="tensor",
        role=True,
        curvature=("kronecker", "eigen", "diagonal"),
        holds=holds,
        blend=steps,
    ),
    laws=("any_order", "idempotent"),
    paper="Tam et al. 2023, arXiv:2312.04339, §3 and §4 (MaTS)",
)
def mats(
    stack: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    iterations: Annotated[int, Interval(0, 100_000)] = 100,
    start: Start = "mean",
    spectral: Spectral = "matrices",
    role: Role | None = None,
    curvature: Sequence[Measured] | Any | None = None,
) -> Float[Array, "*shape"]:
    """Match the models where each task's loss bends, by conjugate gradients.

        H_t = B_t ⊗ A_t        K-FAC; its eigenvectors with measured eigenvalues; or a diagonal
        out = argmin Σ w_t ⟨out - τ_t, H_t (out - τ_t)⟩:  (Σ w_t H_t) out = Σ w_t H_t τ_t

    Shape: `stack` is (task, *shape), or gives such tensors one by one; `weights` is (task,); the result is (*shape).
    Units: those of `stack`: weights of models, or task vectors where there is a base (the caller then adds λ (`scale`)
           times this). Metrics may be in any unit, the same for all.
    Zero:  directions in which no loss bends stay where conjugate gradients begin; tensors without statistics
           (`curvature: None`), and those that are not taken apart, get the plain mean Σ w_t τ_t / Σ w_t. Weights that
           sum to 0 are refused.
    Edge:  it ends after `iterations`, where the equations hold to 1e-6, or where a negative weight has left a direction
           without curvature. Few iterations are a regularisation: the directions that bend most come first.
    Paper: with K-FAC blocks, as the authors' best; they begin at other merges, too (`start: fisher` is theirs of the
           diagonals), and choose 10 to 100 iterations on validation data. The Fréchet mean (`ops.frechet`) in the
           whole space; diagonals are solved exactly, whatever the iterations.

    Args:
        stack: the models' weights, or their task vectors.
        weights: one number a task.
        iterations: steps of conjugate gradients at most.
        start: where they begin: the plain mean, or what the diagonals of the metrics alone would give (`fisher`).
        spectral: which tensors are taken: linear layers (`matrices`), embeddings and other tables too (`tables`),
            everything with two axes or more (`all`, first axis against the others), or `none`.
        role: what the tensor is (names tell tables from matrices); by its shape alone when not given.
        curvature: each task's metric.

    >>> x, bends = np.array([np.full((2, 2), 1.0), np.full((2, 2), 3.0)]), [np.array([[3.0, 1.0]] * 2), np.ones((2, 2))]
    >>> mats(x, np.ones(2), curvature=[Measured(Diagonal(bend), 1.0) for bend in bends])
    array([[1.5, 2. ],
           [1.5, 2. ]])
    """
    if how := averaged(weights, spectral=spectral, role=role_in(stack, role)):
        return blend(stack, how)
    if curvature is None:
        return plain_mean(stack, weights)
    tasks = stack.shape[0]
    parts = gathered(matrices(stack, np.ones(tasks)), metrics_of(curvature, tasks), shares(weights))
    begin = by_diagonals(stack, curvature, shares(weights)) if start == "fisher" else parts.flat
    found, _ = solve(parts.quadratic, parts.pull, begin, most=iterations + 2)  # one begins, one measures
    return shaped(found, stack)
