"""Fine-tune an encoder on one task, its head frozen."""

import random
from collections.abc import Callable, Iterator
from math import ceil

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from .encoder import Encoder
from .settings import Settings
from .tasks import Split

Report = Callable[[int, int, float], None]
"""Called after each step with its number, the number of steps, and the loss."""


def finetune(encoder: Encoder, head: Tensor, split: Split, settings: Settings, report: Report) -> None:
    """Train the transformer's layers in place; the embeddings and the head stay as they are.

    loss = cross_entropy(temperature · embed(x) @ head.T, y),    rate_t = rate · (1 - t / steps)
    """
    torch.manual_seed(settings.seed)
    encoder.model.train()
    encoder.model.embeddings.requires_grad_(False)
    trained = [weight for weight in encoder.model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=settings.rate, weight_decay=settings.decay)
    steps = settings.epochs * ceil(len(split.train) / settings.batch)
    falling = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    for step, (texts, answers) in enumerate(batches(split, settings), start=1):
        logits = settings.temperature * encoder.embed(texts) @ head.T
        loss = cross_entropy(logits, answers)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        falling.step()
        report(step, steps, loss.item())
    encoder.model.eval()


def batches(split: Split, settings: Settings) -> Iterator[tuple[list[str], Tensor]]:
    """Yield the training texts and their answers, in a new order each epoch."""
    chance = random.Random(settings.seed)
    answer = {label: index for index, label in enumerate(split.labels)}
    for _ in range(settings.epochs):
        order = chance.sample(split.train, len(split.train))
        for start in range(0, len(order), settings.batch):
            batch = order[start : start + settings.batch]
            yield [example.text for example in batch], torch.tensor([answer[example.label] for example in batch])
