"""Estimate the curvature of a loss around a model's weights."""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..evaluate.model import Model
from ..finetune.lessons import Lesson
from ..progress import Progress, Silent
from ..store import Checkpoint, fingerprint
from .assembled import Assembled
from .estimating import Estimate, Estimating
from .sums import Sums
from .sweeps import sweeps_of
from .work import Work, digest_of_head

if TYPE_CHECKING:
    pass


def estimate(model: Model, lesson: Lesson, how: Estimating | None = None, progress: Progress | None = None) -> Estimate:
    """Return the curvature of a lesson's loss around the weights in hand, in memory; these stay as they are.

    With ℓ_x(θ) = cross-entropy(head(f(x; θ)), y) and means over the examples x:

        empirical_fisher   mean (∇ℓ_x)²                              diagonal; y: the example's own label
        batch_fisher       mean over batches (∇ mean ℓ_x)²           diagonal; cheap, and about a batch's size smaller
        fisher             mean (∇ℓ_x)²                              diagonal; y drawn from the model, `draws` times
        ggn                mean diag(J_xᵀ (diag(p) − p pᵀ) J_x)      diagonal; J_x: logits by θ, p: their softmax; exact
        kfac               mean a aᵀ, mean Σ g gᵀ                    of linear layers: H ≈ B ⊗ A, see `sweeps.Factors`
        ekfac              Q_A, Q_B, mean (Q_Bᵀ ∇ℓ_x Q_A)²           their eigenvectors, eigenvalues measured anew
        gram               mean a aᵀ                                 of what goes into linear layers: RegMean

    fisher's expectation is ggn's. Everything but linear layers' weights is diagonal with kfac and ekfac, and left out
    by gram. Nothing is multiplied by the number of examples. Padding does not count.

    Edge: weights that no gradient reaches (a pooler that is not read) have no statistics; `facts["unseen"]` names them.
    Source: Kunstner et al. 2019, arXiv:1905.12558 (empirical and true Fisher, GGN); Martens and Grosse 2015,
    arXiv:1503.05671, Eschenhagen et al. 2023, arXiv:2311.00636 (K-FAC, here expand); George et al. 2018,
    arXiv:1806.03884 (EK-FAC); Jin et al. 2023, arXiv:2212.09849 (Gram matrices, here divided by the positions).

    Raises:
        RecipeError: the lesson has no labels.
        MismatchError: the model does not fit the head or the examples.
        NumbersError: NaN or Inf.
    """
    began = time.perf_counter()
    work = Work(model, lesson, how or Estimating())
    sums = new_sums(work)
    add_up(work, sums, progress or Silent())
    found = Assembled(work, sums)
    tensors = {file: found.parts(file) for file in found.names}
    return Estimate(work.how.kind, tensors, {**told(work), **found.facts(), "seconds": time.perf_counter() - began})


def new_sums(work: Work) -> Sums:
    """Return sums of nothing."""
    import torch

    double = next(work.module.parameters()).dtype == torch.float64
    return Sums(work.device, torch.float64 if double else torch.float32)


def add_up(work: Work, sums: Sums, progress: Progress, keep: Callable[[], None] | None = None) -> None:
    """Go over the examples as often as the estimator asks for, from where `sums` stand.

    keep: called after each batch.
    """
    sweeps, batches = sweeps_of(work), work.batches
    finished, done = sums.done
    for number, make in enumerate(sweeps[finished:], start=finished):
        what = f"{work.how.estimator} of {work.lesson.name}"
        progress.begin(f"{what} ({number + 1}/{len(sweeps)})" if len(sweeps) > 1 else what, len(work), "examples")
        sweep = make(work, sums)
        try:
            with sweep.open():
                for at, places in enumerate(batches[done:], start=done + 1):
                    sweep.visit(work.batch(places))
                    sums.done = (number, at)
                    progress.advance(sum(map(len, batches[:at])))
                    if keep:
                        keep()
        finally:
            progress.end()
        sums.done, done = (number + 1, 0), 0


def told(work: Work) -> dict[str, Any]:
    """Return where an estimate comes from, in plain data."""
    with Checkpoint(work.model.path) as checkpoint:
        model = {"path": str(work.model.name), "fingerprint": fingerprint(checkpoint)}
    model |= {"precision": work.model.precision, "inputs": work.model.inputs_digest}
    examples = work.lesson.examples
    return {
        "estimator": work.how.estimator,
        "kind": work.how.kind,
        "model": model,
        "data": {"origin": examples.origin, "digest": examples.digest, "examples": len(examples)},
        "head": digest_of_head(work.lesson.head),
        "settings": settings_of(work),
    }


def settings_of(work: Work) -> dict[str, Any]:
    """Return what decides an estimate beside model, data and head; without what this estimator does not read."""
    said = {name: value for name, value in asdict(work.how).items() if name not in ("estimator", "examples")}
    unread = {
        "draws": not work.how.drawn,
        "labels": work.how.kind not in ("kronecker", "eigen"),
        "batch": work.how.estimator != "batch_fisher",
    }
    reading = {"pooling": work.pooling, "tokens": work.lesson.reading.tokens}
    return {**{name: value for name, value in said.items() if not unread.get(name)}, **reading}
