"""One writer of an output at a time."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskvec import OutputError
from taskvec.store.lock import only_writer

HOLDS = """
import sys
from pathlib import Path

from taskvec.store.lock import only_writer

with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", HOLDS, str(tmp_path / "out")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        yield process


def test_another_process_is_refused_and_then_let_in(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    said = r"out is being written by another run\. Wait for it, or choose another folder"
    with pytest.raises(OutputError, match=said), only_writer(tmp_path / "out"):
        raise AssertionError("two writers at once")
    other.communicate("\n", timeout=30)
    with only_writer(tmp_path / "out"):
        assert (tmp_path / ".out.lock").exists()
    assert not list(tmp_path.iterdir())


def test_a_process_that_was_killed_holds_nothing(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    other.kill()
    other.wait(timeout=30)
    with only_writer(tmp_path / "out"):
        assert (tmp_path / ".out.lock").exists()
    assert not list(tmp_path.iterdir())


def test_who_waits_gets_it(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    assert other.stdin
    other.stdin.write("\n")
    other.stdin.flush()
    with only_writer(tmp_path / "out", wait=True):
        assert (tmp_path / ".out.lock").exists()
    assert other.wait(timeout=30) == 0
