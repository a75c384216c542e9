"""The weights of a sum of task vectors, fitted to a few labelled examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import NumbersError, RecipeError
from ..evaluate.features import encode, pooling_of
from ..evaluate.model import Model
from ..finetune.finetune import plain_attention
from ..finetune.lessons import Lesson, batches, make_ready, steps_of
from ..progress import Progress, Silent
from .held import Held


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """How weights are fitted.

    steps: of Adam, at least; the last round over the examples is finished. rate: Adam's. batch: examples a step.
    precision: what most of the arithmetic is done in. seed: of the order of the examples.
    """

    steps: int = 30
    rate: float = 0.02
    batch: int = 32
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings with which nothing moves.

        Raises:
            RecipeError: one is out of range.
        """
        for name in ("steps", "rate", "batch"):
            if not getattr(self, name) > 0:
                raise RecipeError(f"'{name}' must be above 0, got {getattr(self, name):g}.")


@dataclass(frozen=True)
class Fitted:
    """The weights that were found, a task vector each, and the loss of every step, of before it."""

    weights: tuple[float, ...]
    loss: Sequence[float]


def fit_weights(
    held: Held, model: Model, lesson: Lesson, start: Sequence[float], how: Fitting | None = None,
    progress: Progress | None = None,
) -> Fitted:  # fmt: skip
    """Fit the weights of task vectors to labelled examples, and leave the fitted model in hand.

        min over λ of the mean of cross-entropy(head(f(x; θ₀ + Σ_k λ_k τ_k)), y),    ∂L/∂λ_k = ⟨∇_θ L, τ_k⟩

    So many numbers as there are models, so a few examples are enough. Weights may fall below 0: to go against a task
    is an answer, too.

    Args:
        held: base and task vectors, in the module of `model`.
        model: the base in hand.
        lesson: the examples, and the head that says what is right.
        start: the weights to begin with.
        how: see `Fitting`.
        progress: told how far it is.

    Raises:
        RecipeError: no labels, or not a weight for each task vector.
        NumbersError: the loss is no number.
    """
    import torch

    how, progress = how or Fitting(), progress or Silent()
    if len(start) != held.count:
        raise RecipeError(f"there are {held.count} task vectors and {len(start)} weights to begin with.")
    ready, pooling = make_ready(model, lesson), pooling_of(model, lesson.reading)
    rounds = -(-how.steps // steps_of([ready], how.batch))
    weights = torch.tensor([[float(x)] for x in start])
    optimiser = torch.optim.Adam([weights], lr=how.rate)
    losses: list[float] = []
    module, device = model.module().requires_grad_(True), model.device
    padding = getattr(model.config, "pad_token_id", None) or 0
    progress.begin("fitting the weights", rounds * steps_of([ready], how.batch), "steps")
    try:
        with plain_attention(module, device.type):
            for _, inputs, answers in batches([ready], how.batch, rounds, how.seed, padding):
                held.put(weights)
                with torch.autocast(device.type, torch.bfloat16, enabled=how.precision == "bfloat16"):
                    vectors = encode(module, {name: x.to(device) for name, x in inputs.items()}, pooling)
                loss = torch.nn.functional.cross_entropy(lesson.head.logits(vectors.float()), answers.to(device))
                loss.backward()  # type: ignore[no-untyped-call]
                weights.grad = held.gradient(1)
                optimiser.step()
                losses.append(_finite(float(loss.detach()), len(losses) + 1))
                progress.advance(len(losses), f"loss {losses[-1]:.3f}")
    finally:
        progress.end()
        module.requires_grad_(False)
    held.put(weights)
    return Fitted(tuple(weights[:, 0].tolist()), losses)


def _finite(loss: float, step: int) -> float:
    if loss != loss or loss == float("inf"):
        raise NumbersError(f"the loss is {loss} at step {step}. Type a smaller 'rate'.")
    return loss
