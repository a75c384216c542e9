"""Inputs made ready once, in batches of like length, and the answers put back in order."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

BATCH = 64
"""Examples a batch, at most."""

TOKENS = 8192
"""Tokens a batch, at most: long texts go in smaller batches."""


SHARES = "2"
"""Raised when a share of the examples becomes another one, so that searches do not go on from the older."""

SPREAD = 4
"""Batches that a share of the examples is taken from at least, lest it be long texts only."""


@dataclass(frozen=True)
class Batches:
    """Inputs in batches: which examples each holds, and its tensors by the names that the model takes."""

    count: int
    batches: Sequence[tuple[list[int], Mapping[str, "torch.Tensor"]]]

    def first(self, share: float) -> "Batches":
        """Return about this share of the examples, at least one, the same for every model.

        They lie in as few batches as hold so many, but of those in memory in four, where that many are wanted, evenly
        spread over short and long ones; of each as large a share.
        """
        if share >= 1:
            return self
        number, wanted = math.ceil(share * len(self.batches)), round(share * self.count)
        if isinstance(self.batches, list):
            number = max(number, min(len(self.batches), SPREAD, wanted))
        chosen = [self.batches[i] for i in evenly(len(self.batches), number / len(self.batches))]
        left = share * self.count / sum(len(places) for places, _ in chosen)
        cut = [_cut(batch, left) for batch in chosen]
        return Batches(sum(len(places) for places, _ in cut), cut)

    def __iter__(self) -> Iterator[tuple[list[int], Mapping[str, "torch.Tensor"]]]:
        return iter(self.batches)


def _cut(
    batch: tuple[list[int], Mapping[str, "torch.Tensor"]], share: float
) -> tuple[list[int], Mapping[str, "torch.Tensor"]]:
    """Return a share of a batch's examples, at least one, evenly spread."""
    places, inputs = batch
    kept = evenly(len(places), share)
    return [places[i] for i in kept], {name: x[kept] for name, x in inputs.items()}


def evenly(count: int, share: float) -> list[int]:
    """Return the places of about this share of `count` things, at least one, evenly spread; of all for 1 and more.

    >>> evenly(10, 0.3)
    [1, 5, 8]
    """
    wanted = max(1, round(min(share, 1.0) * count))
    return [int((i + 0.5) * count / wanted) for i in range(wanted)]


def in_batches(lengths: Sequence[int], batch: int = BATCH, tokens: int = TOKENS) -> list[list[int]]:
    """Return the examples' places in batches, in order of length, so that little is padded.

    A batch holds at most `batch` examples and `tokens` tokens, padding counted, but at least one example. Which
    examples share a batch depends on nothing but the lengths, so scores do not change from run to run.

    >>> in_batches([3, 1, 2, 9], batch=2)
    [[1, 2], [0, 3]]
    """
    out: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        full = not out or len(out[-1]) >= batch or (len(out[-1]) + 1) * lengths[place] > tokens
        if full:
            out.append([])
        out[-1].append(place)
    return out


def gathered(batches: Batches, run: Callable[[Mapping[str, Any]], "torch.Tensor"], device: Any) -> "torch.Tensor":
    """Run every batch without gradients; return the rows, (example, …) in float32, in the examples' order.

    Examples that are in no batch (see `Batches.first`) are left out.
    """
    import torch

    places, rows = [], []
    with torch.inference_mode():
        for where, inputs in batches:
            places += where
            rows.append(run({name: x.to(device) for name, x in inputs.items()}).float().cpu())
    order = torch.tensor(places).argsort()
    return torch.cat(rows)[order]
