"""RAM+: as RAM, and what a task changed alone is raised by how much it shares with the others."""

from typing import Annotated, Any, Literal

import numpy as np

from ...ops.arrays import Array
from ...ops.overlap import average_changed, overlaps
from ...ops.shapes import Float, Float64
from ..registry import Interval, Needs, merge_method
from ..statistics import Settings, Sums


def parts(rows: Float[np.ndarray, "task n"], settings: Settings) -> list[Any]:
    """Return the counts of shared and of lone changes."""
    return [overlaps(rows, settings["epsilon"])]


COUNTS = Sums(parts, shape=lambda tasks: (tasks, 2))


def factors(counts: Float64[np.ndarray, "task 2"], r: float, alpha: float) -> list[float]:
    """Return λ = 1 + r min(shared / alone, alpha) of each task; 1 where it changed nothing.

    >>> factors(np.array([[10.0, 100.0], [30.0, 100.0], [1.0, 0.0], [0.0, 0.0]]), 0.5, 0.2)
    [1.05, 1.1, 1.1, 1.0]
    """
    return [1 + r * min(shared / alone if alone else shared, alpha) for shared, alone in counts.tolist()]


@merge_method(
    needs=Needs(space="delta", weighted=False, statistics={"counts": COUNTS}),
    laws=("any_order",),
    paper="Yuan et al. 2026, arXiv:2601.13572, §4 (RAM+)",
)
def ramplus_tl(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    r: Annotated[float, Interval(0, 10)] = 0.1,
    alpha: Annotated[float, Interval(0, 10)] = 0.2,
    epsilon: Annotated[float, Interval(0, 1)] = 0.0,
    scope: Literal["model", "tensor"] = "tensor",
    counts: Float64[np.ndarray, "task 2"] | None = None,
) -> Float[Array, "*shape"]:
    """Average what several task vectors changed, and keep and raise what one changed alone.

        c = #{t : |τ_t| > epsilon}
        ρ_t = #{|τ_t| > epsilon, c ≥ 2} / #{|τ_t| > epsilon, c = 1}      shared and lone changes of task t
        λ_t = 1 + r min(ρ_t, alpha)
        out = Σ τ_t [|τ_t| > epsilon] / c where c ≥ 2,   λ_t τ_t where only t changed,   0 where nobody did

    Shape: `deltas` is (task, *shape); the result is (*shape). Weights are not used: every task that changed counts 1.
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  an entry that nobody changed comes out as exactly 0. r = 0 or alpha = 0 is `ram`.
    Scale: with the default epsilon, nothing is absolute; see `ram`.
    Paper: ρ is counted over the whole model (`scope: model`); mergekit's RAM+ is tensor-local, which is the name's
           `tl` and the default here. Both call an entry changed from 1e-5 on: `epsilon: 1e-5`. The authors' code
           counts over the model, caps ρ at 1 and takes r = 0.05: `scope: model, r: 0.05, alpha: 1, epsilon: 1e-5`.

    Args:
        deltas: the task vectors.
        weights: not used.
        r: how much lone changes are raised.
        alpha: the largest ratio of shared to lone changes that counts.
        epsilon: the largest change that counts as none, in units of the weights.
        scope: over what changes are counted: the whole model, or each tensor.
        counts: each task's numbers of shared and of lone changes; found in `deltas` when not given.

    >>> ramplus_tl(np.array([[3.0, 0.0, 2.0], [1.0, 0.0, 0.0]]), np.ones(2), r=0.5, alpha=1.0)
    array([2., 0., 3.])
    """
    del scope  # the planner's: it decides which tensors are counted together
    if counts is None:
        counts = COUNTS.whole(deltas, {"epsilon": epsilon})
    return average_changed(deltas, epsilon, factors(counts, r, alpha))
