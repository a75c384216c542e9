"""A new task located among known models, from a few examples."""

from collections.abc import Sequence

from ..errors import RecipeError
from ..evaluate.model import Model
from ..finetune.lessons import Lesson
from ..progress import Progress, Silent
from .known import Known
from .place import Place, place, reference_of
from .products import Metric, products_of
from .signals import Kind, Signal, damped, fisher, of_checkpoint, signal_of


def locate_task(
    base: Model,
    known: Known,
    lesson: Lesson | None,
    *,
    signal: Kind = "gradient",
    checkpoint: str | None = None,
    metric: Metric = "euclidean",
    calibrate: Sequence[Lesson] = (),
    progress: Progress | None = None,
) -> Place:
    """Return where a new task lies among known ones.

        s = signal(examples; θ₀),   k_i = ⟨s, τ_i⟩,   K_ij = ⟨τ_i, τ_j⟩
        weights = λ · argmin over c ≥ 0 of |s - Σ c_i τ_i|²,    λ such that the merge is as long as a typical task vector

    Args:
        base: the model that the known ones start from, in float32.
        known: the known models.
        lesson: a few examples of the new task, and its head (`few.lesson_of`); None with a checkpoint.
        signal: see `signals.signal_of`.
        checkpoint: a model fine-tuned on the new task, in place of a signal of examples.
        metric: see `products.products_of`.
        calibrate: examples of known tasks, as many as of the new one: by what these have explained the verdict is
            made. Without any it is `undecided` where chance explains less.
        progress: told how far it is.

    Raises:
        RecipeError: neither examples nor a checkpoint; or the metric `fisher` without examples.
        MismatchError: models, head or examples that do not fit each other.
        NumbersError: a gradient that is no number.
    """
    progress = progress or Silent()
    signals = [_signal(base, known, lesson, signal, checkpoint, progress)]
    signals += [signal_of(base, other, signal, progress) for other in calibrate]
    weights = damped(fisher(base, lesson)) if metric == "fisher" and lesson else None
    products = products_of(known, signals, metric, weights, progress)
    reference = reference_of(products.of_signals(range(1, len(signals)))) if calibrate else None
    kind, facts = signals[0].kind, signals[0].facts
    return place(known, products, 0, metric=metric, kind=kind, reference=reference, facts=facts)


def _signal(
    base: Model, known: Known, lesson: Lesson | None, kind: Kind, checkpoint: str | None, progress: Progress
) -> Signal:
    if checkpoint is not None:
        return of_checkpoint(known.base, checkpoint)
    if lesson is None:
        raise RecipeError("there is nothing to locate by. Give a few examples (--data), or a checkpoint.")
    return signal_of(base, lesson, kind, progress)
