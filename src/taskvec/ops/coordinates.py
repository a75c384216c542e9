"""Task vectors of one tensor and their coordinates in a subspace, and metrics as they are seen from there."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from .arrays import Array, namespace
from .atoms import Atoms
from .metric import Kronecker, Metric, Restricted
from .projected import written_out


@runtime_checkable
class Numbered(Protocol):
    """Things that are asked for by number, such as a list, an array of tensors, or files that are read when asked."""

    def __getitem__(self, number: int, /) -> Any: ...

    def __len__(self) -> int: ...


class Coordinates:
    """The task vectors of one tensor, and their coordinates."""

    def __init__(self, deltas: Numbered, basis: Atoms | None = None, targets: Numbered | None = None) -> None:
        """Take tensors, the atoms that span the subspace, and coordinates; by default those of the projections.

        Raises:
            ValueError: coordinates without a basis.
        """
        if basis is None and targets is not None:
            raise ValueError("targets are coordinates, and without a basis there are none; leave them out")
        self._deltas, self.basis = deltas, basis
        self._targets = targets
        if basis is not None and targets is None:
            self._targets = [basis.coordinates(deltas[t]) for t in range(len(deltas))]

    def delta(self, task: int) -> Array:
        """Return δ_t."""
        return self._deltas[task]

    def target(self, task: int) -> Array:
        """Return d_t."""
        return self._deltas[task] if self._targets is None else self._targets[task]

    def expand(self, d: Array) -> Array:
        """Return S d."""
        return d if self.basis is None else self.basis.expand(d)

    def bending(self, metric: Metric) -> Callable[[Array], Array]:
        """Return d → H S d. A Kronecker product bends the atoms' vectors, which is less than all that they span."""
        if self.basis is None or not isinstance(metric, Kronecker):
            return lambda d: metric.apply(self.expand(d))
        u, v = self.basis.u, self.basis.v
        outer = u if metric.outer is None else metric.outer @ u
        return Atoms(outer, v if metric.inner is None else metric.inner @ v).expand

    def restricted(self, metric: Metric) -> Metric:
        """Return as little of a metric as is needed here: factors of many tasks are not to be held."""
        if self.basis is None or not written_out(metric, self.basis):
            return metric
        return Restricted(metric.on_atoms(self.basis.u, self.basis.v))

    def traces(self, metric: Metric, shape: Sequence[int]) -> tuple[float, float]:
        """Return tr(H_t) and tr(SᵀH_tS); NaN for metrics that do not know theirs."""
        try:
            whole = metric.trace(shape)
        except ValueError:
            whole = float("nan")
        if self.basis is None:
            return whole, whole
        return whole, float(namespace(self.basis.u).sum(metric.at_atoms(self.basis.u, self.basis.v)))
