"""What the tests of suites share, each made once: three tiny tasks and their specialists; a tiny CLIP."""

import shutil
from pathlib import Path

import pytest

import encoders
from cli.conftest import Command, command, no_progress_lines  # noqa: F401
from taskvec.cli.app import app
from taskvec.cli.exits import run
from taskvec.suite.load import Loaded, load_suite

from . import tiny_clip

TASKS = tuple(encoders.TASKS)
SIZES = {"train": 40, "test": 30}
SUITE = """\
name: Tiny three
base: base
training: {epochs: 6, batch: 8, rate: 0.005, precision: float32}
examples: {held_out: 0.4}
tasks:
  taste: {data: taste.tsv, labels: [good, bad]}
  pets: {data: pets.tsv, labels: [cat, dog, bird], head: {template: 'the {}'}}
  place: {data: place.tsv, labels: [city, forest], head: {kind: class_means}}
methods:
- {method: task_arithmetic, grid: [0.1, 0.4, 0.7]}
- {method: linear, name: average}
- {method: ties, settings: {density: 0.5}, grid: [1.0]}
"""


def fill(folder: Path, suite: str = SUITE) -> Path:
    """Write the base, the data and the suite."""
    encoders.bert(folder / "base")
    for task in TASKS:
        encoders.split_table(folder / f"{task}.tsv", task, SIZES)
    (folder / "tiny.yaml").write_text(suite)
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the suite and everything trained; not to be written into."""
    folder = fill(tmp_path_factory.mktemp("suite"))
    assert run(app, ["bench", "train", str(folder / "tiny.yaml"), "--device", "cpu", "--quiet"]) == 0
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, where the test then stands; scores are kept in it."""
    folder = tmp_path / "here"
    shutil.copytree(trained, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TASKVEC_CACHE", str(folder / "kept"))
    return folder


@pytest.fixture
def loaded(here: Path) -> Loaded:
    return load_suite(here / "tiny.yaml")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that tests only read: base, specialists a and b, data, suite.yaml."""
    path = tmp_path_factory.mktemp("clip")
    tiny_clip.make(path)
    return path
