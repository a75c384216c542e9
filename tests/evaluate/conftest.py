"""Tiny encoders, written once, and labelled texts for them."""

from collections.abc import Callable
from pathlib import Path

import pytest

import encoders
from taskvec.evaluate.data import Examples, Source, read
from taskvec.evaluate.model import Model

Read = Callable[..., Examples]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `bert`, `other` (a fine-tune of it), `vit`, `clip` and `gpt2`."""
    folder = tmp_path_factory.mktemp("encoders")
    for make in (encoders.bert, encoders.vit, encoders.clip, encoders.gpt2):
        make(folder / make.__name__)
    encoders.changed(folder / "bert", folder / "other", seed=1)
    return folder


@pytest.fixture(scope="session")
def bert(folders: Path) -> Model:
    return Model(folders / "bert", device="cpu")


@pytest.fixture(scope="session")
def vit(folders: Path) -> Model:
    return Model(folders / "vit", device="cpu")


@pytest.fixture(scope="session")
def clip(folders: Path) -> Model:
    return Model(folders / "clip", device="cpu")


@pytest.fixture
def taste(tmp_path: Path) -> Read:
    """Return what reads so many labelled texts."""

    def make(count: int = 12, seed: int = 0, task: str = "taste") -> Examples:
        path = encoders.table(tmp_path / f"{task}-{count}-{seed}.tsv", encoders.sentences(task, count, seed))
        return read(Source(path=str(path), labels=tuple(encoders.TASKS[task])))

    return make


@pytest.fixture
def pictures(tmp_path: Path) -> Examples:
    return read(Source(path=str(encoders.pictures(tmp_path / "pictures.npz", 10))))
