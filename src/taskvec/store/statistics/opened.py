"""A folder of statistics, opened: its tensors are read whole or slice by slice."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import FormatError, MismatchError
from ..checkpoint import Checkpoint
from ..tensors import Tensor
from .facts import read_facts
from .names import GRADIENT, PARTS, TENSORS, Shape, key, name_and_part

Entries = npt.NDArray[np.float32]


class Statistics:
    """The curvature of a model, read tensor by tensor or slice by slice.

    kind: how it is stored: 'diagonal', 'gram', 'kronecker' or 'eigen' (tensors that are no linear layer are then
    diagonal). facts: where it comes from. names: the weights that it knows, in the order of the file.
    """

    def __init__(self, folder: str | Path) -> None:
        """Open a folder of statistics; headers are read, no tensor is.

        Raises:
            StoreError: nothing there.
            FormatError: no statistics, of a newer version, or damaged.
        """
        self.path = Path(folder)
        self.facts = read_facts(self.path)
        self.kind = str(self.facts["kind"])
        self.checkpoint = Checkpoint(self.path / TENSORS)
        self._shapes: dict[str, dict[str, Shape]] = {}
        for stored, tensor in self.checkpoint.tensors.items():
            name, part = name_and_part(stored)
            self._shapes.setdefault(name, {})[part] = tensor.shape
        self._check()

    def _check(self) -> None:
        for name, shapes in self._shapes.items():
            whole = PARTS[self._kind(shapes)]
            strange = [part for part in shapes if part not in whole and part != GRADIENT]
            missing = [part for part in whole if part not in shapes]
            if strange or missing or any(t.dtype != "F32" for t in self._tensors(name)):
                what = f"lacks '{key(name, missing[0])}'" if missing else f"has a '{key(name)}' of another kind or type"
                raise FormatError(f"{self.path} is damaged: it is of the kind '{self.kind}' and {what}. Measure again.")

    def _kind(self, shapes: Mapping[str, Shape]) -> str:
        return "diagonal" if "" in shapes and self.kind != "gram" else self.kind

    @property
    def estimator(self) -> str:
        """By which estimator it was measured."""
        return str(self.facts["estimator"])

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the model that was measured."""
        return str(self.facts["model"]["fingerprint"])

    @property
    def total(self) -> float:
        """The trace of the whole model's curvature."""
        return float(self.facts["total"])

    @property
    def names(self) -> tuple[str, ...]:
        """The weights that it knows."""
        return tuple(self._shapes)

    @property
    def has_gradients(self) -> bool:
        """Whether mean gradients were kept."""
        return any(GRADIENT in shapes for shapes in self._shapes.values())

    def kind_of(self, name: str) -> str:
        """Return how the curvature of a weight is stored: the file's kind, or 'diagonal'."""
        return self._kind(self._shapes[self._known(name)])

    def parts(self, name: str) -> tuple[str, ...]:
        """Return the parts of a weight's curvature, its gradient aside: ('',), ('input', 'output') and so on.

        Raises:
            MismatchError: no such weight.
        """
        return PARTS[self.kind_of(name)]

    def shapes(self, name: str) -> Mapping[str, Shape]:
        """Return all parts of a weight, its gradient too, and their shapes."""
        return self._shapes[self._known(name)]

    def tensor(self, name: str, part: str = "") -> Tensor:
        """Return where a part lies."""
        return self.checkpoint.info(key(name, part))

    def read(self, name: str, part: str = "", start: int = 0, stop: int | None = None) -> Entries:
        """Return a part in its shape, or with `stop` its entries `start` … `stop`, flat: a read-only view of the file.

        Raises:
            MismatchError: no such weight or part.
        """
        raw = self.checkpoint.raw(key(name, part), start, stop).view(np.float32)
        return raw.reshape(self.tensor(name, part).shape) if stop is None and start == 0 else raw

    def close(self) -> None:
        """Unmap the file."""
        self.checkpoint.close()

    def _known(self, name: str) -> str:
        if name not in self._shapes:
            raise MismatchError(f"{self.path} has no statistics of '{name}'.")
        return name

    def _tensors(self, name: str) -> Iterator[Tensor]:
        return (self.tensor(name, part) for part in self._shapes[name])

    def __contains__(self, name: object) -> bool:
        return name in self._shapes

    def __enter__(self) -> "Statistics":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Statistics({str(self.path)!r}, {self.kind} by {self.estimator}, {len(self._shapes)} weights)"
