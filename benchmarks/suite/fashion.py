"""Fashion-MNIST out of its Debian package: a stratified part of it, in the layout of the other small grey sets."""

import gzip
import math
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .keep import PrepareError, made_whole

PACKAGE = "dataset-fashion-mnist"
PLACE = Path("usr/share/datasets/fashion-mnist")
CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
SIZES = {"train": ("train", 6000), "test": ("t10k", 2000)}


def make_fashion(path: Path, given: Path | None) -> None:
    """Write 6,000 training and 2,000 test images to `path`: keys x_train, y_train, x_test, y_test, classes.

    The four files are looked for in `given`, or where the Debian package installs them, or the package is downloaded.

    Raises:
        PrepareError: if they are in none of these places.
    """
    with tempfile.TemporaryDirectory() as room:
        folder = _found(given) or _downloaded(Path(room))
        arrays = {"classes": np.array(CLASSES)}
        for split, (prefix, count) in SIZES.items():
            images = _idx(folder / f"{prefix}-images-idx3-ubyte.gz")
            labels = _idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
            chosen = stratified(labels, count)
            arrays[f"x_{split}"], arrays[f"y_{split}"] = images[chosen], labels[chosen]
        with made_whole(path) as beside, beside.open("wb") as file:
            np.savez_compressed(file, **arrays)


def stratified(labels: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """Return the places of `count` labels, in order, as many of each class as of any other; seed 0."""
    chance = np.random.default_rng(0)
    classes = np.unique(labels)
    places = [chance.permutation(np.flatnonzero(labels == label))[: count // len(classes)] for label in classes]
    return np.sort(np.concatenate(places))


def _found(given: Path | None) -> Path | None:
    if given is not None:
        if not _complete(given):
            raise PrepareError(f"{given} does not hold the four .gz files of Fashion-MNIST. Type: --fashion-mnist DIR")
        return given
    installed = Path("/") / PLACE
    return installed if _complete(installed) else None


def _complete(folder: Path) -> bool:
    return all(
        (folder / f"{prefix}-{kind}-ubyte.gz").is_file()
        for prefix, _ in SIZES.values()
        for kind in ("images-idx3", "labels-idx1")
    )


def _downloaded(room: Path) -> Path:
    """Fetch the Debian package to `room` and unpack it there; nothing is installed."""
    ways = f"Type: sudo apt-get install {PACKAGE}, or give a folder with its four .gz files: --fashion-mnist DIR"
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise PrepareError(f"Fashion-MNIST is not in /{PLACE}, and this system has no apt-get to fetch it. {ways}")
    fetched = subprocess.run(["apt-get", "download", PACKAGE], cwd=room, capture_output=True, text=True, check=False)
    archives = sorted(room.glob("*.deb"))
    if fetched.returncode or not archives:
        said = (fetched.stderr.strip().splitlines() or ["no message"])[-1]
        raise PrepareError(f"Fashion-MNIST is not in /{PLACE}, and apt-get cannot fetch it ({said}). {ways}")
    subprocess.run(["dpkg-deb", "-x", str(archives[0]), str(room)], check=True)
    return room / PLACE


def _idx(path: Path) -> NDArray[np.uint8]:
    """Return the array in a gzipped idx file: a magic number whose last byte counts dimensions, sizes, bytes."""
    content = gzip.decompress(path.read_bytes())
    start = 4 + 4 * content[3]
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], dtype=">i4"))
    if len(content) - start != math.prod(shape):
        raise PrepareError(f"{path} is cut short: {len(content) - start} bytes where {math.prod(shape)} were expected.")
    return np.frombuffer(content[start:], dtype=np.uint8).reshape(shape)
