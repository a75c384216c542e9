"""Arcee Fusion: take from a fine-tuned model the entries whose change stands out, leave the rest as in the base."""

import numpy as np

from ...ops.arrays import Array, namespace
from ...ops.divergence import row_divergence
from ...ops.select import MAX_BINS, KthLargest, kth_largest
from ...ops.shapes import Float, Float64
from ..registry import Needs, merge_method
from ..statistics import MagnitudeSearch, Rows, Sample, Settings, Statistic

QUARTILES = (0.25, 0.5, 0.75)

RUN = 32
"""Neighbours in a sample that stand for a row."""


def ranks(total: int) -> list[int]:
    """Return the ranks, from the largest, of the quartiles: entry q (n - 1), rounded down, from the smallest."""
    return [total - int(q * (total - 1)) if total else 1 for q in QUARTILES]


def scores(models: Rows, columns: int) -> Rows:
    """Return the importance of each entry of flat models whose rows have so many columns (0: one row)."""
    base, tuned = models.reshape(2, -1, columns or max(1, models.shape[1]))
    divergence = row_divergence(base, tuned).astype(models.dtype)
    return (np.abs(tuned - base) * divergence[:, None]).reshape(1, -1)


class Quartiles(Statistic):
    """The quartiles of the scores."""

    count = 3

    def example(self, tasks: int) -> Float64[np.ndarray, "1 3"]:
        """See `Statistic`."""
        del tasks
        return np.ones((1, 3))

    def search(
        self,
        tasks: int,
        total: int,
        dtype: np.dtype,
        settings: Settings,
        sample: Sample,
        max_bins: int = MAX_BINS,
        columns: int = 0,
    ) -> MagnitudeSearch:
        """See `Statistic`. The sample holds no whole rows; runs of neighbours move about as their rows do."""
        del tasks, settings, columns
        models = sample()
        hint = models[:, : max(0, min(models.shape[1], total - 1)) // RUN * RUN]
        near = scores(np.ascontiguousarray(hint), RUN)[0, :: RUN // 2]  # few, so that much is allowed for
        return MagnitudeSearch([[KthLargest(k, total, dtype, near, max_bins) for k in ranks(total)]], derive=scores)

    def whole(self, stack: Array, settings: Settings) -> Float64[np.ndarray, "1 3"]:
        """Return the same of whole tensors in memory."""
        del settings
        score = scores(*flat(stack))
        return np.array([[kth_largest(score, k)[0] for k in ranks(score.size)]], np.float64)


QUARTILE = Quartiles()


def flat(stack: Array) -> tuple[Rows, int]:
    """Return tensors in memory as contiguous rows, one a task, and their columns: what shares a first index."""
    rows = np.ascontiguousarray(np.asarray(stack).reshape(stack.shape[0], -1))
    return rows, rows.shape[1] // max(1, stack.shape[1]) if stack.ndim > 2 else rows.shape[1]


@merge_method(
    needs=Needs(space="weight", scope="row", tasks=range(2, 3), weighted=False, statistics={"quartiles": QUARTILE}),
    laws=("idempotent",),
    paper="Arcee AI 2025, mergekit's `arcee_fusion` (Algorithm: score, threshold, select); no paper was published",
)
def arcee_fusion(
    models: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    quartiles: Float64[np.ndarray, "1 3"] | None = None,
) -> Float[Array, "*shape"]:
    """Take the entries of the second model whose change from the first is important, and the first model's others.

        KL = Σ p ln(p / q) along each row, p = softmax(θ_1), q = softmax(θ_0)
        I = |θ_1 - θ_0| KL                                                       importance
        threshold = median(I) + 1.5 (Q3(I) - Q1(I))                              in each tensor
        out = θ_1 where I ≥ threshold, else θ_0

    Shape: `models` is (2, *shape), the base first; the result is (*shape). Weights are not used. A row is what shares
           a first index; a tensor of one axis is one row.
    Units: those of the weights.
    Zero:  where more than three quarters of a tensor's scores are 0, so is the threshold, and the second model is
           taken whole.
    Note:  all entries of a row share its KL, which is half the variance of their change where changes are small: rows
           that moved unevenly are taken first. It is computed without cancellation, to 13 digits at any size of the
           changes; mergekit's sum, in float32, is mostly rounding error for fine-tunes of ordinary size. Quartiles are
           exact, where mergekit draws a million entries of larger tensors.
    Paper: there is none; the formulas are those of mergekit, without the 1e-8 that it adds to each probability. Its
           rows run along the last axis; that is the same for matrices.

    Args:
        models: the base and the fine-tuned model.
        weights: not used.
        quartiles: those of the importance over the whole tensor; found in `models` when not given.

    >>> arcee_fusion(np.array([[0.0, 0.0, 0.0, 0.0], [0.1, 0.2, 0.1, 3.0]]), np.ones(2))
    array([0., 0., 0., 3.])
    """
    del weights
    xp = namespace(models)
    q1, median, q3 = (QUARTILE.whole(models, {}) if quartiles is None else quartiles)[0]
    score = xp.reshape(xp.asarray(scores(*flat(models))), models.shape[1:])
    threshold = xp.asarray(float(median + 1.5 * (q3 - q1)), dtype=models.dtype)
    return xp.where(score >= threshold, models[1], models[0])
