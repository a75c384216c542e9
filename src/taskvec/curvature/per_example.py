"""Gradients of a batch, told apart by example: in the forms in which layers have them, never as one table."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

HELD = {"cpu": 1 << 16, "cuda": 1 << 26}
"""Entries of gradients that are held at a time, at most, or one example's: on a CPU, what its cache has room for."""


class PerExample(Protocol):
    """The gradients of one weight, one an example: g_i, each of the weight's own shape."""

    def add_squares(self, into: "torch.Tensor", examples: "torch.Tensor", factor: float) -> None:
        """Add factor · Σ_i g_i² over these examples (their numbers), without a table of all g_i."""

    def total(self) -> "torch.Tensor":
        """Return Σ_i g_i over all examples."""

    def beyond_first(self) -> bool:
        """Tell whether an example but the first has gradients."""


@dataclass(frozen=True)
class Outer:
    """g_i = Σ_l left_il right_ilᵀ: of linear layers, over positions l; of convolutions, over patches.

    left: (example, group, position, row). right: (example, group, position, column). shape: the weight's own, with
    group · row entries on its first axis and the columns on the others.
    """

    left: "torch.Tensor"
    right: "torch.Tensor"
    shape: tuple[int, ...]

    def add_squares(self, into: "torch.Tensor", examples: "torch.Tensor", factor: float) -> None:
        """See `PerExample`. With one position (l rᵀ)² is l² (r²)ᵀ, and the sum over examples is one product."""
        import torch

        left, right = wide(self.left[examples]), wide(self.right[examples])
        if left.shape[2] == 1:
            squares = torch.einsum("ngr,ngc->grc", left[:, :, 0].square(), right[:, :, 0].square())
            into.add_(squares.reshape(self.shape), alpha=factor)
            return
        at_a_time = HELD.get(into.device.type, HELD["cuda"]) // max(1, into.numel())
        if at_a_time <= 1 and left.shape[1] == 1:
            _add_one_by_one(into.view(left.shape[3], -1), left[:, 0], right[:, 0], factor)
            return
        for start in range(0, len(left), max(1, at_a_time)):
            gradients = left[start : start + max(1, at_a_time)].mT @ right[start : start + max(1, at_a_time)]
            into.add_(gradients.square_().sum(0).reshape(self.shape), alpha=factor)

    def total(self) -> "torch.Tensor":
        """See `PerExample`."""
        import torch

        return torch.einsum("nglr,nglc->grc", wide(self.left), wide(self.right)).reshape(self.shape)

    def beyond_first(self) -> bool:
        """See `PerExample`."""
        return bool(self.left[1:].any()) and bool(self.right[1:].any())


@dataclass(frozen=True)
class Plain:
    """g_i as they are: of biases, norms and single vectors, which are small.

    gradients: (example, *weight).
    """

    gradients: "torch.Tensor"

    def add_squares(self, into: "torch.Tensor", examples: "torch.Tensor", factor: float) -> None:
        """See `PerExample`."""
        into.add_(wide(self.gradients[examples]).square().sum(0), alpha=factor)

    def total(self) -> "torch.Tensor":
        """See `PerExample`."""
        return wide(self.gradients).sum(0)

    def beyond_first(self) -> bool:
        """See `PerExample`."""
        return bool(self.gradients[1:].any())


@dataclass(frozen=True)
class Rows:
    """Row r of g_i is Σ_l [index_il = r] gradients_il: of tables, of which an example reads few rows.

    index: (example, position). gradients: (example, position, width). skipped: a row that is not learnt (padding).
    """

    index: "torch.Tensor"
    gradients: "torch.Tensor"
    rows: int
    skipped: int | None = None

    def add_squares(self, into: "torch.Tensor", examples: "torch.Tensor", factor: float) -> None:
        """See `PerExample`. What one example adds to one row is summed first, then squared."""
        import torch

        index, gradients = self._kept(examples)
        example = torch.arange(len(examples), device=index.device).unsqueeze(1).expand_as(self.index[examples])
        pairs, where = torch.unique(self._flat(example, examples) * self.rows + index, return_inverse=True)
        sums = gradients.new_zeros(len(pairs), gradients.shape[-1]).index_add_(0, where, gradients)
        into.index_add_(0, pairs % self.rows, sums.square_(), alpha=factor)

    def total(self) -> "torch.Tensor":
        """See `PerExample`."""
        import torch

        index, gradients = self._kept(torch.arange(len(self.index), device=self.index.device))
        return gradients.new_zeros(self.rows, gradients.shape[-1]).index_add_(0, index, gradients)

    def beyond_first(self) -> bool:
        """See `PerExample`."""
        return bool(self.gradients[1:].any())

    def _kept(self, examples: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
        """Return the rows that are read and their gradients, each as a flat list."""
        flat = self._flat(self.index[examples], examples)
        return flat, wide(self._flat(self.gradients[examples], examples))

    def _flat(self, x: "torch.Tensor", examples: "torch.Tensor") -> "torch.Tensor":
        x = x.flatten(0, 1)
        return x if self.skipped is None else x[self.index[examples].flatten() != self.skipped]


def _add_one_by_one(into: "torch.Tensor", left: "torch.Tensor", right: "torch.Tensor", factor: float) -> None:
    """Add the squares of large gradients, each in the same memory: on a CPU several times faster than many at once."""
    import torch

    gradient = torch.empty_like(into)
    for one, other in zip(left, right, strict=True):
        torch.mm(one.T, other, out=gradient)
        into.addcmul_(gradient, gradient, value=factor)


def joined(calls: Sequence[PerExample]) -> PerExample:
    """Return the gradients of a weight that a pass used several times: those of all uses added up.

    Raises:
        TypeError: uses of different kinds, such as a table that is also an output layer.
    """
    import torch

    first = calls[0]
    if len(calls) == 1:
        return first
    if isinstance(first, Outer) and all(isinstance(x, Outer) for x in calls):
        left, right = ([getattr(x, side) for x in calls] for side in ("left", "right"))
        return replace(first, left=torch.cat(left, 2), right=torch.cat(right, 2))
    if isinstance(first, Plain) and all(isinstance(x, Plain) for x in calls):
        return Plain(torch.stack([x.gradients for x in calls if isinstance(x, Plain)]).sum(0))
    if isinstance(first, Rows) and all(isinstance(x, Rows) for x in calls):
        index, gradients = ([getattr(x, part) for x in calls] for part in ("index", "gradients"))
        return replace(first, index=torch.cat(index, 1), gradients=torch.cat(gradients, 1))
    raise TypeError(f"uses of different kinds: {', '.join(sorted({type(x).__name__ for x in calls}))}")


def wide(x: "torch.Tensor") -> "torch.Tensor":
    """Return numbers in float32 at least: squares of gradients are small."""
    import torch

    return x if x.dtype == torch.float64 else x.float()
