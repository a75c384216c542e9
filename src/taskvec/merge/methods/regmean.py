"""RegMean: the linear layers whose outputs, on each task's own inputs, are nearest to each model's own."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...ops.arrays import Array, namespace
from ...ops.blend import Blend, blend
from ...ops.frechet import frechet
from ...ops.metric import Kronecker
from ...ops.shapes import Float
from ...ops.solving import ZERO
from ..curvature import Measured
from ..matrices import Role, Spectral, matrices, role_in, shaped
from ..means import averaged, plain_mean
from ..registry import Needs, Rest, merge_method, shares
from ..statistics import Settings


def steps(
    weights: Float[np.ndarray, " task"], *, off_diagonal: float, spectral: Spectral, role: Role | None = None
) -> Blend | None:
    """Return a mean for a tensor that is not taken apart."""
    del off_diagonal
    return averaged(weights, spectral=spectral, role=role)


def holds(tasks: int, rows: int, columns: int, settings: Settings) -> int:
    """Return how many float32 numbers are held at once: either side may be that of the inputs."""
    del tasks, settings
    return 16 * rows * columns + 16 * max(rows, columns) ** 2


def lowered(form: Float[Array, "n n"] | None, off_diagonal: float) -> Float[Array, "n n"] | None:
    """Return a Gram matrix in float64, its entries off the diagonal multiplied; None stays.

    >>> lowered(np.array([[4.0, 2.0], [2.0, 1.0]]), 0.5)
    array([[4., 1.],
           [1., 1.]])
    """
    if form is None:
        return None
    xp = namespace(form)
    wide = xp.astype(form, xp.float64)
    eye = xp.eye(wide.shape[0], dtype=wide.dtype, device=wide.device)
    return off_diagonal * wide + (1 - off_diagonal) * (eye * wide)


def grams(curvature: Any, tasks: int, off_diagonal: float) -> Iterator[Kronecker]:
    """Yield each task's metric."""
    for t in range(tasks):
        metric = curvature[t].metric
        yield Kronecker(lowered(metric.outer, off_diagonal), lowered(metric.inner, off_diagonal))


@merge_method(
    needs=Needs(space="either", scope="tensor", role=True, curvature=("gram",), holds=holds, blend=steps),
    laws=("any_order", "idempotent"),
    paper="Jin et al. 2023, arXiv:2212.09849, §3.2 and §3.3",
)
def regmean(
    stack: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    off_diagonal: Rest = 0.9,
    spectral: Spectral = "matrices",
    role: Role | None = None,
    curvature: Sequence[Measured] | Any | None = None,
) -> Float[Array, "*shape"]:
    """Average linear layers so that their outputs change least on the inputs of every task.

        G_t = X_tᵀX_t / n_t, off its diagonal times `off_diagonal`
        out = Σ w_t τ_t G_t (Σ w_t G_t)⁻¹ = argmin Σ w_t |(out - τ_t) X_tᵀ|² / n_t        for `off_diagonal: 1`

    Shape: `stack` is (task, *shape), or gives such tensors one by one; `weights` is (task,); the result is (*shape).
    Units: those of `stack`: weights of models, or task vectors where there is a base (the caller then adds λ (`scale`)
           times this). The layer's inputs stand on its second axis; on the first where it is stored (in, out), as the
           statistics say.
    Zero:  directions of the inputs below the rounding of float32 (with `off_diagonal: 1`; else there are none) get the
           plain mean Σ w_t τ_t / Σ w_t; so do tensors without statistics (`curvature: None`) and those that are no
           linear layer. Weights that sum to 0 are refused.
    Paper: G_t is a sum over examples there and a mean per example here, so that a task with more data pulls no harder.
           `off_diagonal` is their α, 0.9 by default, 0.1 for T5. It is the Fréchet mean (`ops.frechet`) under
           H_t = I ⊗ G_t.

    Args:
        stack: the models' weights, or their task vectors.
        weights: one number a task.
        off_diagonal: by what the entries of G_t off its diagonal are multiplied.
        spectral: which tensors are taken: linear layers (`matrices`), embeddings and other tables too (`tables`),
            everything with two axes or more (`all`, first axis against the others), or `none`.
        role: what the tensor is (names tell tables from matrices); by its shape alone when not given.
        curvature: each task's G_t, as a metric.

    >>> x, inputs = np.array([np.full((2, 2), 1.0), np.full((2, 2), 3.0)]), [np.diag([3.0, 1.0]), np.diag([1.0, 1.0])]
    >>> regmean(x, np.ones(2), curvature=[Measured(Kronecker(None, gram), 1.0) for gram in inputs])
    array([[1.5, 2. ],
           [1.5, 2. ]])
    """
    if how := averaged(weights, spectral=spectral, role=role_in(stack, role)):
        return blend(stack, how)
    if curvature is None:
        return plain_mean(stack, weights)
    tasks = stack.shape[0]
    ones = np.ones(tasks)
    wide = (namespace(x).astype(x, namespace(x).float64) for x in matrices(stack, ones))
    metrics = grams(curvature, tasks, off_diagonal)
    return shaped(frechet(wide, metrics, shares(weights), least=rounding(stack, off_diagonal)).curved, stack)


def rounding(stack: Float[Array, " task *shape"], off_diagonal: float) -> float:
    """Return below which share of the largest an eigenvalue of Σ w_t G_t is rounding, as statistics are in float32.

    With less than all of the off-diagonal it is at least a share of the least diagonal entry, and never rounding.
    """
    if off_diagonal < 1 or str(stack.dtype).endswith("float64"):
        return ZERO
    return float(np.finfo(np.float32).eps) * math.sqrt(max(stack.shape[1:]))
