"""Part `verdict`: what was predicted before a merge, against what the merge then scored, over many sets of tasks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations
from typing import Any

import numpy as np

from taskvec.diagnose.mergeability import Examined, Mergeability, predictors
from taskvec.evaluate.rank_correlation import spearman, spearman_score
from taskvec.evaluate.score import Score
from taskvec.ops.merge_sums import Which
from taskvec.ops.mergeability import merge_sums

from .alpha import EPIMER
from .bases import Bases
from .changes import Vector
from .measures import Measures, measures, with_count
from .span import measured_excess, span_of
from .study import Piece, Study, key_of

LARGER = 50
"""Sets of more than two tasks, drawn by a seed."""

RANK = 16
SCALES = {"task arithmetic": 0.5, "TSV-M": 1.0}
"""The merges and their λ, the same for every set: nothing is tuned. TSV-M's own, and the middle of the usual grid."""

MERGES: dict[str, Which] = {"task arithmetic": "plain", "TSV-M": "flat"}

SAID = {
    ("excess", "mean"): "excess loss of this merge, mean task",
    ("excess", "max"): "excess loss of this merge, worst task",
    ("share", "mean"): "the same over each task's gain, mean task",
    ("share", "max"): "the same over each task's gain, worst task",
}
IN_SPAN = {
    ("excess", "mean"): "excess loss in the span of the task vectors, mean task",
    ("excess", "max"): "excess loss in the span of the task vectors, worst task",
    ("share", "mean"): "that over each task's gain, mean task",
    ("share", "max"): "that over each task's gain, worst task",
}
"""Of task arithmetic, by whole Gauss-Newton matrices in the span (`span.py`); beside TSV-M's results, too."""

FIGURES = {
    "V_S + R_S": "bound", "V_S, curved mean": "variance_curved", "V_S, flat mean": "variance_flat", "R_S": "residual",
    "V_S over the tasks' own energy": "variance_share", "η": "eta", "η / V_S of the flat mean": "eta_relative",
    "non-uniformity of curvature": "non_uniformity",
}  # fmt: skip
"""What it is called here → in `diagnose.mergeability.predictors`."""

PREDICTORS: dict[str, tuple[str, int]] = {
    **dict.fromkeys(IN_SPAN.values(), ("curvature in the span", -1)),
    **dict.fromkeys((*SAID.values(), *FIGURES), ("diagonal curvature", -1)),
    "mean cosine": ("task vectors", 1),
    "sign conflict": ("task vectors", -1),
    "mean norm": ("task vectors", -1),
    "number of tasks": ("nothing", -1),
}
"""What is predicted by, what it is made of, and the sign by which more of it should mean a worse merge."""


@dataclass(frozen=True)
class Case:
    """A set of tasks: what was predicted, and the normalised accuracies of each merge, (mean, worst), whole and halved.

    predicted: merge → predictor → number. excess: task arithmetic's excess loss, mean of the tasks: by the diagonal, in
    the span, and measured on the same examples.
    measured: merge → (mean, worst). halves: merge → (mean of the even, mean of the odd test examples).
    """

    tasks: tuple[int, ...]
    predicted: dict[str, dict[str, float]]
    measured: dict[str, tuple[float, float]]
    halves: dict[str, tuple[float, float]]
    excess: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Row:
    """A predictor's rank correlation with what was measured, signed so that 1 is a perfect forecast, and its interval.

    found: (merge, "mean" or "worst") → (ρ, low, high).
    """

    name: str
    made_of: str
    found: dict[tuple[str, str], tuple[float, float, float]]


def subsets(tasks: int, larger: int = LARGER, seed: int = 0) -> list[tuple[int, ...]]:
    """Return all pairs, and so many larger sets, drawn without repetition from all that there are.

    >>> subsets(3)
    [(0, 1), (0, 2), (1, 2), (0, 1, 2)]
    """
    pairs = list(combinations(range(tasks), 2))
    rest = [s for size in range(3, tasks + 1) for s in combinations(range(tasks), size)]
    drawn = np.random.default_rng(seed).permutation(len(rest))[:larger]
    return [*pairs, *(rest[i] for i in sorted(drawn.tolist()))]


def pieces(study: Study) -> Iterator[Piece]:
    """Yield a case a set of tasks."""
    bases = Bases(study.changes) if not study.frozen else None
    for tasks in subsets(len(study.names)):
        yield partial(case_of, study, bases, tasks)


def case_of(study: Study, bases: Bases | None, tasks: tuple[int, ...]) -> Case:
    """Predict, then merge and score one set of tasks."""
    way = with_count(study, EPIMER)
    what = f"predicted {key_of(tasks, RANK, SCALES, way.estimator, way.examples)}"
    predicted = study.noted(what, lambda: predict(study, bases, tasks, measures(study, way)))
    in_span = along(study, tasks)
    predicted = {name: {**figures, **in_span} for name, figures in predicted.items()}
    measured, halves = {}, {}
    for name, scale in SCALES.items():
        key = key_of("set", name, tasks, RANK)
        scores = study.scores(key, partial(merge, study, bases, name, tasks), scale, "test", tasks)
        own = [study.specialists["test"][s.task] for s in scores]
        ratios = [s.value / o.value for s, o in zip(scores, own, strict=True)]
        measured[name] = (float(np.mean(ratios)), float(np.min(ratios)))
        halves[name] = (_half(scores, own, 0), _half(scores, own, 1))
    summed = partial(merge, study, bases, "task arithmetic", tasks)
    lost = measured_losses(study, tasks, summed)
    of = "task arithmetic"
    excess = (predicted[of][SAID["excess", "mean"]], in_span[IN_SPAN["excess", "mean"]], lost)
    return Case(tasks, predicted, measured, halves, excess)


def along(study: Study, tasks: tuple[int, ...]) -> dict[str, float]:
    """Return what task arithmetic is expected to lose by each task's whole matrix in the span of the task vectors."""
    weights = np.zeros(len(study.names))
    weights[list(tasks)] = SCALES["task arithmetic"]
    spans = [span_of(study, task) for task in tasks]
    excess = np.array([span.excess(weights) for span in spans])
    gains = np.array([span.excess(np.zeros_like(weights)) for span in spans])
    found = {"excess": excess, "share": excess / np.maximum(gains, 1e-12)}
    return {said: float(getattr(np, of)(found[key])) for (key, of), said in IN_SPAN.items()}


def measured_losses(study: Study, tasks: tuple[int, ...], make: Callable[[], Vector]) -> float:
    """Return the mean excess loss of task arithmetic on training examples."""
    key, made = key_of("set", "task arithmetic", tasks), cache(make)
    scale = SCALES["task arithmetic"]
    return float(np.mean([measured_excess(study, task, key, made, scale) for task in tasks]))


def _half(scores: Sequence[Score], own: Sequence[Score], start: int) -> float:
    """Return the mean ratio on every second example; a specialist counts as right once at least."""
    ratios = []
    for merged, single in zip(scores, own, strict=True):
        theirs, ours = np.asarray(single.values)[start::2], np.asarray(merged.values)[start::2]
        ratios.append(ours.sum() / max(theirs.sum(), 1.0))
    return float(np.mean(ratios))


def merge(study: Study, bases: Bases | None, name: str, tasks: tuple[int, ...]) -> Vector:
    """Return the merged task vector of some tasks."""
    assert bases, "only a study that computes merges"
    if name == "TSV-M":
        return bases.tsv_m(tasks, RANK)
    return {key: rows[list(tasks)].sum(0) for key, rows in study.changes.deltas.items()}


def predict(study: Study, bases: Bases | None, tasks: tuple[int, ...], known: Measures | None) -> dict[str, Any]:
    """Return every predictor, for each merge.

    Curvature is as measured, in the loss's own units: no task's is rescaled. η, V_S and R_S are of means, as in the
    paper; the expected excess loss is that of the very merge that is scored.
    """
    assert bases and known, "only a study that computes predicts"
    verdict = examined(study, bases, tasks, known)
    figures = predictors(None, verdict)
    shared = {name: figures[key] for name, key in FIGURES.items()}
    shared |= {**_plain(study, tasks), "number of tasks": float(len(tasks))}
    out = {}
    for name, which in MERGES.items():
        expected = verdict.total.expected(which, SCALES[name])
        own = {"excess": expected.excess, "share": expected.shares}
        out[name] = {
            SAID[key, of]: float(getattr(np, of)(x)) for key, x in own.items() for of in ("mean", "max")
        } | shared
    return out


def examined(study: Study, bases: Bases, tasks: tuple[int, ...], known: Measures) -> Mergeability:
    """Return what curvature says of some tasks: matrices in the subspace of their atoms, other tensors as they are."""
    found = []
    for tensor, rows in study.changes.deltas.items():
        held = [known.of(tensor, task) for task in tasks]
        if any(m is None for m in held):
            continue
        atoms = bases.labelled(tensor, tasks, RANK) if tensor in bases.matrices else None
        more: dict[str, Any] = {"basis": atoms.basis, "targets": atoms.targets} if atoms else {}
        sums = merge_sums(list(rows[list(tasks)]), [m.metric for m in held if m], **more)
        shape, inside = tuple(rows.shape[1:]), atoms is not None
        found.append(Examined(tensor, "", None, str(study.changes.roles[tensor]), shape, inside, RANK, sums))
    return Mergeability(tuple(study.names[t] for t in tasks), EPIMER.estimator, RANK, tuple(found))


def _plain(study: Study, tasks: tuple[int, ...]) -> dict[str, float]:
    """Return what a person would look at: mean cosine, share of entries whose signs differ, mean norm."""
    gram, opposed, entries = np.zeros((len(tasks), len(tasks))), 0, 0
    for rows in study.changes.deltas.values():
        own = rows[list(tasks)].reshape(len(tasks), -1)
        gram += (own.double() @ own.double().T).numpy()
        opposed += int(((own > 0).any(0) & (own < 0).any(0)).sum())
        entries += own.shape[1]
    norms = np.sqrt(np.diag(gram))
    cosines = gram / np.outer(norms, norms)
    upper = np.triu_indices(len(tasks), 1)
    return {
        "mean cosine": float(cosines[upper].mean()),
        "sign conflict": opposed / entries,
        "mean norm": float(norms.mean()),
    }


def correlations(cases: Sequence[Case]) -> list[Row]:
    """Return every predictor's rank correlations, in the order of the table."""
    out = []
    for name, (made_of, sign) in PREDICTORS.items():
        found = {}
        for merged in SCALES:
            forecast = np.array([sign * case.predicted[merged][name] for case in cases])
            for place, which in enumerate(("mean", "worst")):
                measured = np.array([case.measured[merged][place] for case in cases])
                score = spearman_score(name, forecast, measured)
                found[merged, which] = (score.value, score.low, score.high)
        out.append(Row(name, made_of, found))
    return out


def reliability(cases: Sequence[Case], merged: str) -> float:
    """Return how well half of the test examples rank the sets as the other half does, for the whole of them.

    2ρ / (1 + ρ), ρ of the two halves (Spearman and Brown): its root is about what a perfect forecast could reach.
    """
    one, other = zip(*(case.halves[merged] for case in cases), strict=True)
    between = spearman(np.array(one), np.array(other))
    return 2 * between / (1 + between)
