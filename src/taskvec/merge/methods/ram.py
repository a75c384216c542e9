"""RAM: average what several tasks changed, and keep whole what one task changed alone."""

from typing import Annotated

from ...ops.arrays import Array
from ...ops.overlap import average_changed
from ...ops.shapes import Float
from ..registry import Interval, Needs, merge_method


@merge_method(
    needs=Needs(space="delta", weighted=False),
    laws=("any_order",),
    paper="Yuan et al. 2026, arXiv:2601.13572, §4 (Reinforced Agent Merging)",
)
def ram(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    epsilon: Annotated[float, Interval(0, 1)] = 0.0,
) -> Float[Array, "*shape"]:
    """Average at each entry the task vectors that changed it, and only those.

        c = #{t : |τ_t| > epsilon}
        out = Σ τ_t [|τ_t| > epsilon] / c            0 where c = 0

    Shape: `deltas` is (task, *shape); the result is (*shape). Weights are not used: every task that changed counts 1.
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  an entry that nobody changed comes out as exactly 0.
    Scale: with the default, nothing is absolute. Where every task changed every entry this is the plain average.
    Paper: reinforcement learning changes few entries, and those of an agent alone are diluted by an average over
           all. The paper and mergekit call an entry changed from 1e-5 on, whatever the size of the changes:
           `epsilon: 1e-5`; here it is changed if it is not the base's. What bfloat16 stores is often exactly the
           base's; for float32 checkpoints, set `epsilon` to what counts as noise in yours.

    Args:
        deltas: the task vectors.
        weights: not used.
        epsilon: the largest change that counts as none, in units of the weights.

    >>> import numpy as np
    >>> ram(np.array([[3.0, 0.0, 2.0], [1.0, 0.0, 0.0]]), np.ones(2))
    array([2., 0., 2.])
    """
    return average_changed(deltas, epsilon)
