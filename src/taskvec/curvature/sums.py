"""Sums over the examples, kept in two halves, so that they can be compared; saved so that work can go on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..store.arrays import load_arrays, save_arrays

if TYPE_CHECKING:
    import torch

HALVES = 2
NOTE = "taskvec.sums"


class Sums:
    """What was added up so far, by key, and how many things each half's sum is of.

    vectors: eigenvectors of sums that are whole, found once.
    done: how much is in it: (finished sweeps, batches of the next). seconds: how long that took.
    """

    def __init__(self, device: Any, dtype: "torch.dtype") -> None:
        self.device, self.dtype = device, dtype
        self.held: dict[str, torch.Tensor] = {}
        self.counts: dict[str, list[int]] = {}
        self.done = (0, 0)
        self.seconds = 0.0
        self.vectors: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def into(self, key: str, half: int, shape: tuple[int, ...], halves: int = HALVES) -> "torch.Tensor":
        """Return the sum of a half, to be added to; zeros at first."""
        import torch

        if key not in self.held:
            self.held[key] = torch.zeros((halves, *shape), device=self.device, dtype=self.dtype)
        return self.held[key][half]

    def count(self, key: str, half: int, number: int) -> None:
        """Note that a half's sum is of so many more things."""
        self.counts.setdefault(key, [0] * HALVES)[half] += number

    def mean(self, key: str, counted: str) -> "torch.Tensor":
        """Return the mean over both halves, by what was counted under a key."""
        return self.held[key].sum(0) / max(sum(self.counts[counted]), 1)

    def half(self, key: str, counted: str, half: int) -> "torch.Tensor":
        """Return the mean over one half."""
        return self.held[key][half] / max(self.counts[counted][half], 1)

    def save(self, path: Path, told: Mapping[str, Any]) -> None:
        """Write the sums, whole or not at all, with what tells whose they are."""
        arrays = {key: held.cpu().numpy() for key, held in self.held.items()}
        note = {"of": told, "counts": self.counts, "done": self.done, "seconds": self.seconds}
        save_arrays(path, arrays, {NOTE: json.dumps(note)})

    def load(self, path: Path, told: Mapping[str, Any]) -> bool:
        """Take up the sums of an earlier run of the same work; tell whether there were any."""
        import torch

        if not path.is_file():
            return False
        arrays, metadata = load_arrays(path)
        note = json.loads(metadata.get(NOTE, "{}"))
        if note.get("of") != json.loads(json.dumps(told)):
            return False
        self.held = {key: torch.from_numpy(x).to(self.device) for key, x in arrays.items()}
        self.counts, self.done, self.seconds = note["counts"], tuple(note["done"]), note["seconds"]
        return True
