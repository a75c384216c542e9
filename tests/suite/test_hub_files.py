"""The suites of the hub's models, and the key by which they share their tasks. Nothing here asks the network."""

from pathlib import Path

import pytest

from taskvec.errors import RecipeError
from taskvec.suite.load import load_suite
from taskvec.suite.schema import ClassifyEntry, GenerateEntry

HUB = Path(__file__).parents[2] / "benchmarks" / "suite" / "hub"
CLIP = {"b-32": "base-patch32", "b-16": "base-patch16", "l-14": "large-patch14"}


@pytest.mark.parametrize("count", [8, 14, 20])
@pytest.mark.parametrize("size", CLIP)
def test_clip(size: str, count: int) -> None:
    suite = load_suite(HUB / f"clip-vit-{size}-{count}.yaml").suite
    assert suite.base == f"openai/clip-vit-{CLIP[size]}" and suite.control == "tiny-imagenet"
    assert len(suite.tasks) == count + 1 and suite.tasks["tiny-imagenet"].model is None
    for name, entry in suite.tasks.items():
        assert isinstance(entry, ClassifyEntry) and entry.data.startswith("datasets:")
        assert len(set(entry.labels)) == len(entry.labels) >= 2, f"{name}: two labels of one name"
        assert all(template.count("{}") == 1 for template in entry.head.template)
        if name != suite.control:
            assert entry.model == f"tanganke/clip-vit-{CLIP[size]}_{name}"


def test_known_numbers_of_labels() -> None:
    tasks = load_suite(HUB / "clip-tasks.yaml").suite.tasks
    counts = {"sun397": 397, "stanford-cars": 196, "resisc45": 45, "eurosat": 10, "svhn": 10, "gtsrb": 43, "mnist": 10,
        "dtd": 47, "oxford_flowers102": 102, "pcam": 2, "fer2013": 7, "oxford-iiit-pet": 37, "stl10": 10,
        "cifar100": 100, "cifar10": 10, "food101": 101, "fashion_mnist": 10, "emnist_letters": 26, "kmnist": 10,
        "rendered-sst2": 2, "tiny-imagenet": 200}  # fmt: skip
    assert {name: len(entry.labels) for name, entry in tasks.items()} == counts  # type: ignore[union-attr]


def test_language_models() -> None:
    gpt2, t5 = (load_suite(HUB / f"{name}.yaml").suite for name in ("gpt2-glue", "flan-t5-base-glue"))
    assert list(gpt2.tasks) == ["cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2"]
    assert list(t5.tasks) == [*gpt2.tasks, "stsb"]
    for entry in gpt2.tasks.values():
        assert isinstance(entry, ClassifyEntry) and entry.head.kind == "checkpoint" and entry.model
    for entry in t5.tasks.values():
        assert isinstance(entry, GenerateEntry) and entry.template.count("{}") == len(entry.text or ())
        assert (entry.metric == "spearman") == (not entry.labels)


def test_what_a_file_leaves_out_is_taken_from_the_other(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(
        "name: all\nbase: x\ntasks:\n  a: {data: a.tsv, labels: [n, y]}\n  b: {data: b.tsv}\n"
    )
    (tmp_path / "some.yaml").write_text(
        "extends: all.yaml\nbase: y\ntasks:\n  a: {model: m, labels: [p, q]}\n  c: {data: c.tsv}\n"
    )
    suite = load_suite(tmp_path / "some.yaml").suite
    assert (suite.name, suite.base, list(suite.tasks)) == ("all", "y", ["a", "c"])
    first = suite.tasks["a"]
    assert isinstance(first, ClassifyEntry) and (first.data, first.model, first.labels) == ("a.tsv", "m", ["p", "q"])
    (tmp_path / "same.yaml").write_text("extends: all.yaml\n")
    assert list(load_suite(tmp_path / "same.yaml").suite.tasks) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "other", "message"),
    [
        ("extends: none.yaml\n", "", r"none\.yaml cannot be read as a file of tasks: No such file"),
        ("name: x\nextends: [1]\n", "", r"some\.yaml:2: 'extends' must be the path of a file, got \[1\]\."),
        ("extends: all.yaml\n", "extends: some.yaml\ntasks: {a: {data: a}}\n", r"some\.yaml:1: .*extends another file"),
        ("extends: all.yaml\n", "tasks:\n  a: {data: a, modl: x}\n", r"all\.yaml:2: unknown key 'modl'"),
        ("extends: all.yaml\ntasks:\n  b: {modl: x}\n", "tasks: {a: {data: a}}\n", r"some\.yaml:3: 'data' is missing"),
    ],
)
def test_refusals(text: str, other: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "some.yaml").write_text(text)
    (tmp_path / "all.yaml").write_text(other or "tasks: {a: {data: a}}\n")
    with pytest.raises(RecipeError, match=message):
        load_suite(tmp_path / "some.yaml")
