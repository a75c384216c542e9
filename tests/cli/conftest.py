"""What the tests of the commands share: a family of models, and a way to run a command in this process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from taskvec.cli.app import app
from taskvec.cli.exits import run
from taskvec.ops import kernels
from taskvec.testing import finetuned, tiny_tensors, write_model


@dataclass(frozen=True)
class Done:
    """What a command left: its exit status, and what it printed where."""

    status: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture(autouse=True)
def _compiled_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all kernels were compiled, so that no test is told that this takes a while."""
    monkeypatch.setattr(kernels, "when_compiling", lambda tell: None)


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `base`, `math` and `code` and recipe.yaml, where the test then stands."""
    base = tiny_tensors() | {"position_ids": np.arange(4, dtype=np.int64)}
    write_model(tmp_path / "base", base, dtype="BF16")
    for i, name in enumerate(("math", "code")):
        write_model(tmp_path / name, finetuned(base, i), dtype="BF16")
    (tmp_path / "recipe.yaml").write_text("method: ties\nbase: ./base\nmodels: [./math, ./code]\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return what runs `taskvec` with some words."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str | Path, debug: bool = False) -> Done:
        arguments: Sequence[str] = [str(w) for w in words]
        capsys.readouterr()
        status = run(app, arguments, debug=debug)
        printed = capsys.readouterr()
        return Done(status, printed.out, printed.err)

    return call


@pytest.fixture(autouse=True)
def no_progress_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine that compiles kernels for seconds would print a line of progress; these tests ask for words."""
    monkeypatch.setattr("taskvec.cli.show.Lines.EVERY", 3600.0)
