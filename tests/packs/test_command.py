"""`taskvec pack` and `taskvec unpack`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import taskvec as tv
from taskvec.cli.app import app
from taskvec.cli.exits import run

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Return what runs `taskvec` with some words, beside links to the family."""
    monkeypatch.chdir(tmp_path)
    for model in family.iterdir():
        (tmp_path / model.name).symlink_to(model)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = run(app, words)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def test_there_and_back(command: Command) -> None:
    words = ["pack", "base", "math", "second=code", "-o", "t.pack", "--set", "small=512", "--set", "settings.rank=4"]
    status, out, _ = command(*words)
    assert status == 0
    assert "t.pack: 2 models by low_rank in " in out
    assert "rank 4 to 4; packed in" in out
    status, out, _ = command("unpack", "t.pack", "--list")
    assert status == 0
    assert "second" in out
    status, out, _ = command("unpack", "t.pack", "--base", "base", "--task", "second", "-o", "again")
    assert status == 0
    assert "13 tensors merged" not in out
    assert "12 tensors merged by task_arithmetic, 1 copied" in out
    assert len(tv.Checkpoint("again")) == 13


def test_a_recipe_of_packed_models(command: Command, tmp_path: Path) -> None:
    """Named in a file, whose paths start from its own folder."""
    assert command("pack", "base", "math", "code", "-o", "here/t.pack", "--set", "small=512", "-q")[0] == 0
    (tmp_path / "here" / "r.yaml").write_text("method: ties\nbase: ../base\nmodels: [t.pack#math, ./t.pack#code]\n")
    status, out, err = command("merge", "here/r.yaml", "-o", "merged")
    assert (status, err) == (0, "")
    assert "12 tensors merged by ties" in out
    receipt = json.loads((tmp_path / "merged" / "receipt.json").read_text())
    assert [i["path"].rpartition("/")[2] for i in receipt["inputs"]] == ["base", "t.pack#math", "t.pack#code"]


def test_json(command: Command) -> None:
    words = ["pack", "base", "math", "-o", "t.pack", "--method", "sparse", "--set", "small=512", "--budget", "40kB"]
    status, out, err = command(*words, "--json")
    facts = json.loads(out)
    assert (status, err) == (0, "")
    assert facts["bytes"] == Path("t.pack").stat().st_size <= 40_000
    assert facts["tasks"][0].keys() == {"name", "fingerprint", "bytes", "share", "error", "cosine"}
    listed = json.loads(command("unpack", "t.pack", "--list", "--json")[1])
    assert listed["tasks"] == facts["tasks"]
    assert json.loads(command("unpack", "t.pack", "--base", "base", "--task", "math", "-o", "x", "--json")[1])["files"]


def test_what_is_refused(command: Command) -> None:
    assert command("pack", "base", "math", "-o", "t.pack", "-q") == (0, "", "")
    status, _, err = command("pack", "base", "math", "-o", "t.pack")
    assert (status, "type --force" in err) == (3, True)
    assert command("pack", "base", "math", "-o", "t.pack", "--force", "-q") == (0, "", "")
    status, _, err = command("unpack", "t.pack", "--base", "base", "-o", "x")
    assert (status, "--task is missing. Type: taskvec unpack t.pack --base BASE" in err) == (2, True)
    status, _, err = command("pack", "base", "math", "-o", "u.pack", "--budget", "some")
    assert (status, "'some' is not a size" in err) == (2, True)
