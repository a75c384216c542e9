"""The task vector: what fine-tuning added to a model, as an expression that is computed when written or read."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from .._version import __version__
from ..errors import FormatError, MismatchError, OutputError, RecipeError
from ..ops.combine import add_scaled
from ..ops.floats import Raw, narrow, subtract, widen
from .adapter import adapters_of, is_adapter, is_sum, open_adapter, open_model
from .bridge import to_torch
from .checkpoint import Checkpoint
from .dtypes import NAMES, is_float
from .hub import locate
from .layout import Layout, OutTensor, out_file
from .sample import fingerprint
from .writer import ShardWriter, sync_folder

if TYPE_CHECKING:
    import torch

SLICE = 1 << 18
FORMAT = "1"
SPACE = "weights"
F32 = npt.NDArray[np.float32]


class Source(Protocol):
    """Something that knows entries of a task vector."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The file it comes from."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of the tensors it has."""

    def entries(self, name: str, start: int, stop: int) -> F32:
        """Return entries of one tensor, flat, in float32."""

    def describe(self) -> str:
        """Return what a history says of it."""


@dataclass(frozen=True)
class Difference:
    """Fine-tuned minus base, both on disk."""

    base: Checkpoint
    checkpoint: Checkpoint

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """See `Source`."""
        return {n: i.shape for n, i in self.base.tensors.items() if is_float(i.dtype)}

    def entries(self, name: str, start: int, stop: int) -> F32:
        """See `Source`."""
        base, tuned = self.base.info(name), self.checkpoint.info(name)
        origin = widen(self.base.files.raw(base, start, stop), base.dtype)
        return subtract(self.checkpoint.files.raw(tuned, start, stop), tuned.dtype, origin)

    def describe(self) -> str:
        """See `Source`."""
        return f"{self.checkpoint.path.name} - {self.base.path.name}"


@dataclass(frozen=True)
class Saved:
    """A task vector in a file."""

    checkpoint: Checkpoint

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """See `Source`."""
        return {n: i.shape for n, i in self.checkpoint.tensors.items()}

    def entries(self, name: str, start: int, stop: int) -> F32:
        """See `Source`."""
        info = self.checkpoint.info(name)
        return widen(self.checkpoint.files.raw(info, start, stop), info.dtype)

    def describe(self) -> str:
        """See `Source`."""
        return self.checkpoint.path.name


class TaskVector(Mapping[str, "torch.Tensor"]):
    """τ = Σ c_i τ_i in the space of weights: a mapping name → float32 tensor, computed entry by entry when asked.

    Add, subtract, negate and scale it; nothing is read until a tensor is asked for, saved, or applied. It knows the
    fingerprint of the base it belongs to; vectors of different bases do not add.

    Integer tensors (position ids, counters) have no part in it: the base's stay.
    """

    def __init__(self, base: str, terms: tuple[tuple[float, Source], ...], history: tuple[str, ...]) -> None:
        """Use `diff` or `TaskVector.load`."""
        self.space = SPACE
        self.base = base
        self.terms = terms
        self.history = history
        self.shapes = terms[0][1].shapes()

    def __add__(self, other: "TaskVector") -> "TaskVector":
        if not isinstance(other, TaskVector):
            return NotImplemented
        if self.base != other.base:
            raise MismatchError(
                f"task vectors of different bases do not add: {self.history[-1]!r} belongs to {self.base}, "
                f"{other.history[-1]!r} to {other.base}."
            )
        if self.shapes != other.shapes:
            odd = min(set(self.shapes.items()) ^ set(other.shapes.items()))
            raise MismatchError(f"task vectors of different tensors do not add: '{odd[0]}' {odd[1]} is in one only.")
        return TaskVector(self.base, self.terms + other.terms, self.history + other.history)

    def __mul__(self, scale: float) -> "TaskVector":
        if not isinstance(scale, int | float):
            return NotImplemented
        terms = tuple((scale * c, source) for c, source in self.terms)
        return TaskVector(self.base, terms, tuple(f"{scale:g} * ({line})" for line in self.history))

    __rmul__ = __mul__

    def __neg__(self) -> "TaskVector":
        return self * -1.0

    def __sub__(self, other: "TaskVector") -> "TaskVector":
        if not isinstance(other, TaskVector):
            return NotImplemented
        return self + -other

    def entries(self, name: str, start: int = 0, stop: int | None = None) -> F32:
        """Return entries of one tensor, flat, in float32: Σ c_i τ_i from left to right."""
        stop = int(np.prod(self.shapes[name])) if stop is None else stop
        total: F32 | None = None
        for c, source in self.terms:
            part = source.entries(name, start, stop)
            part = part if c == 1 else np.float32(c) * part
            total = part if total is None else total + part
        assert total is not None
        return total

    def apply(self, base: Checkpoint | str | Path, scale: float = 1.0) -> "Applied":
        """Return base + scale τ as a lazy mapping name → tensor, each in the base's own dtype.

        To write it as a model folder use `taskvec.apply` or `taskvec apply`, which stream.

        Raises:
            MismatchError: another base than the one the vector was made from.
        """
        base = base if isinstance(base, Checkpoint) else Checkpoint(base)
        check_base(self.base, base, self.history[-1])
        return Applied(base, self, scale)

    def save(
        self,
        path: str | Path,
        dtype: str = "float32",
        progress: Callable[[int], None] | None = None,
        seen: Callable[[str, int, F32, Raw], None] | None = None,
    ) -> Path:
        """Write the vector as one safetensors file (docs/formats.md), slice by slice; there whole or not at all.

        Args:
            path: where; the ending .tv is the custom.
            dtype: float32 keeps every bit of a bf16 difference; bfloat16 halves the file and rounds.
            progress: told the bytes done after each slice.
            seen: given each slice: its tensor, where it begins, its entries, and their bits as stored.
        """
        path = Path(path)
        if path.suffix not in (".tv", ".safetensors"):
            raise RecipeError(f"'{path}' does not end in .tv. Type e.g. {path.with_suffix('.tv')}.")
        if dtype not in NAMES:
            raise RecipeError(f"unknown dtype {dtype!r}. Known: {', '.join(NAMES)}.")
        code = NAMES[dtype]
        tensors = [OutTensor(name, code, shape) for name, shape in self.shapes.items()]
        layout = Layout((out_file(path.name, tensors, self.metadata()),))
        if path.resolve() in {file.resolve() for _, source in self.terms for file in _inputs(source)}:
            raise OutputError(f"{path} is read by this vector and is not overwritten. Choose another name.")
        path.parent.mkdir(parents=True, exist_ok=True)
        done = 0
        with ShardWriter(path.parent, layout) as writer:
            for name, shape in self.shapes.items():
                count = int(np.prod(shape))
                for start in range(0, count, SLICE):
                    entries = self.entries(name, start, min(start + SLICE, count))
                    part = narrow(entries, code)
                    writer.write(name, start, part)
                    if seen:
                        seen(name, start, entries, part)
                    done += part.nbytes
                    if progress:
                        progress(done)
            writer.finish()
        sync_folder(path.parent)
        return path

    def metadata(self) -> dict[str, str]:
        """Return what a file's header carries (docs/formats.md)."""
        return {
            "format": "pt",
            "taskvec.format": FORMAT,
            "taskvec.space": self.space,
            "taskvec.base": self.base,
            "taskvec.history": json.dumps(self.history),
            "taskvec.version": __version__,
        }

    @classmethod
    def load(cls, path: str | Path) -> "TaskVector":
        """Open a saved task vector; tensors are read when asked for.

        Raises:
            FormatError: not a task vector, or of a format or space this version does not know.
        """
        checkpoint = Checkpoint(path)
        meta = checkpoint.metadata
        if "taskvec.format" not in meta:
            raise FormatError(f"{path} is not a task vector. Make one: taskvec diff BASE FINETUNED -o {path}.")
        if meta["taskvec.format"] != FORMAT or meta.get("taskvec.space") != SPACE:
            raise FormatError(
                f"{path} holds a task vector of format {meta['taskvec.format']!r} in the space of "
                f"{meta.get('taskvec.space')!r}; this version reads format '{FORMAT}' in the space of '{SPACE}'."
            )
        try:
            history = tuple(map(str, json.loads(meta["taskvec.history"]))) or (checkpoint.path.name,)
            return cls(meta["taskvec.base"], ((1.0, Saved(checkpoint)),), history)
        except (KeyError, ValueError, TypeError) as exc:
            raise FormatError(
                f"{path} is damaged: its header has no base or no history of a task vector ({exc})."
            ) from exc

    def __getitem__(self, name: str) -> "torch.Tensor":
        return to_torch(self.entries(name), "F32", self.shapes[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def __repr__(self) -> str:
        return f"TaskVector({' + '.join(self.history)!r}, base={self.base!r}, {len(self)} tensors)"


class Applied(Mapping[str, "torch.Tensor"]):
    """base + scale τ, a tensor at a time, in the base's dtypes. Use it as a state dict."""

    def __init__(self, base: Checkpoint, vector: TaskVector, scale: float) -> None:
        """Use `TaskVector.apply`."""
        self.base, self.vector, self.scale = base, vector, scale

    def __getitem__(self, name: str) -> "torch.Tensor":
        info = self.base.info(name)
        if name not in self.vector.shapes:
            return self.base[name]
        origin = widen(self.base.files.raw(info), info.dtype, np.float64 if info.dtype == "F64" else np.float32)
        moved = add_scaled(origin, self.vector.entries(name).astype(origin.dtype, copy=False), self.scale)
        return to_torch(narrow(moved, info.dtype), info.dtype, info.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.base)

    def __len__(self) -> int:
        return len(self.base)


def _inputs(source: Source) -> Iterator[Path]:
    """Yield the files that a term reads."""
    yield from source.checkpoint.on_disk
    if isinstance(source, Difference):
        yield from source.base.on_disk


def check_base(expected: str, base: Checkpoint, what: str) -> None:
    """Refuse to put a vector on a base it was not made from.

    Raises:
        MismatchError: the fingerprints differ.
    """
    if (actual := fingerprint(base)) != expected:
        raise MismatchError(
            f"{what!r} was made from the base {expected}, but {base.path} is {actual}. "
            f"Give the base it was made from, in the dtype it had."
        )


def is_task_vector(checkpoint: Checkpoint) -> bool:
    """Tell a saved task vector from a model."""
    return "taskvec.format" in checkpoint.metadata


def diff(base: Checkpoint | str | Path, finetuned: Checkpoint | str | Path) -> TaskVector:
    """Return the task vector τ = θ_finetuned − θ_base. Headers are compared now, tensors read later.

    Both are paths, names on the hub, or 'model+adapter'; `finetuned` may be an adapter, which is such a difference.

    Raises:
        RecipeError: what is put on a model is no adapter.
        MismatchError: names or shapes differ, or an integer tensor is a float in the other.
    """
    base = base if isinstance(base, Checkpoint) else open_model(base)
    if not isinstance(finetuned, Checkpoint) and (adapter := adapter_on(str(finetuned), base)):
        saved = Saved(open_adapter(adapter, base))
        return TaskVector(fingerprint(base), ((1.0, saved),), (saved.describe(),))
    tuned = finetuned if isinstance(finetuned, Checkpoint) else open_model(finetuned)
    for model in (base, tuned):
        if is_task_vector(model):
            raise MismatchError(f"{model.path} is a task vector, the difference of two models already. Give a model.")
    for name, info in base.tensors.items():
        other = tuned.resolve(name)
        if other is None:
            raise MismatchError(f"{tuned.path} lacks '{name}', which {base.path} has.")
        if other.shape != info.shape or is_float(other.dtype) != is_float(info.dtype):
            raise MismatchError(
                f"'{name}' is {other.dtype} {other.shape} in {tuned.path} but {info.dtype} {info.shape} in {base.path}."
            )
    if extra := [name for name in tuned.tensors if base.resolve(name) is None]:
        raise MismatchError(f"{tuned.path} has '{extra[0]}', which {base.path} lacks.")
    source = Difference(base, tuned)
    return TaskVector(fingerprint(base), ((1.0, source),), (source.describe(),))


def adapter_on(path: str, base: Checkpoint) -> Path | None:
    """Return the adapter that `path` is, or that it puts on this base, whose exact change is the difference."""
    if is_sum(path):
        adapters = adapters_of(path)
        on_base = locate(path.split("+")[0]).resolve() == base.path.resolve()
        return adapters[0] if on_base and len(adapters) == 1 else None
    place = locate(path)
    return place if is_adapter(place) else None
