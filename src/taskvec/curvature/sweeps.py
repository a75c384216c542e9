"""Passes over all examples: what each estimator adds up."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from . import cotangents
from .layers import Layer
from .per_example import Outer, PerExample, wide
from .sums import HALVES, Sums
from .work import Batch, Work

if TYPE_CHECKING:
    import torch

EXAMPLES, BATCHES = "examples", "batches"
"""What sums are means over; those of inputs, over positions that go into the layer."""

INPUT, OUTPUT, EIGENVALUES, GRADIENT = "input", "output", "eigenvalues", "gradient"


def key(name: str, part: str = "") -> str:
    """Return what a part of a parameter's sums is called."""
    return f"{name}#{part}" if part else name


class Sweep(Protocol):
    """One pass over all examples."""

    def open(self) -> AbstractContextManager[None]:
        """Make ready; afterwards the model is as before."""

    def visit(self, batch: Batch) -> None:
        """Add what a batch tells."""


class Squares:
    """Squares of each example's gradients.

    What is sent back decides the estimator: gradients for the examples' own labels (empirical Fisher), for drawn ones
    (Fisher), or a column for every label (GGN).
    """

    def __init__(self, work: Work, sums: Sums) -> None:
        """Take the work and what was added up before."""
        self.work, self.sums, self.watched = work, sums, work.found.watched

    @contextmanager
    def open(self) -> Iterator[None]:
        """See `Sweep`."""
        with self.work.plain(), self.watched.open():
            yield

    def visit(self, batch: Batch) -> None:
        """See `Sweep`."""
        halves = self.work.in_halves(batch)
        logits = self.watched.forward(lambda: self.work.logits(batch), len(batch), batch.mask)
        for cotangent, weight in sent_back(self.work, batch, logits):
            self.watched.backward(logits, cotangent, _adding(self, halves, weight))
        for half, examples in enumerate(halves):
            self.sums.count(EXAMPLES, half, len(examples))

    def add(self, name: str, part: PerExample, halves: Sequence["torch.Tensor"], weight: float) -> None:
        """Add the squares of one parameter's gradients."""
        shape = tuple(self.watched.parameters[name].shape)
        for half, examples in enumerate(halves):
            if len(examples):
                part.add_squares(self.sums.into(key(name), half, shape), examples, weight)


def _adding(sweep: Squares, halves: Sequence["torch.Tensor"], weight: float) -> Callable[[str, PerExample], None]:
    return lambda name, part: sweep.add(name, part, halves, weight)


class Factors(Squares):
    """The Kronecker factors of linear layers, and squares for all other parameters.

        A = mean over examples and positions of a aᵀ,      a: what goes into the layer; padding does not count
        B = mean over examples of Σ over positions g gᵀ,   g: the gradient of what comes out

    This is K-FAC in the expand setting: positions count as if they were independent (Eschenhagen et al. 2023,
    arXiv:2311.00636, §3.1). With one position an example it is that of Martens and Grosse (2015, arXiv:1503.05671).
    """

    def __init__(self, work: Work, sums: Sums) -> None:
        """Take the work and what was added up before."""
        super().__init__(work, sums)
        self.linear = linear_layers(work)

    def visit(self, batch: Batch) -> None:
        """See `Sweep`."""
        self.watched.take_input = adding_inputs(self.sums, self.work.in_halves(batch), self.linear)
        super().visit(batch)

    def add(self, name: str, part: PerExample, halves: Sequence["torch.Tensor"], weight: float) -> None:
        """Add the products of one layer's gradients, or the squares of another parameter's."""
        if name not in self.linear or not isinstance(part, Outer):
            super().add(name, part, halves, weight)
            return
        for half, examples in enumerate(halves):
            g = wide(upright(part, self.linear[name])[0][examples]).flatten(0, 2)
            self.sums.into(key(name, OUTPUT), half, (g.shape[1], g.shape[1])).addmm_(g.T, g, alpha=weight)


class Eigenvalues(Squares):
    """Squares of each example's gradients along the eigenvectors of K-FAC's factors, after `Factors`.

        values = mean over examples of (Q_Bᵀ G Q_A)²,      G: an example's gradient, upright (out, in)

    Source: George et al. 2018, arXiv:1806.03884, §3.
    """

    def __init__(self, work: Work, sums: Sums) -> None:
        """Take the work and the factors that were added up before."""
        super().__init__(work, sums)
        self.linear = linear_layers(work)
        self.vectors = {name: vectors_of(sums, name) for name in self.linear if key(name, OUTPUT) in sums.held}

    def visit(self, batch: Batch) -> None:
        """See `Sweep`. The examples were counted by the first sweep."""
        counted = list(self.sums.counts[EXAMPLES])
        super().visit(batch)
        self.sums.counts[EXAMPLES] = counted

    def add(self, name: str, part: PerExample, halves: Sequence["torch.Tensor"], weight: float) -> None:
        """Add the squares of one layer's rotated gradients; the other parameters are done."""
        if name not in self.vectors or not isinstance(part, Outer):
            return
        outer, inner = self.vectors[name]
        g, a = upright(part, self.linear[name])
        rotated = Outer(wide(g) @ outer, wide(a) @ inner, (len(outer), len(inner)))
        for half, examples in enumerate(halves):
            if len(examples):
                rotated.add_squares(self.sums.into(key(name, EIGENVALUES), half, rotated.shape), examples, weight)


class Grams:
    """Products of what goes into linear layers, as `Factors` adds them up; nothing is sent back."""

    def __init__(self, work: Work, sums: Sums) -> None:
        """Take the work and what was added up before."""
        self.work, self.sums, self.watched = work, sums, work.found.watched
        self.linear = linear_layers(work)

    @contextmanager
    def open(self) -> Iterator[None]:
        """See `Sweep`."""
        import torch

        with self.work.plain(), self.watched.open(), torch.no_grad():
            yield

    def visit(self, batch: Batch) -> None:
        """See `Sweep`."""
        halves = self.work.in_halves(batch)
        self.watched.take_input = adding_inputs(self.sums, halves, self.linear)
        self.watched.forward(lambda: self.work.logits(batch), len(batch), batch.mask)
        for half, examples in enumerate(halves):
            self.sums.count(EXAMPLES, half, len(examples))


class Slopes:
    """The gradient of the mean loss over all examples, by autograd."""

    def __init__(self, work: Work, sums: Sums) -> None:
        """Take the work and what was added up before."""
        self.work, self.sums = work, sums
        self.parameters = dict(work.module.named_parameters())

    @contextmanager
    def open(self) -> Iterator[None]:
        """See `Sweep`."""
        self.work.module.requires_grad_(True)
        try:
            with self.work.plain():
                yield
        finally:
            self.work.module.requires_grad_(False)
            self.work.module.zero_grad()

    def visit(self, batch: Batch) -> None:
        """See `Sweep`."""
        for name, slope in self.slopes(batch, "sum"):
            self.sums.into(key(name, GRADIENT), 0, tuple(slope.shape), halves=1).add_(slope)
        self.sums.count(GRADIENT, 0, len(batch))

    def slopes(self, batch: Batch, reduction: str) -> Iterator[tuple[str, "torch.Tensor"]]:
        """Yield each parameter's gradient of a batch's loss."""
        import torch

        loss = torch.nn.functional.cross_entropy(self.work.logits(batch), batch.answers, reduction=reduction)
        loss.backward()  # type: ignore[no-untyped-call]
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                yield name, wide(parameter.grad)
                parameter.grad = None


class BatchSquares(Slopes):
    """Squares of the gradients of batches' mean losses; the batches take turns to be of one half or the other."""

    def visit(self, batch: Batch) -> None:
        """See `Sweep`."""
        half = sum(self.sums.counts.get(BATCHES, [])) % HALVES
        for name, slope in self.slopes(batch, "mean"):
            self.sums.into(key(name), half, tuple(slope.shape)).add_(slope.square())
        self.sums.count(BATCHES, half, 1)


Make = Callable[[Work, Sums], Sweep]

SWEEPS: dict[str, tuple[Make, ...]] = {
    "empirical_fisher": (Squares,),
    "batch_fisher": (BatchSquares,),
    "fisher": (Squares,),
    "ggn": (Squares,),
    "kfac": (Factors,),
    "ekfac": (Factors, Eigenvalues),
    "gram": (Grams,),
}
"""Estimator → its passes over all examples, one after the other."""


def sweeps_of(work: Work) -> tuple[Make, ...]:
    """Return the passes that a job makes."""
    return SWEEPS[work.how.estimator] + ((Slopes,) if work.how.gradient else ())


def passes_of(work: Work) -> int:
    """Return how often each batch of `Squares` is sent back."""
    if work.how.estimator == "ggn":
        return len(work.lesson.head.labels)
    return work.how.draws if work.how.drawn else 1


def sent_back(work: Work, batch: Batch, logits: "torch.Tensor") -> Iterator[cotangents.Cotangent]:
    """Yield what an estimator sends back through a batch."""
    if work.how.estimator == "ggn":
        return cotangents.of_every_label(logits)
    if work.how.drawn:
        return cotangents.of_drawn(logits, work.chances[batch.places])
    return cotangents.of_answers(logits, batch.answers)


def linear_layers(work: Work) -> dict[str, Layer]:
    """Return the linear layers by their weights' names; without weights that only autograd tells."""
    watched = work.found.watched
    return {a.weight: a for a in watched.layers if a.kind == "linear" and a.weight not in watched.single}


def adding_inputs(sums: Sums, halves: Sequence["torch.Tensor"], linear: dict[str, Layer]) -> Any:
    """Return what adds a aᵀ of what goes into linear layers."""

    def take(layer: Layer, x: "torch.Tensor", kept: "torch.Tensor | None") -> None:
        if layer.weight not in linear:
            return
        for half, examples in enumerate(halves):
            a = wide(x[examples])
            a = a.flatten(0, 1) if kept is None else a[kept[examples]]
            sums.into(key(layer.weight, INPUT), half, (a.shape[1], a.shape[1])).addmm_(a.T, a)
            sums.count(key(layer.weight, INPUT), half, len(a))

    return take


def upright(part: Outer, layer: Layer) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return what comes back to a linear layer and what goes in, whichever way its weight is stored."""
    return (part.right, part.left) if layer.turned else (part.left, part.right)


def vectors_of(sums: Sums, name: str) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return the eigenvectors of a layer's factors, Q_B and Q_A, as columns."""
    import torch

    if name not in sums.vectors:
        factors = [sums.held[key(name, side)].sum(0) for side in (OUTPUT, INPUT)]
        outer, inner = (torch.linalg.eigh(factor).eigenvectors for factor in factors)
        sums.vectors[name] = outer, inner
    return sums.vectors[name]
