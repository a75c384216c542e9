"""A pack, opened from its header; the change of any of its tasks, as a checkpoint that is computed when read."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import FormatError, RecipeError
from ..checkpoint import Checkpoint
from ..computed.zeros import Zeros
from ..dtypes import is_float
from ..formats import Found
from ..taskvector import check_base
from ..tensors import Tensor, TensorInfo
from .kinds import Change, opened
from .names import BASE, CHECKSUMS, ENCODINGS, ENDING, FORMAT, METHOD, SETTINGS, TASKS, VERSION, Encoding, shared

STEP = 1 << 24
PACKED = "#"
"""What stands between a pack and the task that is meant: tasks.pack#math."""


def packed(path: str | Path) -> bool:
    """Tell a pack, with a task's name or without, from other paths.

    >>> packed("tasks.pack#math"), packed("tasks.pack"), packed("math")
    (True, True, False)
    """
    file, task = pack_and_task(path)
    return file.suffix == ENDING and (bool(task) or not file.is_dir())


def pack_and_task(path: str | Path) -> tuple[Path, str]:
    """Take apart 'tasks.pack#math'; no task is an empty text.

    >>> pack_and_task("tasks.pack#math")[1], pack_and_task("tasks.pack")[1]
    ('math', '')
    """
    file, _, task = str(path).partition(f"{ENDING}{PACKED}")
    return (Path(f"{file}{ENDING}"), task) if task else (Path(path), "")


class Pack:
    """The header of a pack: the base, the method, and what is known of each task."""

    def __init__(self, path: str | Path) -> None:
        """Open a pack; no tensor is read.

        Raises:
            StoreError: nothing there.
            FormatError: no pack, a damaged one, or one of a version that is not known.
        """
        self.path = Path(path)
        if self.path.is_dir() or (self.path.exists() and self.path.suffix != ENDING):
            raise FormatError(f"{path} is no pack: a file was expected that ends in {ENDING}.")
        self.file = Checkpoint(path)
        texts = self.file.metadata
        if FORMAT not in texts:
            raise FormatError(f"{path} is no pack. Make one: taskvec pack BASE MODELS... -o {path}.")
        if texts[FORMAT] != VERSION:
            raise FormatError(f"{path} is a pack of version {texts[FORMAT]!r}; this version reads '{VERSION}'.")
        try:
            self.base, self.method = texts[BASE], texts[METHOD]
            self.settings: Mapping[str, Any] = dict(json.loads(texts[SETTINGS]))
            self.tasks: list[dict[str, Any]] = [dict(task) for task in json.loads(texts[TASKS])]
            self.encodings: Mapping[str, list[Encoding]] = dict(json.loads(texts[ENCODINGS]))
            self.checksums: Mapping[str, int] = dict(json.loads(texts[CHECKSUMS]))
            self.names = [str(task["name"]) for task in self.tasks]
            self.factors = [float(task.get("rescaler", 1.0)) for task in self.tasks]
        except (KeyError, ValueError, TypeError) as exc:
            raise FormatError(f"{path} is damaged: its header does not describe a pack ({exc}).") from exc

    def number(self, task: str) -> int:
        """Return which task has a name.

        Raises:
            RecipeError: none has.
        """
        if task not in self.names:
            known = ", ".join(self.names)
            if not task:
                raise RecipeError(f"{self.path} holds several models. Name one: {self.path}{PACKED}{self.names[0]}.")
            raise RecipeError(f"{self.path} has no task '{task}'. It has {known}.")
        return self.names.index(task)

    def open(self, task: str, base: Checkpoint) -> Checkpoint:
        """Return a task's change of every float tensor of its base, in float32, computed slice by slice when read.

        Raises:
            RecipeError: no such task.
            MismatchError: another base.
            FormatError: parts that are missing, or do not fit the base.
        """
        number = self.number(task)
        check_base(self.base, base, f"{self.path.name}{PACKED}{task}")
        tensors: dict[str, Tensor] = {}
        for name, info in base.tensors.items():
            if is_float(info.dtype):
                how = self._encoding(name, number)
                tensors[name] = (
                    opened(Change(self.file, number, info, how, self.factors[number]))
                    if how
                    else Zeros(name, info.shape)
                )
        return Checkpoint.of(self.path, Found(tensors, self.path.parent, {BASE: self.base}, base.config))

    def _encoding(self, name: str, number: int) -> Encoding:
        each = self.encodings.get(name)
        if not isinstance(each, list) or len(each) != len(self.tasks) or not isinstance(each[number], dict | None):
            raise FormatError(f"{self.path} is damaged: its header does not say how '{name}' is stored.")
        return each[number]

    def parts(self, task: str) -> list[TensorInfo]:
        """Return the stored tensors that a task is made of, what it shares with others included."""
        number = self.number(task)
        own = f"tasks/{number}/"
        encodings = {name: self._encoding(name, number) for name in self.encodings}
        masks = {shared(name) for name, how in encodings.items() if how and how.get("kind") == "mask"}
        found = [info for name, info in self.file.tensors.items() if name.startswith(own) or name in masks]
        return [info for info in found if isinstance(info, TensorInfo)]

    def check(self, task: str) -> None:
        """Read what a task is made of, and compare it with its checksums.

        Raises:
            FormatError: a tensor that is damaged.
            StoreError: the file cannot be read.
        """
        for info in self.parts(task):
            found = 0
            for start in range(0, info.count, STEP):
                stop = min(start + STEP, info.count)
                self.file.files.load(info, start, stop)
                found = zlib.crc32(self.file.files.view(info, start, stop).data, found)
                self.file.files.forget(info, start, stop)
            if self.checksums.get(info.name) != found:
                raise FormatError(f"{self.path} is damaged: '{info.name}' is not what it was. Make or get it again.")

    def close(self) -> None:
        """Unmap the file."""
        self.file.close()

    def __enter__(self) -> "Pack":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
