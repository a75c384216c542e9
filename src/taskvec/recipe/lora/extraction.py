"""The work of an extraction: layers taken apart, ranks chosen, factors written and measured."""

import time
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import RecipeError
from ...ops.floats import narrow, widen
from ...progress import Progress
from ...store.layout import OutTensor
from ...store.peft.parts import PREFIX
from ...store.peft.write import OutLora, adapter_config, task_of
from .decompose import BLOCK, Decomposed, decompose, error_of, factors, in_parallel, norm_of
from .folder import AdapterFile, AdapterFolder, layout
from .options import Options
from .pair import Layer, Pair
from .ranks import rank_by_energy, ranks_by_budget
from .report import report

REPORT = "extraction.json"


class Extraction:
    """The work of `extract_lora`."""

    def __init__(self, pair: Pair, options: Options, folder: AdapterFolder, workers: int, progress: Progress) -> None:
        """Sort the tensors into those that get factors and the others."""
        self.pair, self.options, self.folder = pair, options, folder
        self.workers, self.progress = workers, progress
        self.began = time.monotonic()
        found = {name: pair.layer(name) for name in pair.floats()}
        self.layers = [layer for layer in found.values() if layer and self._wanted(layer)]
        chosen = {layer.name for layer in self.layers}
        self.others = [name for name in found if name not in chosen]
        self._check_names(found)
        self.whole: list[str] = []

    def _wanted(self, layer: Layer) -> bool:
        include = self.options.included
        here = not include or any(pattern.search(layer.module) for pattern in include)
        return here and (self.options.embeddings or not layer.embedding) and not self.options.saves(layer.module)

    def _check_names(self, found: Any) -> None:
        for name in self.options.save_modules:
            if not any(tensor.rpartition(".")[0].endswith(name) for tensor in found):
                raise RecipeError(f"--save-module {name!r} is no module of {self.pair.base.path}.")
        if not self.layers:
            first = next((layer.module for layer in found.values() if layer), None)
            hint = f" The first matrix is that of '{first}'." if first else ""
            raise RecipeError(f"no linear layer of {self.pair.base.path} is chosen.{hint}")

    def run(self) -> dict[str, Any]:
        """Do it, and return the report."""
        made = self._decomposed()
        moved = {name: norm for name in self.others if (norm := norm_of(self.pair, name))}
        self.whole = self._stored_whole(moved)
        self._choose([one for one in made if one.norm])
        kept = [one for one in made if one.rank]
        if not kept:
            self._refuse_nothing(made)
        loras = {one.layer.name: self._lora(one) for one in kept}
        whole = [tensor for name in self.whole for tensor in self._out(name)]
        with self.folder.begin(list(loras.values()), self.options.code, whole) as file:
            errors = self._write(kept, loras, file)
            for name in self.whole:
                self._copy(name, file)
        costs = {layer.name: self._cost(layer) for layer in self.layers}
        facts = report(self.pair, self.options, made, moved, self.whole, errors, costs, self.began)
        return self.folder.finish(self._config(list(loras.values())), REPORT, facts)

    def _decomposed(self) -> list[Decomposed]:
        """Take all layers apart, at most `workers` at a time."""
        options = self.options
        top = options.rank if options.rank else None
        cap = min(options.max_rank or options.rank or 10**9, options.rank or 10**9)

        def wanted(layer: Layer, values: npt.NDArray[np.float64]) -> int:
            count = int(np.count_nonzero(values > options.sv_epsilon))
            if options.energy is not None:
                count = min(count, rank_by_energy(values, options.energy))
            if options.bytes is not None:
                count = min(count, options.bytes // self._cost(layer))
            return min(count, cap)

        def work(layer: Layer) -> Decomposed:
            return decompose(self.pair, layer, self.folder.spool, top, partial(wanted, layer))

        made = {}
        done = 0
        self.progress.begin("decomposing", sum(layer.bytes for layer in self.layers))
        try:
            for layer, one in in_parallel(work, self.layers, self.workers):
                one.rank = one.left.shape[0] if one.left else 0
                made[layer.name] = one
                done += layer.bytes
                self.progress.advance(done, layer.module)
        finally:
            self.progress.end()
        return [made[layer.name] for layer in self.layers]

    def _cost(self, layer: Layer) -> int:
        """Return the bytes that one rank of a layer takes."""
        size = OutTensor("", self.options.code, layer.shape[:1]).nbytes // layer.shape[0]
        return size * sum(layer.sides) * (2 if self.pair.twin(layer.name) else 1)

    def _choose(self, changed: list[Decomposed]) -> None:
        """Give each layer its rank, where it depends on the others."""
        if self.options.bytes is None or not changed:
            return
        whole = [tensor for name in self.whole for tensor in self._out(name)]
        header = len(layout([self._lora(one) for one in changed], self.options.code, whole).header)
        left = self.options.bytes - header - sum(tensor.nbytes for tensor in whole)
        costs = [self._cost(one.layer) for one in changed]
        ranks = ranks_by_budget([one.values[: one.rank] for one in changed], costs, left)
        for one, rank in zip(changed, ranks, strict=True):
            one.rank = rank
        if not any(ranks):
            fixed = self.options.bytes - left
            raise RecipeError(
                f"--budget {self.options.budget} is too small: one rank of the smallest layer takes {min(costs)} "
                f"bytes, the header and what is stored whole {fixed}. Rank 1 everywhere: --budget {fixed + sum(costs)}."
            )

    def _refuse_nothing(self, made: list[Decomposed]) -> None:
        if not any(one.norm for one in made):
            raise RecipeError(f"none of the {len(made)} chosen layers changed: there is nothing to extract.")
        largest = max(float(one.values[0]) for one in made if one.norm)
        raise RecipeError(
            f"--sv-epsilon {self.options.sv_epsilon:g} leaves nothing: the largest singular value is {largest:.3g}."
        )

    def _lora(self, one: Decomposed) -> OutLora:
        rows, columns = one.layer.sides
        twin = self.pair.twin(one.layer.name)
        return OutLora(
            self.options.prefix + one.layer.module,
            one.rank,
            rows,
            (columns,),
            one.layer.embedding,
            one.layer.turned,
            self.options.prefix + twin if twin else None,
        )

    def _write(self, kept: list[Decomposed], loras: dict[str, OutLora], file: AdapterFile) -> dict[str, float]:
        """Write the factors, and measure what they lack."""
        code, spool = self.options.code, self.folder.spool
        kept_of = {one.layer.name: one for one in kept}

        def work(item: tuple[Layer, Any, Any]) -> float:
            layer, a, b = item
            stored = [widen(narrow(x.reshape(-1), code), code).reshape(x.shape) for x in (a, b)]
            return error_of(self.pair, layer, np.asarray(stored[0]), np.asarray(stored[1]), kept_of[layer.name].norm)

        def items() -> Any:
            for one in kept:
                a, b = factors(one, spool, self.options.distribute_scale)
                file.lora(loras[one.layer.name], a, b)
                yield one.layer, a, b

        errors: dict[str, float] = {}
        done = 0
        self.progress.begin("writing and measuring", sum(one.layer.bytes for one in kept))
        try:
            for (layer, _, _), error in in_parallel(work, items(), self.workers):
                errors[layer.name] = error
                done += layer.bytes
                self.progress.advance(done, layer.module)
        finally:
            self.progress.end()
        return errors

    def _stored_whole(self, moved: dict[str, float]) -> list[str]:
        """Return what is stored as it is: modules asked for, and with `save_rest` all that moved."""
        layers = {layer.module for layer in self.layers}
        modules = {name.rpartition(".")[0] for name in (moved if self.options.save_rest else ()) if _of_module(name)}
        modules |= {name.rpartition(".")[0] for name in self.others if self.options.saves(name.rpartition(".")[0])}
        whole = [n for n in self.others if n.rpartition(".")[0] in modules - layers and _of_module(n)]
        biases = [n for n in moved if self.options.save_rest and n.rpartition(".")[0] in layers]
        return [*whole, *biases]

    def _out(self, name: str) -> list[OutTensor]:
        """Return what a tensor that is stored whole is called in the file; PEFT wants a tied head, too."""
        info = self.pair.tuned.info(name)
        layers = {layer.module for layer in self.layers}
        module, _, leaf = name.rpartition(".")
        places = [f"{module}.base_layer.{leaf}" if module in layers else name]
        places += [f"{twin}.{leaf}"] if (twin := self.pair.twin(name)) else []
        return [OutTensor(f"{PREFIX}{self.options.prefix}{place}", info.dtype, info.shape) for place in places]

    def _copy(self, name: str, file: AdapterFile) -> None:
        info = self.pair.tuned.info(name)
        for start in range(0, info.count, BLOCK):
            raw = self.pair.tuned.files.raw(info, start, min(start + BLOCK, info.count))
            for out in self._out(name):
                file.raw(out.name, start, raw)

    def _config(self, loras: list[OutLora]) -> dict[str, Any]:
        prefix, layers = self.options.prefix, {layer.module for layer in self.layers}
        modules = {prefix + name.rpartition(".")[0] for name in self.pair.base.tensors}
        whole = sorted(
            {prefix + name.rpartition(".")[0] for name in self.whole if name.rpartition(".")[0] not in layers}
        )
        biases = any(name.rpartition(".")[0] in layers for name in self.whole)
        tied = sorted({prefix + twin for name in self.whole if (twin := self.pair.twin(name))})
        task = task_of(self.pair.base.config)
        return adapter_config(
            loras, modules, base_name=self.pair.names["base"], whole=whole, tied=tied, biases=biases, task_type=task
        )


def _of_module(name: str) -> bool:
    """Tell what a module holds under the usual names, which PEFT can store with it."""
    return name.rpartition(".")[2] in ("weight", "bias")
