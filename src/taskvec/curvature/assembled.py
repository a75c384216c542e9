"""From sums to an estimate: means, by the names of the model's files, and what is said about them."""

from typing import TYPE_CHECKING, Any

from ..errors import MismatchError, NumbersError
from ..store.statistics import GRADIENT, PARTS, part_shapes
from .estimating import Kind
from .stability import Halves, said
from .sums import HALVES, Sums
from .sweeps import BATCHES, EIGENVALUES, EXAMPLES, INPUT, OUTPUT, key, linear_layers, vectors_of
from .work import Work

if TYPE_CHECKING:
    import torch

Shape = tuple[int, ...]


class Assembled:
    """What sums come to, a weight at a time.

    names: of the weights that have statistics: in the model's files → in the module, in the order of the first.
    """

    def __init__(self, work: Work, sums: Sums) -> None:
        """Take sums that are whole.

        Raises:
            MismatchError: the head sees no weight that the model's files have.
        """
        self.work, self.sums = work, sums
        self._linear = {} if work.how.kind == "diagonal" else linear_layers(work)
        self._counted = BATCHES if work.how.estimator == "batch_fisher" else EXAMPLES
        seen = [name for name in self._measurable() if self._last(name) in sums.held]
        self.names = dict(sorted((work.places[name], name) for name in seen if name in work.places))
        self._unnamed = sorted(name for name in seen if name not in work.places)
        if not self.names:
            raise MismatchError(
                f"the head of '{work.lesson.name}' sees no weight that the files of {work.model.name} have."
            )

    def _measurable(self) -> list[str]:
        """Return the parameters that this estimator is about."""
        return (
            list(self._linear) if self.work.how.kind == "gram" else [n for n, _ in self.work.module.named_parameters()]
        )

    def kind(self, name: str) -> Kind:
        """Return how the curvature of a parameter is stored."""
        return self.work.how.kind if name in self._linear else "diagonal"

    def _last(self, name: str) -> str:
        """Return the key of the sum that comes last: where it is, the parameter was reached."""
        last = {"diagonal": "", "gram": INPUT, "kronecker": OUTPUT, "eigen": EIGENVALUES}[self.kind(name)]
        return key(name, last)

    def shapes(self, file: str) -> dict[str, Shape]:
        """Return the parts that are kept of a weight, and their shapes."""
        name = self.names[file]
        turned = name in self._linear and self._linear[name].turned
        shape = tuple(self.work.module.get_parameter(name).shape)
        return part_shapes(self.kind(name), shape, turned=turned, gradient=self._has_gradient(name))

    def _has_gradient(self, name: str) -> bool:
        return key(name, GRADIENT) in self.sums.held

    def parts(self, file: str) -> dict[str, "torch.Tensor"]:
        """Return what is kept of a weight.

        Raises:
            NumbersError: NaN or Inf.
        """
        name = self.names[file]
        out = {part: self._part(name, part) for part in PARTS[self.kind(name)] if not part.endswith("_vectors")}
        if self.kind(name) == "eigen":
            outer, inner = vectors_of(self.sums, name)
            out |= {"output_vectors": outer, "input_vectors": inner}
        if self._has_gradient(name):
            out[GRADIENT] = self.sums.mean(key(name, GRADIENT), GRADIENT)
        if not all(bool(x.isfinite().all()) for x in out.values()):
            raise NumbersError(
                f"the curvature of {self.work.model.name} at '{file}' holds NaN or Inf: its weights overflow on "
                f"{self.work.lesson.examples.origin}. Look at the model, its head and the data."
            )
        return out

    def _part(self, name: str, part: str) -> "torch.Tensor":
        return self.sums.mean(key(name, part), self._over(name, part))

    def _over(self, name: str, part: str) -> str:
        """Return what a part is a mean over: examples, or positions that went into the layer."""
        return key(name, INPUT) if part == INPUT else self._counted

    def trace(self, file: str) -> float:
        """Return the trace of a weight's curvature."""
        name = self.names[file]
        if self.kind(name) == "gram":
            return self._outputs(name) * float(self._part(name, INPUT).double().trace())
        if self.kind(name) == "kronecker":
            return float(self._part(name, INPUT).double().trace()) * float(self._part(name, OUTPUT).double().trace())
        return float(self.sums.mean(self._last(name), self._counted).double().sum())

    def _outputs(self, name: str) -> int:
        layer = self._linear[name]
        return int(layer.module.weight.shape[1 if layer.turned else 0])

    def halves(self, file: str) -> Halves:
        """Return how the two halves of the examples compare; of eigenvalues, along the eigenvectors of both."""
        name = self.names[file]
        if self.kind(name) == "gram":
            return self._compared(name, INPUT).times(self._outputs(name))
        if self.kind(name) == "kronecker":
            return self._compared(name, INPUT) * self._compared(name, OUTPUT)
        return self._compared(name, EIGENVALUES if self.kind(name) == "eigen" else "")

    def _compared(self, name: str, part: str) -> Halves:
        first, second = (self.sums.half(key(name, part), self._over(name, part), half) for half in range(HALVES))
        return Halves.of(first, second)

    def facts(self) -> dict[str, Any]:
        """Return the trace, what it covers, the stability, and what has no statistics."""
        counts = self.sums.counts[self._counted]
        every = [self.work.places[n] for n in self._measurable() if n in self.work.places]
        traces = {file: self.trace(file) for file in self.names}
        return {
            "total": sum(traces.values()),
            "count": sum(self.work.module.get_parameter(name).numel() for name in self.names.values()),
            "traces": traces,
            "stability": said({file: self.halves(file) for file in self.names}, counts, len(self.work)),
            "unseen": sorted(set(every) - set(self.names)),
            "unnamed": self._unnamed,
        }
