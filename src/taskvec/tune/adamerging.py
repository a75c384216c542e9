"""AdaMerging: coefficients that make a merged model sure of its answers on unlabelled examples."""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from typing import TYPE_CHECKING, Any, Literal

from ..errors import NumbersError, RecipeError
from ..evaluate.classification import Classification
from ..evaluate.features import encode, pooling_of
from ..evaluate.model import Model
from ..progress import Progress, Silent
from ..recipe.schema import Recipe
from .held import Held

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class AdaMerging:
    """The settings, with the authors' as defaults.

    by: one coefficient a task, or one a task and tensor (the paper's "layer-wise").
    steps: of Adam. rate: Adam's. batch: examples of each task a step. start: every coefficient at first.
    low, high: coefficients are kept between these, as the authors' code does; the paper does not say so.
    precision: what most of the arithmetic is done in.
    seed: of the order of the examples.
    """

    by: Literal["task", "layer"] = "task"
    steps: int = 500
    rate: float = 1e-3
    batch: int = 16
    start: float = 0.3
    low: float = 0.0
    high: float = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings with which nothing moves.

        Raises:
            RecipeError: one is out of range.
        """
        for name in ("steps", "batch", "rate"):
            if not getattr(self, name) > 0:
                raise RecipeError(f"'{name}' of AdaMerging must be above 0, got {getattr(self, name):g}.")
        if not self.low <= self.start <= self.high:
            raise RecipeError(f"'start' must lie between {self.low:g} and {self.high:g}, got {self.start:g}.")


@dataclass(frozen=True)
class Adapted:
    """What came of it: a recipe with the coefficients as weights, the entropy on the way, and how long it took."""

    recipe: Recipe
    coefficients: Mapping[str, Sequence[float]]
    entropy: Sequence[float]
    seconds: float


def adamerge(
    recipe: Recipe,
    model: Model,
    tasks: Sequence[Any],
    settings: AdaMerging | None = None,
    progress: Progress | None = None,
) -> Adapted:
    """Find coefficients by minimising the entropy of the answers on unlabelled examples of all tasks.

        min over λ of Σ_t E_x H(softmax(head_t(f(x; θ₀ + Σ_k λ_k τ_k)))),    λ kept in [low, high] after each step
        ∂L/∂λ_k = ⟨∇_θ L, τ_k⟩, for each tensor, or summed over all of them

    The gradient by the weights is that of one ordinary backward pass, so a step costs a training step on one batch a
    task and T inner products, and memory holds base, task vectors and one gradient. Labels are never looked at.

    Args:
        recipe: task_arithmetic over a base; its weights and scale are replaced. What it ignores stays the base's.
        model: the base in hand, in float32; its weights are written over.
        tasks: classifications: their examples and heads.
        settings: see `AdaMerging`.
        progress: told how far it is.

    Batches are neighbours in length (images: spread over the file), the same in every round over the examples, in a new
    order; the authors draw them anew. The entropies are sums over tasks, each of before its step.

    Source: Yang et al. 2024, arXiv:2310.02575, §3.2 and Algorithm 1.

    Raises:
        RecipeError: another method, overrides or `normalize`, a task that has no classes, or a model that is not in
            float32.
        StoreError: models that cannot be read, or do not belong together.
        NumbersError: the entropy is no number.
    """
    import torch

    settings, progress = settings or AdaMerging(), progress or Silent()
    _check(recipe, model, tasks)
    held, stream = Held(recipe, model), _Stream(model, tasks, settings)
    count = len(held.names) if settings.by == "layer" else 1
    coefficients = torch.full((len(recipe.models), count), settings.start)
    optimiser = torch.optim.Adam([coefficients], lr=settings.rate)
    entropies, began = [], time.perf_counter()
    progress.begin("AdaMerging", settings.steps, "steps")
    try:
        for step in range(1, settings.steps + 1):
            held.put(coefficients)
            entropies.append(_finite(stream.backward(), step))
            coefficients.grad = held.gradient(count)
            optimiser.step()
            coefficients.clamp_(settings.low, settings.high)
            progress.advance(step, f"entropy {entropies[-1]:.3f}")
    finally:
        progress.end()
        model.module().requires_grad_(False)
    found = {name: coefficients[:, i % count].tolist() for i, name in enumerate(held.files)}
    return Adapted(_written(recipe, found, settings), found, entropies, time.perf_counter() - began)


def _check(recipe: Recipe, model: Model, tasks: Sequence[Any]) -> None:
    if recipe.method != "task_arithmetic" or recipe.base is None or recipe.stack:
        raise RecipeError(
            "AdaMerging finds the weights of task_arithmetic over a base. Type 'method: task_arithmetic'."
        )
    if recipe.overrides or recipe.settings.get("normalize"):
        given = "overrides" if recipe.overrides else "normalize"
        raise RecipeError(f"AdaMerging finds the very number of every tensor. Remove '{given}'.")
    if model.precision != "float32":
        raise RecipeError(f"AdaMerging moves weights by small steps; load {model.name} in float32.")
    for task in tasks:
        if not isinstance(task, Classification):
            raise RecipeError(f"'{task.name}' has no classes, and AdaMerging needs the entropy of an answer.")
        task.check(model)


class _Stream:
    """Unlabelled batches of every task, again and again in a new order."""

    def __init__(self, model: Model, tasks: Sequence[Classification], settings: AdaMerging) -> None:
        self.model, self.tasks, self.precision = model, tasks, settings.precision
        self._chance = random.Random(settings.seed)
        self._batches = {task.name: _small(task, model, settings.batch) for task in tasks}
        self._queues: dict[str, list[Any]] = {task.name: [] for task in tasks}

    def _next(self, task: str) -> Mapping[str, "torch.Tensor"]:
        queue = self._queues[task]
        if not queue:
            queue += self._chance.sample(self._batches[task], len(self._batches[task]))
        return queue.pop()  # type: ignore[no-any-return]

    def backward(self) -> float:
        """Add the gradients of all tasks' entropies; return their sum."""
        import torch

        total, device = 0.0, self.model.device
        for task in self.tasks:
            inputs = {name: x.to(device) for name, x in self._next(task.name).items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                vectors = encode(self.model.module(), inputs, pooling_of(self.model, task.reading))
            logits = task.head.logits(vectors.float())
            entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()
            entropy.backward()  # type: ignore[no-untyped-call]
            total += float(entropy.detach())
        return total


def _small(task: Classification, model: Model, batch: int) -> list[dict[str, "torch.Tensor"]]:
    """Return the task's inputs in batches of like length, of the size asked for."""
    out = []
    for _, inputs in task.batches(model):
        rows = next(iter(inputs.values())).shape[0]
        out += [{name: x[i : i + batch] for name, x in inputs.items()} for i in range(0, rows, batch)]
    return out


def _finite(entropy: float, step: int) -> float:
    if entropy != entropy:
        raise NumbersError(f"the entropy is no number at step {step}. Type a smaller 'rate'.")
    return entropy


def _written(recipe: Recipe, found: Mapping[str, Sequence[float]], settings: AdaMerging) -> Recipe:
    """Return the recipe with the coefficients as weights, for all tensors or for each of them.

    Tensors that the encoder does not have (a language model's head) keep the coefficients that all started with.
    """
    data = recipe.data
    if settings.by == "task":
        weights = [round(x, 6) for x in next(iter(found.values()))]
        data["models"] = [{**m, "weight": w} for m, w in zip(data["models"], weights, strict=True)]
    else:
        data["models"] = [{**m, "weight": settings.start} for m in data["models"]]
        own = {escape(name): [round(x, 6) for x in row] for name, row in found.items()}
        data["overrides"] = [{"match": name, "weights": row} for name, row in own.items()]
    data["scale"] = 1.0
    return Recipe.model_validate(data)
