"""A base and what was fine-tuned from it, opened and compared: which layers get factors, which are left."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import MismatchError, NumbersError
from ...ops.floats import nonfinite
from ...store.adapter import open_adapter, open_applied, open_model
from ...store.checkpoint import OUTPUT_HEADS
from ...store.dtypes import is_float
from ...store.peft.changes import CONV1D_LAYERS, CONV1D_MODELS
from ...store.peft.write import HEAD
from ...store.taskvector import Difference, Saved, Source, adapter_on, is_task_vector
from ..inputs import EMBEDDINGS

F32 = npt.NDArray[np.float32]
EMBEDDING = re.compile(
    r"(.*_)?embeddings?|embed_(?!out$).*|embed|wte|wpe|shared|relative_attention_bias|tokens_embed|positions_embed"
)
"""The last part of the name of a module that looks up rows."""


@dataclass(frozen=True)
class Layer:
    """A matrix that changed or may have: of a linear layer, or an embedding.

    turned: the base stores it (in, out).
    """

    name: str
    shape: tuple[int, int]
    embedding: bool
    turned: bool

    @property
    def module(self) -> str:
        """The module that it is the weight of."""
        return self.name.removesuffix(".weight")

    @property
    def swapped(self) -> bool:
        """Whether A and B make the transpose of what is stored."""
        return self.embedding or self.turned

    @property
    def sides(self) -> tuple[int, int]:
        """Outputs and inputs: rows of B and columns of A."""
        return self.shape[::-1] if self.swapped else self.shape

    @property
    def bytes(self) -> int:
        """Bytes of the matrix in float32."""
        return 4 * self.shape[0] * self.shape[1]


class Pair:
    """Two models whose difference is read piece by piece."""

    def __init__(self, base: str | Path, finetuned: str | Path, exclude: Sequence[re.Pattern[str]] = ()) -> None:
        """Open both; `finetuned` may be a model, a model+adapter, or an adapter of the base.

        Raises:
            RecipeError: the adapter of a sum is none.
            StoreError: one cannot be read.
            MismatchError: they do not belong together, in more than what is excluded.
        """
        self.base = open_model(base)
        self.exclude = exclude
        if adapter := adapter_on(str(finetuned), self.base):
            self.tuned = open_applied(adapter, self.base)
            self.identity = open_adapter(adapter, self.base)
            self._source: Source = Saved(self.identity)
        else:
            self.tuned = self.identity = open_model(finetuned)
            self._source = Difference(self.base, self.tuned)
        for model, path in ((self.base, base), (self.tuned, finetuned)):
            if is_task_vector(model):
                raise MismatchError(f"{path} is a task vector, the difference of two models. Give the models.")
        self.names = {"base": str(base), "tuned": str(finetuned)}
        self._check()

    def excluded(self, name: str) -> bool:
        """Tell whether a tensor is left out."""
        module = name.rpartition(".")[0]
        return any(pattern.search(module) for pattern in self.exclude)

    def _check(self) -> None:
        base, tuned = self.names["base"], self.names["tuned"]
        hint = "To leave it out, type --exclude-regex '{}'."
        for name, info in self.base.tensors.items():
            if self.excluded(name):
                continue
            remedy = hint.format(re.escape(name.rpartition(".")[0]))
            other = self.tuned.resolve(name)
            if other is None:
                raise MismatchError(f"{tuned} lacks '{name}', which {base} has. {remedy}")
            if other.shape != info.shape:
                rows = info.shape[1:] == other.shape[1:] and any(part in name for part in EMBEDDINGS)
                why = "Their vocabularies differ, and an adapter adds no rows. " if rows else ""
                raise MismatchError(f"'{name}' is {info.shape} in {base} but {other.shape} in {tuned}. {why}{remedy}")
            if is_float(info.dtype) != is_float(other.dtype):
                raise MismatchError(f"'{name}' is {info.dtype} in {base} but {other.dtype} in {tuned}. {remedy}")
        for name in self.tuned.tensors:
            if self.base.resolve(name) is None and not self.excluded(name):
                remedy = hint.format(re.escape(name.rpartition(".")[0]))
                raise MismatchError(f"{tuned} has '{name}', which {base} lacks. {remedy}")
        self._check_heads(hint)

    def _check_heads(self, hint: str) -> None:
        """Refuse an output head of the fine-tuned model's own where the base ties it to the embedding."""
        for name in OUTPUT_HEADS:
            tied = self.base.tied_to(name)
            if name in self.base.tensors or tied is None or name not in self.tuned.tensors or self.excluded(name):
                continue
            head, embedding = self.tuned.info(name), self.tuned.info(tied)
            files = self.tuned.files
            if head.shape != embedding.shape or not np.array_equal(files.raw(head), files.raw(embedding)):
                raise MismatchError(
                    f"{self.names['tuned']} has a '{name}' of its own, which {self.names['base']} ties to '{tied}': "
                    f"no adapter changes one without the other. {hint.format(re.escape(name.rpartition('.')[0]))}"
                )

    def floats(self) -> Iterator[str]:
        """Yield the names of all float tensors that are compared."""
        return (n for n, i in self.base.tensors.items() if is_float(i.dtype) and not self.excluded(n))

    def layer(self, name: str) -> Layer | None:
        """Return the matrix of a linear layer or an embedding; None for anything else."""
        info = self.base.tensors[name]
        if len(info.shape) != 2 or not name.endswith(".weight") or 0 in info.shape:
            return None
        last = name.removesuffix(".weight").rpartition(".")[2]
        embedding = EMBEDDING.fullmatch(last) is not None
        turned = self.base.config.get("model_type") in CONV1D_MODELS and last in CONV1D_LAYERS
        return Layer(name, (info.shape[0], info.shape[1]), embedding, turned)

    def twin(self, name: str) -> str | None:
        """Return the output head that is tied to an embedding, and so takes its change."""
        tied = self.base.tied_to(f"{HEAD}.weight") == name and f"{HEAD}.weight" not in self.base.tensors
        return HEAD if tied else None

    def rows(self, layer: Layer, start: int, stop: int) -> F32:
        """Return rows of the difference as the base stores it; see `entries`."""
        columns = layer.shape[1]
        part = self.entries(layer.name, start * columns, stop * columns)
        return part.reshape(-1, columns)

    def entries(self, name: str, start: int, stop: int) -> F32:
        """Return entries of a difference, flat.

        Raises:
            NumbersError: some are NaN or Inf.
        """
        part = self._source.entries(name, start, stop)
        if bad := nonfinite(part):
            raise NumbersError(
                f"'{name}' differs by NaN or Inf in {bad} entries of {self.names['tuned']} and {self.names['base']}. "
                f"Mend the models, or type --exclude-regex '{re.escape(name.rpartition('.')[0])}'."
            )
        return part

    def forget(self, name: str) -> None:
        """Let go of the pages of a tensor, in both."""
        for model in (self.base, self.identity):
            tensor = model.resolve(name)
            if tensor is not None:
                model.files.forget(tensor, 0, tensor.count)
