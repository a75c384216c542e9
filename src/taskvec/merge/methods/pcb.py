"""PCB-Merging: entries compete within and between tasks; the best are merged, weighed by how well they did."""

from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from ...ops.arrays import Array, namespace
from ...ops.competition import combine_shares, standing
from ...ops.select import count_of, kth_largest
from ...ops.shapes import Float, Float64
from ..registry import Interval, Needs, Share, merge_method
from ..statistics import Magnitudes, MagnitudeSearch, Question, Settings, Stages, Statistic, flat


def ends(settings: Settings, task: int, total: int) -> tuple[int, ...]:
    """Return the ranks of the magnitudes that the smallest and the largest are raised and lowered to."""
    del task
    clipped = min(count_of(settings["clip"], total), max(0, total - 1) // 2)
    return total - clipped, clipped + 1


ENDS = Magnitudes(ends, count=2)


def places(settings: Settings, total: int) -> tuple[int, int]:
    """Return the ranks of the best score and of the best that is not kept."""
    return 1, max(1, count_of(settings["ratio"], total)) + 1


class Contest(Statistic):
    """Each task's clipping ends, best score, and best score that is not kept (as square roots)."""

    count = 2

    def passes(self, settings: Settings) -> int:
        """See `Statistic`."""
        del settings
        return 2

    def example(self, tasks: int) -> Float64[np.ndarray, "task 4"]:
        """See `Statistic`."""
        return np.tile([0.0, 1.0, 1.0, 0.5], (tasks, 1))

    def search(self, asked: Question) -> Stages:
        """See `Statistic`: the ends, then the scores that depend on them."""

        def begin(found: list[npt.NDArray[np.floating]]) -> Any:
            if not found:
                return ENDS.search(asked)
            low, high = found[0].T
            ranks = places(asked.settings, asked.total)
            searches = [[asked.kth(k, row) for k in ranks] for row in standing(asked.sample(), low, high)]
            return MagnitudeSearch(searches, derive=lambda rows, _: standing(rows, low, high))

        return Stages(self.passes(asked.settings), begin, lambda found: np.concatenate(found, axis=1))

    def whole(self, stack: Array, settings: Settings) -> Float64[np.ndarray, "task 4"]:
        """Return the same of whole tensors in memory."""
        rows = flat(stack)
        clip = ENDS.whole(rows, settings).astype(np.float64)
        scores = standing(rows, *clip.T)
        best = [kth_largest(scores, k) for k in places(settings, rows.shape[1])]
        return np.concatenate([clip, np.stack(best, axis=1)], axis=1).astype(np.float64)


CONTEST = Contest()


@merge_method(
    needs=Needs(space="delta", statistics={"contest": CONTEST}),
    laws=("any_order", "homogeneous"),
    paper="Du et al. 2024, arXiv:2410.02396, §3.2 (PCB-Merging), in the form of the authors' code",
)
def pcb(
    deltas: Float[Array, " task *shape"],
    weights: Float[Array, " task"],
    *,
    ratio: Share = 0.1,
    clip: Annotated[float, Interval(0, 1)] = 0.0001,
    scope: Literal["model", "tensor"] = "model",
    contest: Float64[np.ndarray, "task 4"] | None = None,
) -> Float[Array, "*shape"]:
    """Merge the entries that are large in their task and agree with the others, weighed by how much they do.

        a_t = |τ_t|, the share `clip` of the smallest and of the largest moved to the next
        s_t = (a_t - min a_t) / (max a_t - min a_t)
        score_t = e^(T s_t²) τ_t Σ τ_i                                 within the task, between tasks
        β_t = (score_t - q_t) / (max score_t - q_t), at least 0        q_t: the best score outside the share `ratio`
        out = Σ w_t β_t sign(τ_t) a_t / Σ β_t

    Shape: `deltas` is (task, *shape), `weights` is (task,); the result is (*shape).
    Units: those of `deltas` (fine-tuned minus base). Not scaled: the caller adds λ (`scale`) times this.
    Zero:  an entry that no task keeps comes out as exactly 0. Scores below 0 (against the sum) count as 0 and are never
           kept, however large the ratio.
    Scale: nothing is absolute: vectors a million times smaller have the same β.
    Reads: twice before the merge: the clipping ends, then the scores that depend on them.
    Paper: the paper writes softmax(T Norm(τ²)) Σ softmax(Norm(τ τ_i)) and does not say what Norm is; the authors' code
           has the above, with tanh(τ_t Σ τ_i). That is the product itself, to the precision of float32, for entries
           below 0.01; without it the method has no scale. As in their code, minima, maxima and shares are those of
           the whole model; their weights are searched for between 0.8 and 1.3 on validation data.

    Args:
        deltas: the task vectors.
        weights: one number a task.
        ratio: share of each task's entries that is kept.
        clip: share of each task's entries, at either end, whose magnitude is moved to the next.
        scope: over what entries compete: the whole model, or each tensor.
        contest: each task's clipping ends, and the roots of its best score and best that is not kept; found in
            `deltas` when not given.

    >>> pcb(np.array([[3.0, 1.0, 0.0, -2.0], [1.0, -1.0, 0.0, -3.0]]), np.ones(2), ratio=0.25)
    array([ 3.,  0.,  0., -3.])
    """
    del scope  # the planner's: it decides which tensors compete
    if contest is None:
        contest = CONTEST.whole(deltas, {"ratio": ratio, "clip": clip})
    rows, xp = flat(deltas), namespace(deltas)
    clip_at, ends_at = contest[:, :2], contest[:, [3, 2]]
    merged = combine_shares(rows, standing(rows, *clip_at.T), np.asarray(weights), clip_at, ends_at)
    return xp.reshape(xp.asarray(merged), deltas.shape[1:])
