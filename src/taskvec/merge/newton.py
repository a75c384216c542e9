"""Task vectors that end where a Newton step would, for models that training has left on a slope."""

from collections.abc import Sequence
from typing import Any

from ..errors import RecipeError
from ..ops.arrays import Array, namespace
from ..ops.frechet import mean_eigenvalue, solve
from ..ops.metric import Flat, plus
from ..ops.shapes import Float
from .curvature import Measured


class Corrected:
    """Task vectors, one at a time: τ_t - (H_t + damping · tr(H_t)/n)⁻¹ g_t.

    To second order θ_t - H_t⁻¹ g_t is the minimum that task t's loss has near θ_t; a Fréchet mean assumes that its
    targets are minima (EpiMer, Assumption 2). Where H_t is zero and nothing damps it, no step is taken.

    Raises (when a task is asked for):
        RecipeError: statistics without gradients.
    """

    def __init__(
        self, deltas: Float[Array, " task *shape"], curvature: Sequence[Measured] | Any, damping: float
    ) -> None:
        """Take what gives task vectors and curvature one by one."""
        self.deltas, self.curvature, self.damping = deltas, curvature, damping
        self.shape, self.dtype = deltas.shape, deltas.dtype

    def __getitem__(self, task: int) -> Array:
        x, one = self.deltas[task], self.curvature[task]
        if one.gradient is None:
            raise RecipeError("'targets: newton' needs gradients. Measure statistics with --gradient, or type 'plain'.")
        xp = namespace(x)
        form = plus(one.metric, Flat(self.damping * mean_eigenvalue(one.metric, x)))
        step, _ = solve(form, one.gradient, xp.zeros_like(one.gradient))
        return x - xp.astype(step, x.dtype)
