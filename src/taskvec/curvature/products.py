"""Products with the exact Hessian or Gauss-Newton matrix of a lesson's loss, which nobody ever holds."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from ..errors import MismatchError, RecipeError
from ..evaluate.model import Model
from ..finetune.lessons import Lesson
from ..merge.registry import suggest
from ..ops.metric import Products
from .estimating import Estimating
from .per_example import wide
from .work import Batch, Work

if TYPE_CHECKING:
    import torch

Matrix = Literal["hessian", "ggn"]
Tensors = dict[str, "torch.Tensor"]


class Bending:
    """A matrix H of second derivatives at the weights in hand, the mean over a lesson's examples of one of these.

        hessian   ∇² cross-entropy(head(f(x; θ)), y)
        ggn       J_xᵀ (diag(p) − p pᵀ) J_x,   J_x: logits by θ, p: their softmax; without negative curvature

    Weights go by their names in the model's files. A product takes a few passes over all examples and no more memory
    than a step of training. Whoever replaces the model's weights replaces H.

    Raises:
        RecipeError: another matrix, or a lesson without labels.
        MismatchError: the model does not fit the head or the examples.
    """

    def __init__(
        self, model: Model, lesson: Lesson, matrix: Matrix = "ggn", examples: int | None = None, batch: int = 32
    ) -> None:
        """Make the examples ready; `examples`: at most so many, evenly over the labels."""
        if matrix not in ("hessian", "ggn"):
            raise RecipeError(f"products are with 'hessian' or 'ggn', got {matrix!r}.")
        # The order of batches does not matter here, nor whether examples can be told apart.
        self.work = Work(model, lesson, Estimating(estimator="batch_fisher", examples=examples, batch=batch))
        self.matrix = matrix
        self._parameters = {file: model.module().get_parameter(name) for name, file in self.work.places.items()}

    def product(self, direction: Mapping[str, "torch.Tensor"], onto: Collection[str] | None = None) -> Tensors:
        """Return H v.

        Args:
            direction: v, by weight; 0 at weights that are not in it.
            onto: the weights at which the product is wanted; all, if not given.

        Raises:
            MismatchError: a weight that the model has not, or of another shape.
        """
        along = {name: self._parameter(name, x) for name, x in direction.items()}
        wanted = {name: self._parameter(name) for name in (self._parameters if onto is None else onto)}
        sums = {name: wide(parameter.detach()) * 0 for name, parameter in wanted.items()}
        vectors = [direction[name].to(parameter) for name, parameter in along.items()]
        with self._learning([*along.values(), *wanted.values()]):
            for places in self.work.batches:
                batch = self.work.batch(places)
                of_batch = self._hessian if self.matrix == "hessian" else self._ggn
                found = of_batch(batch, list(along.values()), vectors, list(wanted.values()))
                for name, part in zip(wanted, found, strict=True):
                    if part is not None:
                        sums[name] += wide(part)
        return {name: x / len(self.work) for name, x in sums.items()}

    def metric(self, name: str) -> Products:
        """Return the block of H of one weight as a metric: x → H x.

        Its `on_atoms` is the metric projected to atoms, by a product for each atom.
        """
        self._parameter(name)
        return Products(lambda x: self.product({name: x}, [name])[name].to(x))

    def _parameter(self, name: str, like: "torch.Tensor | None" = None) -> "torch.Tensor":
        if name not in self._parameters:
            near = suggest(name, list(self._parameters))
            raise MismatchError(f"{self.work.model.name} has no weight '{name}' that is run here.{near}")
        found: torch.Tensor = self._parameters[name]
        if like is not None and like.shape != found.shape:
            raise MismatchError(
                f"the direction at '{name}' is {tuple(like.shape)}, and the weight {tuple(found.shape)}."
            )
        return found

    @contextmanager
    def _learning(self, parameters: Sequence["torch.Tensor"]) -> Iterator[None]:
        """Let gradients flow to these; fused attention has no second derivative."""
        from torch.nn.attention import SDPBackend, sdpa_kernel

        for parameter in parameters:
            parameter.requires_grad_(True)
        try:
            with self.work.plain(), sdpa_kernel(SDPBackend.MATH):
                yield
        finally:
            for parameter in parameters:
                parameter.requires_grad_(False)

    def _hessian(
        self, batch: Batch, along: list["torch.Tensor"], v: list["torch.Tensor"], onto: list["torch.Tensor"]
    ) -> Sequence["torch.Tensor | None"]:
        """Return the gradient of ⟨∇ loss, v⟩."""
        import torch

        loss = torch.nn.functional.cross_entropy(self.work.logits(batch), batch.answers, reduction="sum")
        slope = _inner(torch.autograd.grad(loss, along, create_graph=True, allow_unused=True), v)
        if slope is None or not slope.requires_grad:
            return [None] * len(onto)
        return torch.autograd.grad(slope, onto, allow_unused=True)

    def _ggn(
        self, batch: Batch, along: list["torch.Tensor"], v: list["torch.Tensor"], onto: list["torch.Tensor"]
    ) -> Sequence["torch.Tensor | None"]:
        """Return Jᵀ C J v. J v is the gradient of ⟨Jᵀ u, v⟩ by u, which is linear in it."""
        import torch

        logits = self.work.logits(batch)
        u = torch.zeros_like(logits, requires_grad=True)
        slope = _inner(torch.autograd.grad(logits, along, u, create_graph=True, allow_unused=True), v)
        if slope is None:
            return [None] * len(onto)
        (moved,) = torch.autograd.grad(slope, u, retain_graph=True)
        p = logits.detach().softmax(-1)
        bent = p * (moved - (p * moved).sum(-1, keepdim=True))
        return torch.autograd.grad(logits, onto, bent, allow_unused=True)


def _inner(slopes: Sequence["torch.Tensor | None"], v: Sequence["torch.Tensor"]) -> "torch.Tensor | None":
    """Return ⟨g, v⟩ over all weights that gradients reach; None where they reach none."""
    import torch

    parts = [(slope * x).sum() for slope, x in zip(slopes, v, strict=True) if slope is not None]
    return torch.stack(parts).sum() if parts else None
