"""Models merged block by block, each by what comes out of the merged blocks before it."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from ..errors import MismatchError
from ..merge.curvature import Measured
from ..merge.matrices import role_of
from ..merge.methods.regmean import regmean
from ..ops.metric import Kronecker
from ..progress import Progress
from ..store import Checkpoint
from ..store.layers import layer_of
from .estimate import new_sums
from .layers import Layer
from .sums import HALVES
from .sweeps import EXAMPLES, INPUT, adding_inputs, key, linear_layers
from .watched import TakeInput
from .work import Batch, Work

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Block:
    """Layers that are merged together. linear: the weights of linear layers. parameters: everything of the block."""

    linear: tuple[str, ...]
    parameters: tuple[str, ...]


class Enough(Exception):
    """Nothing behind this point is wanted."""


class Blockwise:
    """A model in hand whose blocks become merged, one after the other, and each task's sums.

    sums: of what goes into linear layers, for each task.
    """

    def __init__(self, works: Sequence[Work], checkpoints: Sequence[Checkpoint], off_diagonal: float) -> None:
        """Take the tasks, all with the model in hand, and the weights of their own models.

        Raises:
            MismatchError: a model lacks a weight, has it in another shape, or runs a layer several times.
        """
        self.works, self.checkpoints, self.off_diagonal = works, checkpoints, off_diagonal
        self.module, self._files = works[0].module, works[0].places
        self.sums = [new_sums(work) for work in works]
        self._linear = linear_layers(works[0])
        for name, file in self._files.items():
            self._check(name, file)
        self.blocks = self._blocks()

    def run(self, progress: Progress) -> None:
        """Merge block after block."""
        inside = {name for block in self.blocks for name in block.parameters}
        for name in self._files.keys() - inside:
            self._put(name, self._merged(name))
        progress.begin("RegMean++", len(self.blocks) * len(self.works), "passes")
        try:
            for number, block in enumerate(self.blocks):
                for task, _ in enumerate(self.works):
                    for name in block.parameters:
                        self._put(name, self._own(task, name))
                    self._gather(task, block)
                    progress.advance(number * len(self.works) + task + 1)
                for name in block.parameters:
                    self._put(name, self._merged(name))
        finally:
            progress.end()
        for work, sums in zip(self.works, self.sums, strict=True):
            sums.counts[EXAMPLES] = [int((work.halves == half).sum()) for half in range(HALVES)]

    def _check(self, name: str, file: str) -> None:
        shape = tuple(self.module.get_parameter(name).shape)
        for checkpoint in self.checkpoints:
            found = checkpoint.resolve(file)
            if found is None or tuple(found.shape) != shape:
                has = f"lacks '{file}'" if found is None else f"has '{file}' of {tuple(found.shape)}, not {shape}"
                raise MismatchError(f"{checkpoint.path} {has}. Give models of one form.")

    def _blocks(self) -> list[Block]:
        """Return the blocks in the order in which they run."""
        order = self._order()
        if twice := [name for name in order if order.count(name) > 1]:
            raise MismatchError(f"'{twice[0]}' runs several times, so no block comes before it. Use --estimator gram.")
        blocks = []
        for where, names in groupby(order, key=layer_of):
            linear = tuple(names)
            own = {n for name in linear for n in self._linear[name].parameters.values()}
            own |= {name for name in self._files if where is not None and layer_of(name) == where}
            blocks.append(Block(linear, tuple(sorted(own & self._files.keys()))))
        return blocks

    def _order(self) -> list[str]:
        """Return the linear layers in the order in which they run."""
        order: list[str] = []

        def note(layer: Layer, x: "torch.Tensor", kept: "torch.Tensor | None") -> None:
            if layer.weight in self._linear:
                order.append(layer.weight)

        work = self.works[0]
        with _watching(work):
            _run(work, work.batch(work.batches[0]), note)
        return order

    def _gather(self, task: int, block: Block) -> None:
        """Add up what goes into a block's linear layers on a task."""
        work = self.works[task]
        layers = linear_layers(work)
        linear = {name: layers[name] for name in block.linear}
        with _watching(work):
            for places in work.batches:
                batch = work.batch(places)
                with suppress(Enough):
                    _run(work, batch, _until(linear, adding_inputs(self.sums[task], work.in_halves(batch), linear)))

    def _own(self, task: int, name: str) -> "torch.Tensor":
        """Return a weight of a task's own model."""
        return self.checkpoints[task][self._files[name]].float()

    def _merged(self, name: str) -> "torch.Tensor":
        """Return a weight as `method: regmean` would merge it, from what is known of it."""
        import torch

        stack = torch.stack([self._own(task, name) for task in range(len(self.works))]).numpy()
        turned = name in self._linear and self._linear[name].turned
        role = role_of(stack.shape[1:], self._files[name], turned)
        known = all(key(name, INPUT) in sums.held for sums in self.sums)
        curvature = [self._measured(task, name) for task in range(len(self.works))] if known else None
        ones = np.ones(len(self.works), np.float32)
        merged = regmean(stack, ones, off_diagonal=self.off_diagonal, role=role, curvature=curvature)
        return torch.from_numpy(np.asarray(merged, dtype=np.float32))

    def _measured(self, task: int, name: str) -> Measured:
        """Return a task's Gram matrix, as a metric on the weight as it is stored."""
        gram = self.sums[task].mean(key(name, INPUT), key(name, INPUT)).float().cpu().numpy()
        turned = self._linear[name].turned
        return Measured(Kronecker(gram, None) if turned else Kronecker(None, gram), 1.0)

    def _put(self, name: str, values: "torch.Tensor") -> None:
        self.module.get_parameter(name).data.copy_(values)


def _watching(work: Work) -> AbstractContextManager[object]:
    """Watch a model without gradients."""
    import torch

    undo = ExitStack()
    for context in (work.plain(), work.found.watched.open(), torch.no_grad()):
        undo.enter_context(context)
    return undo


def _run(work: Work, batch: Batch, take: TakeInput) -> None:
    """Run a batch, and hand over what goes into linear layers."""
    watched = work.found.watched
    watched.take_input = take
    watched.forward(lambda: work.logits(batch), len(batch), batch.mask)


def _until(names: Collection[str], add: TakeInput) -> TakeInput:
    """Return what hands over until every one of some layers has run, and then stops the run."""
    left = set(names)

    def take(layer: Layer, x: "torch.Tensor", kept: "torch.Tensor | None") -> None:
        add(layer, x, kept)
        left.discard(layer.weight)
        if not left:
            raise Enough

    return take
