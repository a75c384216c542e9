"""The base, and the models that are packed: each as its task vector."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import MismatchError, NumbersError, RecipeError
from ..ops.combine import add_scaled
from ..ops.floats import Raw, narrow, widen
from ..store import Checkpoint, TaskVector, diff, fingerprint
from ..store.adapter import open_model
from ..store.dtypes import is_float
from ..store.taskvector import Difference, check_base
from ..store.tensors import Tensor

SLICE = 1 << 20
F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Task:
    """A model that is packed: its name, and its change of the base."""

    name: str
    path: str
    base: Checkpoint
    vector: TaskVector
    fingerprint: str

    def delta(self, name: str, start: int = 0, stop: int | None = None) -> F32:
        """Return entries of the change of one tensor, flat, in float32.

        Raises:
            NumbersError: NaN or Inf among them.
        """
        found = self.vector.entries(name, start, stop)
        if not np.isfinite(found).all():
            raise NumbersError(f"'{name}' in {self.path}, or in its base, holds NaN or Inf, which cannot be packed.")
        return found

    def changes(self, name: str) -> bool:
        """Tell whether any entry of a tensor is another than the base's."""
        return any(self.delta(name, *span).any() for span in spans(self.base.info(name)))

    def weight(self, name: str, start: int, stop: int) -> Raw:
        """Return entries of the model itself, as bits of the base's type: its own where it has that type."""
        info = self.base.info(name)
        ((factor, source),) = self.vector.terms
        if isinstance(source, Difference) and factor == 1:
            own = source.checkpoint.info(name)
            if own.dtype == info.dtype:
                return source.checkpoint.files.raw(own, start, stop)
        origin = origin_of(self.base, name, start, stop)
        return narrow(add_scaled(origin, self.vector.entries(name, start, stop), 1.0), info.dtype)


def check_fits(change: F32, name: str, remedy: str) -> None:
    """Refuse a change that became Inf where it was stored.

    Raises:
        NumbersError: it did.
    """
    if not np.isfinite(change).all():
        raise NumbersError(f"the change of '{name}' is too large for what it is stored as. Type --set {remedy}.")


def spans(tensor: Tensor, step: int = SLICE) -> Iterator[tuple[int, int]]:
    """Yield the ranges of entries that a tensor is worked on in."""
    for start in range(0, tensor.count, step):
        yield start, min(start + step, tensor.count)


def origin_of(base: Checkpoint, name: str, start: int = 0, stop: int | None = None) -> F32:
    """Return entries of the base, flat, in float32."""
    info = base.info(name)
    return widen(base.files.raw(info, start, stop), info.dtype).astype(np.float32, copy=False)


def open_tasks(base: str | Path, models: Sequence[str | Path]) -> tuple[Checkpoint, list[Task]]:
    """Open a base and its fine-tunes: models, adapters, 'model+adapter', or saved task vectors; 'name=path' names one.

    Raises:
        RecipeError: no model, two of one name, or a name that cannot be typed.
        StoreError: a model that cannot be read, or does not belong to the base.
    """
    if not models:
        raise RecipeError("there is no model to pack. Type: taskvec pack BASE MODEL MODEL -o tasks.pack.")
    named = [_named(str(model)) for model in models]
    names = [name for name, _ in named]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise RecipeError(f"two of the models are called '{twice}'. Name them: first=PATH second=PATH.")
    if odd := next((name for name in names if not name or set(name) & set("/#")), None):
        raise RecipeError(f"'{odd}' cannot be the name of a task: '/' and '#' may not be in it.")
    origin = open_model(base)
    if not any(is_float(info.dtype) for info in origin.tensors.values()):
        raise MismatchError(f"{base} holds no tensor of floats, so there is nothing to pack.")
    return origin, [_open(name, path, origin) for name, path in named]


def _named(model: str) -> tuple[str, str]:
    """Return what a model is called, and its path."""
    name, equals, path = model.partition("=")
    if equals and not Path(model).exists():
        return name, path
    place = Path(model.split("+")[-1])
    return (place.stem if place.suffix in (".tv", ".safetensors") else place.resolve().name), model


def _open(name: str, path: str, base: Checkpoint) -> Task:
    if Path(path).suffix == ".tv":
        vector = TaskVector.load(path)
        check_base(vector.base, base, path)
    else:
        vector = diff(base, path)
        _check_head(vector.terms[0][1].checkpoint, path, base)
    return Task(name, path, base, vector, fingerprint(vector.terms[0][1].checkpoint))


def _check_head(model: Checkpoint, path: str, base: Checkpoint) -> None:
    """Refuse an output head of a model's own, which the base ties to its embedding: it would be lost."""
    for name, info in model.tensors.items():
        tied = base.tied_to(name) if name not in base.tensors else None
        embedding = model.resolve(tied) if tied else None
        if embedding and not all(
            (model.files.raw(info, *s) == model.files.raw(embedding, *s)).all() for s in spans(info)
        ):
            raise MismatchError(
                f"{path} has a '{name}' of its own, which {base.path} ties to '{tied}', so that it would be lost. "
                f"Give a base that stores it."
            )


def places(tasks: Sequence[Task]) -> set[Path]:
    """Return the files that are read."""
    return {file.resolve() for t in tasks for c in (t.base, t.vector.terms[0][1].checkpoint) for file in c.on_disk}
