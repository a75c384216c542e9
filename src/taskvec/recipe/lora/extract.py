"""An adapter from two models: the best low-rank factors of what fine-tuning changed, layer by layer."""

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._version import __version__
from ...errors import RecipeError
from ...ops.floats import narrow, widen
from ...progress import Progress, Silent
from ...store.layout import OutTensor
from ...store.peft.parts import PREFIX
from ...store.peft.write import OutLora, adapter_config, task_of
from ...store.sample import fingerprint
from ..finish import versions
from ..inputs import check_not_an_input
from ..merge import Receipt, check_output
from .decompose import BLOCK, Decomposed, decompose, error_of, factors, in_parallel, norm_of
from .folder import AdapterFile, AdapterFolder, layout
from .options import Options
from .pair import Layer, Pair
from .ranks import rank_by_energy, ranks_by_budget

REPORT = "extraction.json"
WORKERS = 2
"""Layers that are in memory at a time, at most."""


def extract_lora(
    base: str | Path,
    finetuned: str | Path,
    out: str | Path,
    *,
    rank: int | None = None,
    energy: float | None = None,
    budget: int | str | None = None,
    max_rank: int | None = None,
    sv_epsilon: float = 0.0,
    embeddings: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    save_rest: bool = False,
    save_modules: Sequence[str] = (),
    distribute_scale: bool = True,
    dtype: str = "float32",
    prefix: str = "",
    threads: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Receipt:
    """Write a PEFT adapter whose B A is nearest to what fine-tuning added to each matrix of a base.

        Δ = W_finetuned − W_base = U diag(s) Vᵀ
        B = U_r diag(√s_r),  A = diag(√s_r) V_rᵀ,  scale 1        nearest of rank r (Eckart–Young)

    The rank is the same number everywhere, or in each layer the smallest that holds a share of Σ s², or the largest
    squares a byte over all layers until the file is full. The error of each layer, ‖Δ − B A‖ / ‖Δ‖, is measured on what
    is stored. Layers that did not change get no factors. Biases, norms and whatever else moved and is no matrix of a
    layer is reported, and with `save_rest` stored whole.

    Args:
        base: the model; a path, a name on the hub, or model+adapter.
        finetuned: the same model fine-tuned, of the same names, or an adapter of the base.
        out: the folder to write.
        rank: the rank of every layer; a smaller matrix has its own.
        energy: or the share of the squared singular values of a layer that is kept, in (0, 1].
        budget: or the bytes of the file of tensors, such as '50MB'.
        max_rank: the largest rank of a layer, whatever energy or budget allow.
        sv_epsilon: singular values up to this are left out.
        embeddings: embeddings get factors, too.
        include: regular expressions; only modules in whose name one is found get factors.
        exclude: regular expressions of modules that are not looked at.
        save_rest: store whole what moved and gets no factors.
        save_modules: modules to store whole, by name or the end of it.
        distribute_scale: give the root of each singular value to both factors; else A has it all.
        dtype: what factors are stored as.
        prefix: what is put before the base's names, where PEFT's model has more of them, e.g. 'transformer.'.
        threads: layers worked on at a time, at most 2.
        force: replace an existing output.
        progress: told how far it is.

    Raises:
        RecipeError: numbers that make no sense, nothing to extract.
        StoreError: a model that cannot be read, models that do not belong together.
        OutputError: the output exists, or cannot be written.
        NumbersError: NaN or Inf in a difference.
    """
    options = Options(
        rank, energy, budget, max_rank, sv_epsilon, embeddings, tuple(include), tuple(exclude), save_rest,
        tuple(save_modules), distribute_scale, dtype, prefix,
    )  # fmt: skip
    options.check()
    place = Path(os.path.abspath(out))
    check_output(place, force)
    pair = Pair(base, finetuned, options.excluded)
    check_not_an_input(place, [*pair.base.on_disk, *pair.tuned.on_disk])
    workers = max(1, min(WORKERS, threads or os.cpu_count() or 1))
    with AdapterFolder(place) as folder:
        facts = Extraction(pair, options, folder, workers, progress or Silent()).run(str(base), str(finetuned))
    return Receipt(place, facts)


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

    def run(self, base: str, finetuned: str) -> dict[str, Any]:
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
        facts = self._facts(made, moved, errors, base, finetuned)
        return self.folder.finish(self._config(list(loras.values()), base), REPORT, facts)

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

    def _config(self, loras: list[OutLora], base: str) -> dict[str, Any]:
        prefix, layers = self.options.prefix, {layer.module for layer in self.layers}
        modules = {prefix + name.rpartition(".")[0] for name in self.pair.base.tensors}
        whole = sorted(
            {prefix + name.rpartition(".")[0] for name in self.whole if name.rpartition(".")[0] not in layers}
        )
        biases = any(name.rpartition(".")[0] in layers for name in self.whole)
        tied = sorted({prefix + twin for name in self.whole if (twin := self.pair.twin(name))})
        task = task_of(self.pair.base.config)
        return adapter_config(loras, modules, base_name=base, whole=whole, tied=tied, biases=biases, task_type=task)

    def _facts(
        self, made: list[Decomposed], moved: dict[str, float], errors: dict[str, float], base: str, finetuned: str
    ) -> dict[str, Any]:
        rest = {name: norm for name, norm in moved.items() if name not in self.whole}
        rest |= {one.layer.name: one.norm for one in made if one.norm and not one.rank}
        total = sum(one.norm**2 for one in made) + sum(norm**2 for norm in moved.values())
        lost = sum((errors[one.layer.name] * one.norm) ** 2 for one in made if one.rank)
        left = sum(norm**2 for norm in rest.values())
        return {
            "taskvec": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "base": {"path": base, "fingerprint": fingerprint(self.pair.base)},
            "finetuned": {"path": finetuned, "fingerprint": fingerprint(self.pair.identity)},
            "options": self.options.data,
            "layers": [self._fact(one, errors[one.layer.name]) for one in made if one.rank],
            "unchanged": [one.layer.name for one in made if not one.norm],
            "whole": self.whole,
            "rest": [
                {"tensor": name, "norm": norm, "share": norm / total**0.5}
                for name, norm in sorted(rest.items(), key=lambda item: -item[1])
            ],
            "excluded": [name for name in self.pair.base.tensors if self.pair.excluded(name)],
            "error": {
                "of_layers": (lost / sum(one.norm**2 for one in made if one.rank)) ** 0.5,
                "of_everything": ((lost + left) / total) ** 0.5,
            },
            "notes": self._notes(),
            "seconds": round(time.monotonic() - self.began, 3),
            "versions": versions(),
        }

    def _fact(self, one: Decomposed, error: float) -> dict[str, Any]:
        return {
            "tensor": one.layer.name,
            "shape": list(one.layer.shape),
            "kind": "embedding" if one.layer.embedding else "linear",
            "rank": one.rank,
            "norm": one.norm,
            "error": error,
            "best": min(one.best(), error),  # a small rest of large squares is known to half the digits
            "bytes": one.rank * self._cost(one.layer),
        }

    def _notes(self) -> list[str]:
        twins = [layer for layer in self.layers if self.pair.twin(layer.name)]
        return [
            f"'{layer.module}' is tied to the output head, which takes the same change (ensure_weight_tying). PEFT "
            f"computes with that as it should; its merge_and_unload (0.21) adds the change twice."
            for layer in twins
        ]


def _of_module(name: str) -> bool:
    """Tell what a module holds under the usual names, which PEFT can store with it."""
    return name.rpartition(".")[2] in ("weight", "bias")
