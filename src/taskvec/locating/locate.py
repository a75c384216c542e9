"""A new task located among known models, from a few examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import RecipeError
from ..evaluate.data import Examples, Source
from ..evaluate.features import Reading
from ..evaluate.model import Model
from ..finetune.lessons import Lesson
from ..progress import Progress, Silent
from ..store.catalog import Catalog
from .few import check_few, few_of, lesson_of
from .in_hand import vector_of
from .known import TOP, Known, known_in, known_models, names_in
from .place import Place, place
from .products import Metric, products_of
from .signals import Kind, Signal, damped, fisher, of_checkpoint, signal_of


@dataclass(frozen=True, kw_only=True)
class By:
    """What a task is located by.

    signal: see `signals.signal_of`. metric: see `products.products_of`. checkpoint: a model fine-tuned on the new task,
    in place of a signal of examples. top: of a catalogue's vectors so many are fitted, the nearest; those of tasks that
    calibrate are among them. unrelated: models that do not look like fine-tunes of the base are known models, too.
    layers: the merge has weights of its own in each layer.
    """

    signal: Kind = "gradient"
    metric: Metric = "euclidean"
    checkpoint: str | None = None
    top: int = TOP
    unrelated: bool = False
    layers: bool = False


def locate(
    base: str | Path,
    known: Sequence[str] | Catalog,
    examples: Examples | str | Path,
    *,
    head: str = "labels",
    reading: Reading | None = None,
    by: By | None = None,
    calibrate: Sequence[Lesson] = (),
    device: str = "auto",
    progress: Progress | None = None,
) -> Place:
    """Return where a new task lies among known models, and which merge of them serves it.

    Args:
        base: the model that the known ones start from.
        known: their folders, stored task vectors or adapters; or a catalogue.
        examples: a few of the new task, with labels; or the file that holds them (its split 'train').
        head: `labels`, `class_means`, `ridge`, or a head's file; made with the base.
        reading: how inputs become vectors.
        by: signal and metric.
        calibrate: as many examples of known tasks, called as their models; the verdict is `undecided` without.
        device: where the base is run.
        progress: told how far it is.

    Raises:
        RecipeError: examples without labels or of one class, or no known model.
        MismatchError: models of another base or form.
        StoreError: something that cannot be read.
    """
    by, progress = by or By(), progress or Silent()
    found = examples if isinstance(examples, Examples) else few_of(Source(path=str(examples)))
    check_few(found)
    among = known if isinstance(known, Catalog) else known_models(str(base), known, by.unrelated)
    if isinstance(among, Catalog):
        names_in(among, str(base))
    model = Model(base, device=device)
    return locate_task(model, among, lesson_of(model, "new", found, head, reading), by, calibrate, progress)


def locate_task(
    base: Model,
    among: Known | Catalog,
    lesson: Lesson | None,
    by: By | None = None,
    calibrate: Sequence[Lesson] = (),
    progress: Progress | None = None,
) -> Place:
    """Return where a task lies; as `locate`, with everything in hand.

        s = signal(examples; θ₀),   k_i = ⟨s, τ_i⟩,   K_ij = ⟨τ_i, τ_j⟩
        weights = λ · argmin over c ≥ 0 of |s - Σ c_i τ_i|²,   λ: the merge is as long as its parts are on average
        weights = argmin over c ≥ 0 of |τ - Σ c_i τ_i|²   of a checkpoint: a task vector τ has a length of its own

    Args:
        base: in float32; its weights are afterwards what they were.
        among: the known models.
        lesson: a few examples and their head; None with a checkpoint.
        by: signal and metric.
        calibrate: examples of known tasks, and their heads.
        progress: told how far it is.

    Raises:
        RecipeError: neither examples nor a checkpoint; the metric `fisher`, or calibration, of a checkpoint; or
            calibration by a task that is not known.
        MismatchError: models, head or examples that do not fit each other.
        NumbersError: a gradient that is no number.
    """
    by, progress = by or By(), progress or Silent()
    _check(lesson, by, calibrate)
    first = of_checkpoint(str(base.path), by.checkpoint) if by.checkpoint else _signal(base, lesson, by, progress)
    signals = [first, *(signal_of(base, other, by.signal, progress) for other in calibrate)]
    known = among if isinstance(among, Known) else _of_catalog(among, base, first, by, calibrate)
    weights = damped(fisher(base, lesson)) if by.metric == "fisher" and lesson else None
    _check_calibrated(known, calibrate)
    products = products_of(known, signals, by.metric, weights, progress)
    probes = products.of_signals(range(1, len(signals))) if calibrate else None
    return place(
        known, products, 0, metric=by.metric, kind=first.kind, probes=probes, facts=first.facts, by_layer=by.layers
    )


def _of_catalog(among: Catalog, base: Model, signal: Signal, by: By, calibrate: Sequence[Lesson]) -> Known:
    """Return the vectors that are fitted: the nearest, and those of the tasks that the verdict is measured by."""
    own = [lesson.name for lesson in calibrate]
    return known_in(among, str(base.path), vector_of(signal, base.path), by.top, own)


def _check_calibrated(known: Known, calibrate: Sequence[Lesson]) -> None:
    if strange := [lesson.name for lesson in calibrate if lesson.name not in known.names]:
        raise RecipeError(
            f"'{strange[0]}' calibrates the verdict and is none of the known models, which are "
            f"{', '.join(known.names[:8])}. Name tasks as their models."
        )


def _signal(base: Model, lesson: Lesson | None, by: By, progress: Progress) -> Signal:
    assert lesson, "checked before"
    return signal_of(base, lesson, by.signal, progress)


def _check(lesson: Lesson | None, by: By, calibrate: Sequence[Lesson]) -> None:
    if lesson is None and by.checkpoint is None:
        raise RecipeError("there is nothing to locate by. Give a few examples (--data), or --checkpoint MODEL.")
    if by.checkpoint and lesson is None and by.metric == "fisher":
        raise RecipeError("the metric 'fisher' is measured on examples, and there are none. Give --data.")
    if by.checkpoint and calibrate:
        raise RecipeError("a checkpoint is a whole task vector and needs no calibration. Leave --calibrate out.")
    if by.top < 1:
        raise RecipeError(f"'top' must be at least 1, got {by.top}.")
