"""Curvature of a model, on disk: a folder of facts (`statistics.json`) and tensors by the names of the model's weights.

The format is described in docs/formats.md. Whoever measures writes it tensor by tensor; whoever merges reads slices.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from .._version import __version__
from ..errors import FormatError, MismatchError, NumbersError, OutputError, StoreError
from .checkpoint import Checkpoint
from .layout import Layout, OutTensor, out_file
from .tensors import Tensor
from .writer import PARTIAL, ShardWriter, output_error, put_in_place, sync_folder, write_whole

Entries = npt.NDArray[np.float32]
Shape = tuple[int, ...]

FORMAT, VERSION = "taskvec statistics", 1
FACTS, TENSORS = "statistics.json", "statistics.safetensors"

PARTS: Mapping[str, tuple[str, ...]] = {
    "diagonal": ("",),
    "gram": ("input",),
    "kronecker": ("input", "output"),
    "eigen": ("input_vectors", "output_vectors", "eigenvalues"),
}
"""Kind → the tensors that say the curvature of one weight; '' is one of the weight's own shape."""

GRADIENT = "gradient"
"""The mean gradient of a weight, beside any kind."""

NEEDED = ("estimator", "kind", "model", "total")
"""Facts that must be there."""

_SEPARATED = {GRADIENT, *(part for parts in PARTS.values() for part in parts if part)}


def key(name: str, part: str = "") -> str:
    """Return what a part of a weight's statistics is called in the file.

    >>> key("lm_head.weight"), key("lm_head.weight", "input")
    ('lm_head.weight', 'lm_head.weight#input')
    """
    return f"{name}#{part}" if part else name


def part_shapes(kind: str, shape: Shape, *, turned: bool = False, gradient: bool = False) -> dict[str, Shape]:
    """Return the parts that a kind keeps of a weight of some shape, and their shapes.

    Args:
        kind: 'diagonal', 'gram', 'kronecker' or 'eigen'; all but the first are of matrices.
        shape: the weight's, as it is stored.
        turned: whether the weight is stored (in, out); its parts are said as if it were stored (out, in).
        gradient: whether the mean gradient is kept, too.

    >>> part_shapes("kronecker", (2, 3))
    {'input': (3, 3), 'output': (2, 2)}
    """
    own: dict[str, Shape] = {"": shape}
    if kind != "diagonal":
        rows, columns = shape[::-1] if turned else shape
        factors = {"input": (columns, columns), "output": (rows, rows), "eigenvalues": (rows, columns)}
        own = {part: factors[part.removesuffix("_vectors")] for part in PARTS[kind]}
    return {**own, **({GRADIENT: shape} if gradient else {})}


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
        self.facts = _facts(self.path)
        self.kind = str(self.facts["kind"])
        self.checkpoint = Checkpoint(self.path / TENSORS)
        self._shapes: dict[str, dict[str, Shape]] = {}
        for stored, tensor in self.checkpoint.tensors.items():
            name, part = _name_and_part(stored)
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


def _name_and_part(stored: str) -> tuple[str, str]:
    name, _, part = stored.rpartition("#")
    return (name, part) if part in _SEPARATED else (stored, "")


def _facts(folder: Path) -> dict[str, Any]:
    make = "Make one with `taskvec curvature`."
    if not folder.exists():
        raise StoreError(f"{folder} does not exist. Give a folder of statistics, or make one with `taskvec curvature`.")
    try:
        facts = json.loads((folder / FACTS).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise FormatError(f"{folder} is no folder of statistics: it has no {FACTS}. {make}") from exc
    except ValueError as exc:
        raise FormatError(f"{folder / FACTS} is damaged: {exc}. Measure again.") from exc
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise FormatError(f"{folder} is no folder of statistics: its {FACTS} is not of taskvec. {make}")
    if facts.get("version") != VERSION:
        raise FormatError(
            f"{folder} holds statistics of version {facts.get('version')}; this taskvec reads version {VERSION}. "
            f"Type: pip install --upgrade taskvec."
        )
    if missing := [fact for fact in NEEDED if fact not in facts]:
        raise FormatError(f"{folder / FACTS} is damaged: it lacks '{missing[0]}'. Measure again.")
    if facts["kind"] not in PARTS or not isinstance(facts["model"], dict) or "fingerprint" not in facts["model"]:
        raise FormatError(f"{folder / FACTS} is damaged: it names no kind that is known, or no model. Measure again.")
    if not (folder / TENSORS).is_file():
        raise FormatError(f"{folder} is damaged: it lacks {TENSORS}. Measure again.")
    return facts


class StatisticsWriter:
    """A folder of statistics on its way: its layout is known, its tensors come in any order, whole or slice by slice.

    Until `finish` there is only a hidden folder beside it; leaving the `with` without it removes that.

    ```python
    with StatisticsWriter(out, "diagonal", {name: part_shapes("diagonal", shape) for name, shape in shapes}) as writer:
        for name, values in measured:
            writer.add(name, "", values)
        writer.finish(facts)
    ```
    """

    def __init__(
        self, folder: str | Path, kind: str, shapes: Mapping[str, Mapping[str, Shape]], *, force: bool = False
    ) -> None:
        """Claim the space.

        Args:
            folder: where; it is there once all is written.
            kind: how linear layers (or all tensors) are stored.
            shapes: weight → part → shape, as `part_shapes` gives them.
            force: replace statistics that are there.

        Raises:
            OutputError: something is there already, or it cannot be written.
        """
        self.folder, self.kind = Path(folder), kind
        check_new(self.folder, force)
        self._shapes = {key(name, part): shape for name in sorted(shapes) for part, shape in shapes[name].items()}
        self._left = {stored: prod(shape) for stored, shape in self._shapes.items()}
        self._staging = self.folder.parent / f".{self.folder.name}{PARTIAL}"
        tensors = [OutTensor(stored, "F32", shape) for stored, shape in self._shapes.items()]
        layout = Layout((out_file(TENSORS, tensors, {"format": "pt"}),))
        try:
            shutil.rmtree(self._staging, ignore_errors=True)  # of a run that was cut off
            self._staging.mkdir(parents=True)
            self._writer = ShardWriter(self._staging, layout)
        except OutputError:
            shutil.rmtree(self._staging, ignore_errors=True)
            raise
        except OSError as exc:
            raise output_error(self.folder, exc) from exc

    def add(self, name: str, part: str, array: Any, start: int = 0) -> None:
        """Write a part of a weight's statistics, or entries of it from `start` on; each entry once.

        Raises:
            NumbersError: it holds NaN or Inf.
            OutputError: it cannot be written.
        """
        stored, flat = key(name, part), np.ascontiguousarray(array, dtype="<f4").reshape(-1)
        if not np.isfinite(flat).all():
            raise NumbersError(f"the statistics of '{name}' hold NaN or Inf. Look at the model, its head and the data.")
        if flat.size > self._left[stored]:
            raise ValueError(f"'{stored}' takes {prod(self._shapes[stored])} entries, and gets more")
        self._writer.write(stored, start, flat)
        self._left[stored] -= flat.size

    def finish(self, facts: Mapping[str, Any]) -> Statistics:
        """Write the facts, make everything durable, give the folder its name, and open it.

        Args:
            facts: at least `estimator`, `model` (with `fingerprint`) and `total`; see docs/formats.md.
        """
        if short := [stored for stored, left in self._left.items() if left]:
            raise ValueError(f"'{short[0]}' is not whole")
        own = {"format": FORMAT, "version": VERSION, "kind": self.kind, "taskvec": __version__}
        text = json.dumps({**own, **facts}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        try:
            self._writer.finish()
            write_whole(self._staging / FACTS, text)
            sync_folder(self._staging)
            put_in_place(self._staging, self.folder)
        except OSError as exc:
            raise output_error(self.folder, exc) from exc
        return Statistics(self.folder)

    def __enter__(self) -> "StatisticsWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._writer.close()
        shutil.rmtree(self._staging, ignore_errors=True)


def check_new(folder: Path, force: bool = False) -> None:
    """Refuse to write statistics over what is no statistics, and over statistics unless `force`.

    Raises:
        OutputError: see above.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / FACTS).is_file():
        raise OutputError(f"{folder} exists and holds no statistics. Choose another folder.")
    if not force:
        raise OutputError(f"{folder} exists. Choose another folder, or type --force to replace it.")
