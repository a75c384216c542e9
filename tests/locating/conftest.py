"""A tiny base, two models that went along the gradients of two tasks, and a few examples of three tasks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import encoders
from cli.conftest import Command, command, no_progress_lines  # noqa: F401
from taskvec.evaluate.data import Examples, Source, read
from taskvec.evaluate.model import Model
from taskvec.finetune.lessons import Lesson
from taskvec.locating.few import lesson_of
from taskvec.locating.known import Known, known_models
from taskvec.locating.signals import signal_of

TASKS = ("taste", "pets", "place")
Make = Callable[..., Any]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that tests only read: base, the known models `taste` and `pets`, `noise`, and tables of the tasks."""
    path = tmp_path_factory.mktemp("locating")
    encoders.bert(path / "base")
    for task in TASKS:
        for name, seed in (("few", 1), ("other", 2), ("test", 3)):
            encoders.table(path / f"{task}-{name}.tsv", encoders.sentences(task, 24, seed))
    for task in ("taste", "pets"):
        _along(path, task)
    encoders.changed(path / "base", path / "noise", seed=5, size=0.05)
    return path


def _along(path: Path, task: str) -> None:
    """Write a model that went from the base along the gradient of a task's other examples, to a length of 0.3."""
    model = Model(path / "base", device="cpu")
    lesson = lesson_of(model, task, read(Source(path=str(path / f"{task}-other.tsv"))))
    signal = signal_of(model, lesson).tensors
    length = float(torch.stack([x.square().sum() for x in signal.values()]).sum().sqrt())
    encoders.changed(path / "base", path / task, seed=0, size=0.0)
    tensors = load_file(path / task / "model.safetensors")
    moved = {name: x + 0.3 * signal[name] / length if name in signal else x for name, x in tensors.items()}
    save_file(moved, path / task / "model.safetensors", {"format": "pt"})


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, where the test then stands."""
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def base(folder: Path) -> Model:
    return Model(folder / "base", device="cpu")


@pytest.fixture
def known(folder: Path) -> Known:
    return known_models(str(folder / "base"), [str(folder / name) for name in ("taste", "pets", "noise")])


@pytest.fixture
def few(folder: Path) -> Callable[..., Examples]:
    """Return what reads a task's examples."""
    return lambda task, which="few": read(Source(path=str(folder / f"{task}-{which}.tsv")))


@pytest.fixture
def lesson(base: Model, few: Callable[..., Examples]) -> Callable[..., Lesson]:
    """Return what makes a task to be located."""
    return lambda task, which="few", **more: lesson_of(base, task, few(task, which), **more)
