"""Arrays in an npz: images or texts, with their labels."""

import io
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ...errors import FormatError
from .examples import Source
from .files import opened
from .table import Column, Parts, Table, unpacked

SPLITS = ("train", "test", "validation")
"""What the numbers 0, 1 and 2 in an array `split` stand for."""
Array = npt.NDArray[Any]


def read_npz(path: Path, source: Source) -> Parts:
    """Read an npz of one of three layouts; nothing that is pickled is ever loaded.

    Encoded:   `blob` (uint8) holds files of images, image i from `off[i]` to `off[i+1]`; labels `y`.
    By split:  `x_<split>` and `y_<split>`, e.g. x_train, y_train, x_test, y_test.
    Any other: arrays by the names that the source gives, e.g. `image` and `label`.

    `classes` names the labels, and `split` says the split of each example, by name or number (0 train, 1 test, 2
    validation), in the first and last layout.

    Raises:
        FormatError: it is no npz, damaged, or holds pickled objects.
    """
    arrays = Npz(path)
    if {"blob", "off"} <= arrays.names:
        return {None: partial(_encoded, arrays, source)}
    splits = sorted(name.removeprefix("x_") for name in arrays.names if name.startswith("x_"))
    if splits:
        return {split: partial(_one_split, arrays, split, source) for split in splits}
    return {None: partial(_plain, arrays, source)}


class Npz:
    """The arrays of one npz file, each read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with opened(path) as file:
            # What a .gz holds is kept, so that it is unpacked once.
            self._unpacked = file.read() if path.suffix == ".gz" else None
        try:
            with self._open() as file, zipfile.ZipFile(file) as archive:
                self.names = {name.removesuffix(".npy") for name in archive.namelist()}
        except zipfile.BadZipFile as exc:
            raise FormatError(f"{path} is no npz file, or not the whole of one.") from exc

    def _open(self) -> BinaryIO:
        return opened(self.path) if self._unpacked is None else io.BytesIO(self._unpacked)

    def __getitem__(self, name: str) -> Array:
        """Return an array."""
        try:
            with self._open() as file, np.load(file, allow_pickle=False) as arrays:
                return np.asarray(arrays[name])
        except KeyError as exc:
            there = ", ".join(sorted(self.names))
            raise FormatError(f"{self.path} has no array '{name}', only {there}.") from exc
        except ValueError as exc:
            if "allow_pickle" not in str(exc):
                raise FormatError(f"{self.path} is damaged at '{name}' ({exc}).") from exc
            raise FormatError(
                f"{self.path} holds pickled objects in '{name}', which could run any code; save a plain array."
            ) from exc
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as exc:
            raise FormatError(f"{self.path} is damaged at '{name}' ({exc}).") from exc

    def entries(self, name: str) -> Column:
        """Return the entries of an array along its first axis."""
        return unpacked(self[name])

    def classes(self, label: str | None) -> tuple[str, ...]:
        """Return the names of the labels, if the file has them."""
        named = label is not None and "classes" in self.names
        return tuple(map(str, self.entries("classes"))) if named else ()


def _encoded(arrays: Npz, source: Source) -> Table:
    loaders: dict[str, Callable[[], Column]] = {source.image or "image": partial(Cuts, arrays)}
    if "y" in arrays.names:
        loaders[source.label or "label"] = partial(arrays.entries, "y")
    if "split" in arrays.names:
        loaders["split"] = partial(_split_names, arrays)
    return Table(name=str(arrays.path), loaders=loaders, classes=arrays.classes(source.label))


def _one_split(arrays: Npz, split: str, source: Source) -> Table:
    loaders: dict[str, Callable[[], Column]] = {source.image or "image": partial(arrays.entries, f"x_{split}")}
    if f"y_{split}" in arrays.names:
        loaders[source.label or "label"] = partial(arrays.entries, f"y_{split}")
    return Table(name=str(arrays.path), loaders=loaders, classes=arrays.classes(source.label))


def _plain(arrays: Npz, source: Source) -> Table:
    loaders: dict[str, Callable[[], Column]] = {
        name: partial(arrays.entries, name) for name in sorted(arrays.names - {"split", "classes"})
    }
    if "split" in arrays.names:
        loaders["split"] = partial(_split_names, arrays)
    return Table(name=str(arrays.path), loaders=loaders, classes=arrays.classes(source.label))


def _split_names(arrays: Npz) -> Column:
    split = arrays["split"]
    if split.dtype.kind not in "iu":
        return unpacked(split)
    if split.size and not (split.min() >= 0 and split.max() < len(SPLITS)):
        raise FormatError(f"{arrays.path}: 'split' holds {split.max()}; numbers are 0 train, 1 test, 2 validation.")
    return [SPLITS[i] for i in split.tolist()]


class Cuts(Sequence[bytes]):
    """The files that lie one after the other in `blob`, as `off` cuts it."""

    def __init__(self, arrays: Npz) -> None:
        self.blob, self.off = arrays["blob"], arrays["off"]
        whole = self.blob.dtype == np.uint8 and self.blob.ndim == 1
        if not whole or self.off.ndim != 1 or self.off.dtype.kind not in "iu" or not len(self.off):
            raise FormatError(f"{arrays.path}: 'blob' is bytes (uint8) in a row, and 'off' whole numbers that cut it.")
        if self.off[0] < 0 or self.off[-1] > len(self.blob) or (self.off[1:] < self.off[:-1]).any():
            raise FormatError(f"{arrays.path}: 'off' does not rise from 0 to the {len(self.blob)} bytes of 'blob'.")

    def __len__(self) -> int:
        return len(self.off) - 1

    def __getitem__(self, i: Any) -> Any:
        return self.blob[int(self.off[i]) : int(self.off[i + 1])].tobytes()
