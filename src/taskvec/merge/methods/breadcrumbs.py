"""Model Breadcrumbs: drop the largest and the smallest entries of each task vector, then add."""

from typing import Any

import numpy as np

from ...ops.arrays import Array
from ...ops.blend import Blend, blend
from ...ops.select import ends_of_band
from ...ops.shapes import Float
from ..registry import Needs, Rests, Shares, each, factors, merge_method
from ..statistics import Magnitudes, Settings
from ..trim import Rescale, Trim


def ranks(settings: Settings, task: int, total: int) -> tuple[int, ...]:
    """Return the ranks of the largest and the smallest magnitude that is kept."""
    return ends_of_band(each(settings["density"], task), each(settings["gamma"], task), total)


KEPT = Trim(Magnitudes(ranks, count=2))


def steps(
    weights: Float[np.ndarray, " task"],
    *,
    normalize: bool,
    rescale: Rescale,
    band: Float[np.ndarray, "task numbers"],
    **settings: Any,
) -> Blend:
    """Return a sum of what lies in each task's band."""
    del settings  # they were needed for the band
    w = factors(weights, normalize)
    return Blend(w * band[:, 2] if rescale == "mergekit" else w, band=(band[:, 1], band[:, 0]))


@merge_method(
    needs=Needs(space="delta", blend=steps, statistics={"band": KEPT}),
    laws=("any_order", "homogeneous"),
    paper="Davari & Belilovsky 2024, arXiv:2312.06795, §3",
)
def breadcrumbs(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    density: Shares = 0.9,
    gamma: Rests = 0.01,
    normalize: bool = False,
    rescale: Rescale = "none",
    band: Float[np.ndarray, "task numbers"] | None = None,
) -> Float[Array, "*shape"]:
    """Add task vectors without their outliers and without their small change.

        kept = entries of rank gamma·n + 1 … gamma·n + density·n by magnitude, in each tensor
        out = Σ w_t τ_t [kept]           with `normalize`, divided by Σ w_t

    Shape: `deltas` is (task, *shape), `weights` is (task,); the result is (*shape).
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Ties:  entries as large as the first or the last one kept are kept too, so that no order matters.
    Edge:  gamma·n is rounded to the nearest count, so tensors under 1/(2 gamma) entries lose no outlier.
           Weights that sum to 0 cannot be normalised and are refused.
    Paper: the shares β (smallest) and γ (largest) are masked in each layer; here β = 1 - density - gamma. Nothing is
           rescaled, as in the paper and in mergekit by default (`rescale: mergekit` is its `rescale: true`), which
           rounds gamma·n down.

    Args:
        deltas: the task vectors.
        weights: one number a task.
        density: share of entries that is kept; one number, or one a task.
        gamma: share of the largest entries that is dropped; one number, or one a task.
        normalize: divide by the sum of the weights.
        rescale: what is kept is left as it is (none), or multiplied by one factor a task and tensor that gives it
            the L1 norm it had (mergekit).
        band: each task's largest and smallest kept magnitude, and with `rescale` that factor; found in `deltas` when
            not given.

    >>> breadcrumbs(np.array([[9.0, 3.0, 2.0, 0.1]]), np.ones(1), density=0.5, gamma=0.25)
    array([0., 3., 2., 0.])
    """
    if band is None:
        band = KEPT.whole(deltas, {"density": density, "gamma": gamma, "rescale": rescale})
    return blend(deltas, steps(weights, normalize=normalize, rescale=rescale, band=band))
