"""Where fine-tuning would go, from a few examples: directions in the space of weights."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from ..curvature import Estimating, estimate
from ..errors import NumbersError
from ..evaluate.features import encode, pooling_of
from ..evaluate.model import Model
from ..finetune.finetune import plain_attention, train_in_place
from ..finetune.lessons import Lesson, batches, make_ready
from ..finetune.training import Training
from ..progress import Progress, Silent
from ..store import Checkpoint, diff

if TYPE_CHECKING:
    import torch

Kind = Literal["gradient", "sign", "preconditioned", "natural", "steps"]

BATCH = 32
"""Examples a backward pass, at most; the result is the same."""

SINGLE = 64
"""The Fisher information is measured on so many examples at most, the lesson's first."""

DAMPING = 1e-2
"""What is added to a root of the Fisher information: a share of its root mean square. To itself, the square."""

STEPS = Training(epochs=1, batch=32, rate=5e-5, decay=0.0, schedule="constant", warmup=0.0, dropout=False)
"""How the signal `steps` is trained; its epochs are chosen for so many steps:"""
FEW_STEPS = 5


@dataclass(frozen=True)
class Signal:
    """A direction in which the weights would go.

    kind: how it was found. tensors: by the names of the base's files. facts: loss, seconds, … in plain data.
    """

    kind: str
    tensors: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)


def signal_of(model: Model, lesson: Lesson, kind: Kind = "gradient", progress: Progress | None = None) -> Signal:
    """Return where fine-tuning would go from the weights in hand; these are afterwards what they were.

        gradient        −g,  g = ∇_θ mean over the examples of cross-entropy(head(f(x; θ)), y)
        sign            −sign(g):  Adam's first step
        preconditioned  −g / (√F + δ),  F = mean over the examples x of (∇ℓ_x)²:  the diagonal empirical Fisher
        natural         −g / (F + δ²):  what minimises the quadratic model of that Fisher; goes with its metric
        steps           θ after at least five steps of AdamW, whole rounds over the examples, minus θ

    On Task Vectors and Gradients shows that the task vector of one epoch of full gradient descent is −η g, and that of
    more epochs close to a multiple of it.

    Edge: δ is a hundredth of F's root mean square; parameters that the head does not see are left out.
    Source: Zhou et al. 2025, arXiv:2508.16082, §3 (gradient).

    Raises:
        MismatchError: the model does not fit the head or the examples.
        NumbersError: the gradient is no number.
    """
    began = time.perf_counter()
    tensors, facts = MAKERS[kind](model, lesson, progress or Silent())
    return Signal(kind, _by_files(model, tensors), {**facts, "seconds": time.perf_counter() - began})


def of_checkpoint(base: str, path: str) -> Signal:
    """Return the signal that a ready checkpoint is: a model fine-tuned on the new task, minus the base.

    Raises:
        StoreError: one that cannot be read.
        MismatchError: a model of another form than the base.
    """
    return Signal("checkpoint", diff(base, path), {"checkpoint": path})


def fisher(model: Model, lesson: Lesson, most: int = SINGLE) -> dict[str, "torch.Tensor"]:
    """Return the diagonal empirical Fisher information of the weights in hand, by the names of the base's files.

    F = mean over examples x of (∇_θ cross-entropy(head(f(x; θ)), y))²;   of the first `most` examples

    Edge: parameters that the head does not see are left out.
    """
    return _by_files(model, _squares(model, lesson, most))


def _by_files(model: Model, tensors: Mapping[str, "torch.Tensor"]) -> dict[str, "torch.Tensor"]:
    with Checkpoint(model.path) as checkpoint:
        where = model.places_in(checkpoint)
    return {where[name]: x for name, x in tensors.items() if name in where}


def _plain(model: Model, lesson: Lesson, progress: Progress) -> tuple[dict[str, Any], dict[str, Any]]:
    loss, slopes = _gradient(model, lesson)
    return {name: -x for name, x in slopes.items()}, {"loss": loss}


def _sign(model: Model, lesson: Lesson, progress: Progress) -> tuple[dict[str, Any], dict[str, Any]]:
    loss, slopes = _gradient(model, lesson)
    return {name: -x.sign() for name, x in slopes.items()}, {"loss": loss}


def _preconditioned(model: Model, lesson: Lesson, progress: Progress) -> tuple[dict[str, Any], dict[str, Any]]:
    loss, slopes = _gradient(model, lesson)
    squares = _squares(model, lesson, SINGLE)
    damping = DAMPING * _mean(squares) ** 0.5
    return {name: -x / (squares[name].sqrt() + damping) for name, x in slopes.items()}, {"loss": loss}


def _natural(model: Model, lesson: Lesson, progress: Progress) -> tuple[dict[str, Any], dict[str, Any]]:
    loss, slopes = _gradient(model, lesson)
    damped_ = damped(_squares(model, lesson, SINGLE))
    return {name: -x / damped_[name] for name, x in slopes.items()}, {"loss": loss}


def damped(squares: Mapping[str, "torch.Tensor"]) -> dict[str, "torch.Tensor"]:
    """Return F + δ², which no entry of is 0."""
    damping = DAMPING**2 * _mean(squares)
    return {name: x + damping for name, x in squares.items()}


def _mean(squares: Mapping[str, "torch.Tensor"]) -> float:
    return sum(float(x.sum()) for x in squares.values()) / sum(x.numel() for x in squares.values())


def _steps(model: Model, lesson: Lesson, progress: Progress) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take a few steps of AdamW, and put the weights back."""
    a_round = -(-len(lesson.examples) // STEPS.batch)
    before = {name: x.detach().clone() for name, x in model.module().named_parameters()}
    try:
        note = train_in_place(model, [lesson], replace(STEPS, epochs=-(-FEW_STEPS // a_round)), progress, "a few steps")
        moved = {name: x.detach() - before[name] for name, x in model.module().named_parameters()}
    finally:
        for name, x in model.module().named_parameters():
            x.data.copy_(before[name])
            x.grad = None
    return {name: x for name, x in moved.items() if x.any()}, {"loss": note["loss"]["first"], "steps": note["steps"]}


def _gradient(model: Model, lesson: Lesson) -> tuple[float, dict[str, "torch.Tensor"]]:
    """Return the mean loss and its gradient."""
    with _open(model) as parameters:
        loss = sum(float(part) for part in _backward(model, lesson, BATCH))
        slopes = {name: x.grad.clone() for name, x in parameters.items() if x.grad is not None}
    if loss != loss or not all(bool(x.isfinite().all()) for x in slopes.values()):
        raise NumbersError(
            f"the gradient of {model.name} on {lesson.examples.origin} is no number: its weights overflow."
        )
    return loss, slopes


def _squares(model: Model, lesson: Lesson, most: int) -> dict[str, "torch.Tensor"]:
    """Return the mean over examples of the squares of each one's gradient."""
    found = estimate(model, _first(model, lesson, most), Estimating(estimator="empirical_fisher"))
    with Checkpoint(model.path) as checkpoint:
        where = model.places_in(checkpoint)
    return {name: found.tensors[file][""] for name, file in where.items() if file in found.tensors}


def _first(model: Model, lesson: Lesson, most: int) -> Lesson:
    """Return a lesson of so many examples, those that one of its epochs shows first."""
    import torch

    examples = lesson.examples
    numbered = replace(make_ready(model, lesson), answers=torch.arange(len(examples)))
    order = [int(which) for _, _, which in islice(batches([numbered], 1, 1, 0, 0), most)]
    labels = None if examples.labels is None else examples.labels[order]
    return replace(lesson, examples=replace(examples, inputs=[examples.inputs[i] for i in order], labels=labels))


def _backward(model: Model, lesson: Lesson, size: int) -> Iterator[Any]:
    """Add up the gradient of the mean loss, a part of the examples at a time; yield each part's share of the loss."""
    import torch

    ready, pooling = make_ready(model, lesson), pooling_of(model, lesson.reading)
    padding = getattr(model.config, "pad_token_id", None) or 0
    with plain_attention(model.module(), model.device.type):
        for _, inputs, answers in batches([ready], size, 1, 0, padding):
            vectors = encode(model.module(), {name: x.to(model.device) for name, x in inputs.items()}, pooling)
            logits = lesson.head.logits(vectors.float())
            loss = torch.nn.functional.cross_entropy(logits, answers.to(model.device), reduction="sum")
            loss = loss / len(lesson.examples)
            loss.backward()  # type: ignore[no-untyped-call]
            yield loss.detach()


@contextmanager
def _open(model: Model) -> Iterator[dict[str, Any]]:
    """Let gradients flow to every parameter, and none be left afterwards."""
    module = model.module().requires_grad_(True)
    parameters = dict(module.named_parameters())
    try:
        yield parameters
    finally:
        module.requires_grad_(False)
        for x in parameters.values():
            x.grad = None


MAKERS: dict[Kind, Callable[[Model, Lesson, Progress], tuple[dict[str, Any], dict[str, Any]]]] = {
    "gradient": _plain,
    "sign": _sign,
    "preconditioned": _preconditioned,
    "natural": _natural,
    "steps": _steps,
}
