"""Arcee Fusion: take from a fine-tuned model the entries whose change stands out, leave the rest as in the base."""

from typing import Any

import numpy as np

from ...ops.arrays import Array, namespace
from ...ops.divergence import row_divergence
from ...ops.select import kth_largest
from ...ops.shapes import Float, Float64
from ...ops.slices import Slice
from ..registry import Needs, merge_method
from ..statistics import MagnitudeSearch, Question, Rows, Settings, Stages, Statistic

QUARTILES = (0.25, 0.5, 0.75)

HINTS = 1 << 16
"""Scores of a tensor, spread evenly, that tell a search for its quartiles where to look."""

Divergence = Float64[np.ndarray, " row"]


def ranks(total: int) -> list[int]:
    """Return the ranks, from the largest, of the quartiles: entry q (n - 1), rounded down, from the smallest."""
    return [total - int(q * (total - 1)) if total else 1 for q in QUARTILES]


def divergence_of(models: Rows, columns: int) -> Divergence:
    """Return how far the softmax of each row moves, for flat models whose rows have so many columns."""
    return row_divergence(*models.reshape(2, -1, columns))


def scores(models: Rows, divergence: Divergence, columns: int) -> Rows:
    """Return the importance of each entry of flat models, as one row."""
    base, tuned = models.reshape(2, -1, columns)
    change = tuned - base
    np.abs(change, out=change)
    change *= divergence.astype(models.dtype)[:, None]
    return change.reshape(1, -1)


class Divergences:
    """The divergence of each row, and some scores; known after one pass."""

    def __init__(self, total: int) -> None:
        """Begin with no row of a tensor of so many entries."""
        self.settled = False
        self.every = max(1, total // HINTS) | 1  # odd, so that it does not keep to a few columns
        self.seen: dict[int, tuple[Divergence, Rows]] = {}

    def look(self, part: Slice) -> tuple[bool, tuple[Divergence, Rows]]:
        """See `Search`."""
        finite, models, _ = part.gather()
        columns = columns_of(part)
        divergence = divergence_of(models, columns)
        some = np.arange(0, models.shape[1], self.every)
        change = models[1, some] - models[0, some]
        return finite, (divergence, np.abs(change) * divergence[some // columns].astype(models.dtype))

    def add(self, at: int, seen: tuple[Divergence, Rows]) -> None:
        """See `Search`."""
        self.seen[at] = seen

    def end_pass(self) -> None:
        """See `Search`."""
        self.settled = True

    @property
    def value(self) -> Divergence:
        """One number a row."""
        return np.concatenate([self.seen[at][0] for at in sorted(self.seen)])

    @property
    def hint(self) -> Rows:
        """The scores."""
        return np.concatenate([few for _, few in self.seen.values()])


class Importance(Statistic):
    """The quartiles of the scores, then the divergence of each row."""

    count = 3

    def passes(self, settings: Settings) -> int:
        """See `Statistic`."""
        del settings
        return 2

    def holds(self, tasks: int, total: int, columns: int, settings: Settings) -> int:
        """See `Statistic`: the divergences as they come, together, and beside the quartiles."""
        del tasks, settings
        return 3 * 8 * (total // columns if columns else 1)

    def example(self, tasks: int) -> Float64[np.ndarray, " number"]:
        """See `Statistic`."""
        del tasks
        return np.ones(4)

    def search(self, asked: Question) -> Stages:
        """See `Statistic`: first the rows, whose softmaxes cost most, then the quartiles of what comes of them."""
        first = Divergences(asked.total)

        def begin(found: list[Rows]) -> Any:
            if not found:
                return first

            def derive(models: Rows, part: Slice) -> Rows:
                columns = columns_of(part)
                return scores(models, rows_of(found[0], part.start, part.count, columns), columns)

            return MagnitudeSearch([[asked.kth(k, first.hint) for k in ranks(asked.total)]], derive=derive)

        return Stages(2, begin, lambda found: np.append(found[1], found[0]))

    def whole(self, stack: Array, settings: Settings) -> Float64[np.ndarray, " number"]:
        """Return the same of whole tensors in memory."""
        del settings
        models, columns = flat(stack)
        divergence = divergence_of(models, columns)
        score = scores(models, divergence, columns)
        quartiles = [kth_largest(score, k)[0] for k in ranks(score.size)]
        return np.append(np.array(quartiles, np.float64), divergence)


IMPORTANCE = Importance()


def columns_of(part: Slice) -> int:
    """Return the entries a row of a slice of whole rows."""
    return part.columns or max(1, part.count)


def rows_of(divergence: Divergence, start: int, count: int, columns: int) -> Float64[np.ndarray, " some"]:
    """Return the divergences of the rows of a slice."""
    return divergence[start // columns : (start + count) // columns]


def flat(stack: Array) -> tuple[Rows, int]:
    """Return tensors in memory as contiguous rows, one a task, and their columns: what shares a first index."""
    rows = np.ascontiguousarray(np.asarray(stack).reshape(stack.shape[0], -1))
    columns = rows.shape[1] // max(1, stack.shape[1]) if stack.ndim > 2 else rows.shape[1]
    return rows, max(1, columns)


@merge_method(
    needs=Needs(
        space="weight",
        scope="row",
        tasks=range(2, 3),
        weighted=False,
        place=True,
        statistics={"importance": IMPORTANCE},
    ),
    laws=("idempotent",),
    paper="Arcee AI 2025, mergekit's `arcee_fusion` (Algorithm: score, threshold, select); no paper was published",
)
def arcee_fusion(
    models: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    importance: Float64[np.ndarray, " number"] | None = None,
    place: tuple[int, int] | None = None,
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
        importance: the quartiles of I over the whole tensor, then the KL of each of its rows; found in `models` when
            not given.
        place: the offset of the first entry and the entries a row, when `models` are some rows of tensors.

    >>> arcee_fusion(np.array([[0.0, 0.0, 0.0, 0.0], [0.1, 0.2, 0.1, 3.0]]), np.ones(2))
    array([0., 0., 0., 3.])
    """
    del weights
    xp = namespace(models)
    importance = IMPORTANCE.whole(models, {}) if importance is None else importance
    q1, median, q3 = importance[:3]
    rows, columns = flat(models)
    divergence = rows_of(importance[3:], place[0] if place else 0, rows.shape[1], columns)
    score = xp.reshape(xp.asarray(scores(rows, divergence, columns)), models.shape[1:])
    threshold = xp.asarray(float(median + 1.5 * (q3 - q1)), dtype=models.dtype)
    return xp.where(score >= threshold, models[1], models[0])
