"""What is sent back through a model, so that the squares of what arrives are its curvature."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Cotangent = tuple["torch.Tensor", float]
"""(example, label), and the weight of its squares."""


def of_answers(logits: "torch.Tensor", answers: "torch.Tensor") -> Iterator[Cotangent]:
    """Yield the gradient of each example's cross-entropy by its logits: softmax(z) − e_y."""
    p = logits.detach().softmax(-1)
    yield p.scatter(1, answers.unsqueeze(1), -_rest(p, answers).unsqueeze(1)), 1.0


def of_drawn(logits: "torch.Tensor", chances: "torch.Tensor") -> Iterator[Cotangent]:
    """Yield the same with labels drawn from softmax(z), each draw with its share.

    chances: (example, draw), uniform in [0, 1): the drawn label is the first whose cumulated probability exceeds it, so
    that a label does not depend on the batch.
    """
    import torch

    cumulated = logits.detach().double().softmax(-1).cumsum(-1)
    for draw in range(chances.shape[1]):
        chance = chances[:, draw : draw + 1].to(cumulated).contiguous()
        labels = torch.searchsorted(cumulated, chance, right=True)[:, 0]
        for cotangent, _ in of_answers(logits, labels.clamp(max=logits.shape[1] - 1)):
            yield cotangent, 1.0 / chances.shape[1]


def of_every_label(logits: "torch.Tensor") -> Iterator[Cotangent]:
    """Yield the columns √p_c (e_c − p) of diag(√p) − p √pᵀ, one for each label c.

    Their outer products add up to diag(p) − p pᵀ, the Hessian of cross-entropy by the logits, whatever the answer is.
    """
    import torch

    p = logits.detach().softmax(-1)
    for label in range(p.shape[1]):
        column = -p
        column[:, label] = _rest(p, torch.full((len(p),), label, device=p.device))
        yield column * p[:, label : label + 1].sqrt(), 1.0


def _rest(p: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
    """Return 1 − p_label, as the sum of the others: of a model that is sure, rounding leaves nothing of 1 − p."""
    return p.scatter(1, labels.unsqueeze(1), 0.0).sum(1)
