"""`python -m benchmarks.suite.prepare`: lay out the pretrained models and the data that the suites name.

What is there already is left alone; delete a folder or file to have it made again.
"""

import argparse
import os
import sys
from collections.abc import Collection, Iterator
from itertools import chain
from pathlib import Path

from .keep import PrepareError, discard
from .packages import require_all

REPOSITORY = Path(__file__).resolve().parents[2]
RESOLUTION = {"vit-s14": 56, "efficientnet-lite0": 64}
TEXT = ("ag_news", "banking77", "snips", "sst2", "subj", "trec", "tweet_emotion", "tweet_offensive")
VISION = ("cifar10", "cmaterdb_bangla", "cmaterdb_devanagari", "eurosat", "gtsrb", "mnist", "sign_language_digits")
FILES = (*(f"text/{name}.tsv.gz" for name in TEXT), *(f"vision/{name}.npz" for name in VISION))


def main(typed: list[str] | None = None) -> int:
    """Prepare everything; 0 if all is there, 2 with one sentence if something is missing."""
    asked = parser().parse_args(typed)
    try:
        if not asked.smoke:
            require_all()
        for line in prepare_smoke(asked.root) if asked.smoke else prepare(asked.root, asked.data, asked.fashion_mnist):
            print(line)
    except PrepareError as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"prepare: a file cannot be read or written: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """Return what the command line understands."""
    asked = argparse.ArgumentParser(prog="python -m benchmarks.suite.prepare", description=__doc__)
    asked.add_argument("--root", type=Path, default=REPOSITORY / ".cache" / "suite", help="where everything goes")
    asked.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data", help="text/ and vision/")
    asked.add_argument("--fashion-mnist", type=Path, help="a folder with the four .gz files of Fashion-MNIST")
    asked.add_argument("--smoke", action="store_true", help="only what the smoke suite needs: no data folder")
    return asked


def prepare_smoke(root: Path) -> Iterator[str]:
    """Lay out what the smoke suite needs; all of it comes with the packages of the demo."""
    from .smoke import make_smoke

    yield from make_models(root / "models", ("minilm",))
    yield from make_smoke(root / "data" / "smoke")


def prepare(root: Path, data: Path, fashion_mnist: Path | None = None) -> Iterator[str]:
    """Lay out `root`/models and `root`/data, and give a line for each thing once it is made.

    Raises:
        PrepareError: if a data file or a package is not here; nothing has been written then.
    """
    require_data(data)
    lines = chain(
        make_fashion_mnist(root / "data", fashion_mnist), link_data(root / "data", data), make_models(root / "models")
    )
    yield next(lines, f"everything is in {root} already")
    yield from lines


def require_data(data: Path) -> None:
    """Refuse to start while a file of the data is missing."""
    missing = [name for name in FILES if not (data / name).is_file()]
    if missing:
        raise PrepareError(
            f"{data} holds {len(FILES) - len(missing)} of the {len(FILES)} data files: {missing[0]} is missing. "
            "Type: python -m benchmarks.suite.prepare --data DIR, with the folder that "
            "benchmarks/suite/README.md describes"
        )


def make_fashion_mnist(folder: Path, given: Path | None) -> Iterator[str]:
    """Write the part of Fashion-MNIST that is used, if it is not there."""
    place = folder / "vision" / "fashion_mnist.npz"
    if not place.is_file():
        from .fashion import make_fashion

        make_fashion(place, given)
        yield f"made {place}"


def link_data(folder: Path, data: Path) -> Iterator[str]:
    """Link the data files that are not in `folder` yet."""
    for name in FILES:
        place = folder / name
        if not place.is_file():
            discard(place)  # a link whose target has moved away
            place.parent.mkdir(parents=True, exist_ok=True)
            os.symlink((data / name).resolve(), place)
            yield f"linked {place}"


def make_models(folder: Path, only: Collection[str] = ()) -> Iterator[str]:
    """Write the pretrained models (or some of them) that are not in `folder` yet."""
    from transformers.utils import logging

    from . import models

    logging.disable_progress_bar()
    makers = {
        "minilm": lambda place: models.make_minilm(place),
        "vit-s14": lambda place: models.make_vit(place, RESOLUTION["vit-s14"]),
        "efficientnet-lite0": lambda place: models.make_efficientnet(place, RESOLUTION["efficientnet-lite0"]),
    }
    for name, make in makers.items():
        if not (folder / name).is_dir() and (not only or name in only):
            make(folder / name)
            yield f"made {folder / name}"


if __name__ == "__main__":
    sys.exit(main())
