"""Curvature by loops over single examples and autograd alone: what the estimators must come to."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from taskvec.evaluate.features import encode, pooling_of
from taskvec.evaluate.model import Model
from taskvec.finetune.finetune import plain_attention
from taskvec.finetune.lessons import Lesson, make_ready
from taskvec.store import Checkpoint

Gradients = dict[str, torch.Tensor]


def alone(model: Model, lesson: Lesson) -> Iterator[tuple[torch.Tensor, int]]:
    """Yield the logits of each example, run alone and without padding, and its label."""
    ready = make_ready(model, lesson)
    module = model.module().requires_grad_(True)
    try:
        with plain_attention(module, "cpu"):
            for row, answer in zip(ready.inputs, ready.answers.tolist(), strict=True):
                one = {name: x.unsqueeze(0) for name, x in row.items()}
                yield lesson.head.logits(encode(module, one, pooling_of(model, lesson.reading)))[0], answer
    finally:
        module.requires_grad_(False)


def gradients(model: Model, of: torch.Tensor) -> Gradients:
    """Return the gradients of a number by the weights that it depends on, by their names in the model's files."""
    parameters = dict(model.module().named_parameters())
    found = torch.autograd.grad(of, list(parameters.values()), retain_graph=True, allow_unused=True)
    with Checkpoint(model.path) as checkpoint:
        where = model.places_in(checkpoint)
    return {where[name]: g for name, g in zip(parameters, found, strict=True) if g is not None}


def loss(logits: torch.Tensor, answer: int) -> torch.Tensor:
    return -logits.log_softmax(-1)[answer]


def mean_of(found: list[Gradients]) -> Gradients:
    return {name: torch.stack([one[name] for one in found]).mean(0) for name in found[0]}


def empirical_fisher(model: Model, lesson: Lesson) -> Gradients:
    """Return the mean of the squares of each example's gradient."""
    return mean_of([{n: g**2 for n, g in gradients(model, loss(z, y)).items()} for z, y in alone(model, lesson)])


def ggn(model: Model, lesson: Lesson) -> Gradients:
    """Return the diagonal of the mean of Jᵀ (diag(p) − p pᵀ) J, entry by entry from the Jacobian's rows."""
    found = []
    for logits, _ in alone(model, lesson):
        p = logits.detach().softmax(-1)
        hessian = -torch.outer(p, p)
        for c in range(len(p)):
            hessian[c, c] = p[c] * (p[:c].sum() + p[c + 1 :].sum())  # p − p² would leave rounding where p is near 1
        rows = [gradients(model, z) for z in logits]
        found.append(
            {
                n: torch.einsum("cd,c...,d...->...", hessian, *[torch.stack([row[n] for row in rows])] * 2)
                for n in rows[0]
            }
        )
    return mean_of(found)


def layers(model: Model, lesson: Lesson, names: dict[str, str]) -> Iterator[dict[str, tuple[Any, Any]]]:
    """Yield for each example: weight → (what went into its layer, the gradients of what came out), a position a row.

    names: of modules → of their weights.
    """
    modules = dict(model.module().named_modules())
    for logits, answer in _watching(modules, names, kept := {}, alone(model, lesson)):
        outs = {weight: out for weight, (_, out) in kept.items()}
        back = torch.autograd.grad(loss(logits, answer), list(outs.values()), retain_graph=True, allow_unused=True)
        yield {
            weight: (
                kept[weight][0].reshape(-1, kept[weight][0].shape[-1]),
                None if g is None else g.reshape(-1, g.shape[-1]),
            )
            for weight, g in zip(outs, back, strict=True)
        }


def _watching(
    modules: dict[str, Any], names: dict[str, str], kept: dict[str, Any], passes: Iterator[Any]
) -> Iterator[Any]:
    def keep(weight: str) -> Callable[..., None]:
        return lambda _, x, out: kept.update({weight: (x[0].detach(), out)})

    hooks = [modules[name].register_forward_hook(keep(weight)) for name, weight in names.items()]
    try:
        yield from passes
    finally:
        for hook in hooks:
            hook.remove()
