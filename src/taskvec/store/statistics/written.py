"""A folder of statistics on its way: there whole or not at all."""

import json
import shutil
from collections.abc import Mapping
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ..._version import __version__
from ...errors import NumbersError, OutputError
from ..layout import Layout, OutTensor, out_file
from ..writer import PARTIAL, ShardWriter, output_error, put_in_place, sync_folder, write_whole
from .names import FACTS, FORMAT, TENSORS, VERSION, Shape, key
from .opened import Statistics


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
    if others := sorted(path.name for path in folder.iterdir() if path.name not in (FACTS, TENSORS)):
        raise OutputError(
            f"{folder} holds more than statistics, such as '{others[0]}', which would be lost. Choose another folder."
        )
