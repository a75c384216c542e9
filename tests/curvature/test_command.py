"""`taskvec curvature`, end to end."""

import json
from pathlib import Path

import pytest

import encoders
from curvature.conftest import Command
from taskvec.store.statistics import Statistics

TASKS = """base: bert
tasks:
  pets: {data: split.tsv, model: bert}
  more: {data: split.tsv, model: bert}
"""


@pytest.fixture
def here(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `bert`, `pets.tsv`, `split.tsv` and `tasks.yaml`, where the test then stands."""
    for name in ("bert", "vit", "pets.tsv"):
        (tmp_path / name).symlink_to(folder / name)
    encoders.split_table(tmp_path / "split.tsv", "pets", {"train": 30, "test": 6})
    (tmp_path / "tasks.yaml").write_text(TASKS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


ONE = ("curvature", "--model", "bert", "--data", "pets.tsv", "--device", "cpu", "-o", "stats")


def test_printed(here: Path, command: Command) -> None:
    done = command(*ONE, "--base", "bert", "--batch", "5")
    assert done.status == 0, done.err
    assert "pets: empirical_fisher of 12 examples in 3 batches; each 1 × forward and 1 × backward; " in done.err
    assert "pets: diagonal, 37 tensors" in done.out
    assert "embedding" in done.out and "norm" in done.out
    assert "% by two halves of the 12 examples (cosine 0." in done.out
    assert "without statistics, as no gradient reaches them: pooler.dense.bias and 1 more\n" in done.out
    assert Statistics(here / "stats").facts["settings"]["tokens"] == 128


def test_json_of_every_task(here: Path, command: Command) -> None:
    words = (
        "curvature",
        "--tasks",
        "tasks.yaml",
        "--estimator",
        "kfac",
        "--examples",
        "8",
        "--device",
        "cpu",
        "-o",
        "stats",
    )
    done = command(*words, "--json")
    assert done.status == 0, done.err
    assert done.err == ""
    data = json.loads(done.out)
    assert list(data) == ["pets", "more"]
    assert data["pets"]["data"]["examples"] == 8
    assert Statistics(here / "stats" / "more").kind == "kronecker"
    again = command(*words, "--json")
    assert json.loads(again.out) == data, "what is there of the same work is kept"
    other = command(*("6" if word == "8" else word for word in words))
    assert (other.status, other.err) == (
        3, "stats/pets exists. Choose another folder, or type --force to replace it.\n"
    )  # fmt: skip
    assert command(*words, "--only", "more", "--force", "--quiet").status == 0


def test_only_training_examples_are_read(here: Path, command: Command) -> None:
    done = command("curvature", "--tasks", "tasks.yaml", "--only", "pets", "--examples", "0", "--json", "-o", "stats")
    assert json.loads(done.out)["pets"]["data"]["examples"] == 27  # a tenth of 30 is held out for validation


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--data", "pets.tsv"), 2, "there is no model to measure. Type --model."),
        (("--model", "bert"), 2, "there is no data to measure on. Type --data train.tsv, or --tasks tasks.yaml."),
        (("--model", "vit", "--base", "bert", "--data", "pets.tsv"), 3, "was made for bert of width 16 with 2 layers"),
        (("--model", "bert", "--data", "pets.tsv", "--draws", "0"), 2, "'draws' must be at least 1, got 0."),
        (("--model", "bert", "--data", "pets.tsv", "--estimator", "hessian"), 2, 'Invalid value "hessian"'),
    ],
    ids=["no model", "no data", "another head", "no draws", "no such estimator"],
)
def test_wrong(here: Path, command: Command, words: tuple[str, ...], status: int, said: str) -> None:
    done = command("curvature", *words, "-o", "stats", "--device", "cpu")
    assert (done.status, said in done.err) == (status, True), done.err
    assert not (here / "stats").exists()
