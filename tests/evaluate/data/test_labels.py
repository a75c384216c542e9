"""Which number a label gets, and what is said of one that gets none."""

from pathlib import Path
from typing import Any

import pytest

from taskvec.errors import FormatError, RecipeError
from taskvec.evaluate.data import Examples, Source, read


def read_labels(tmp_path: Path, *labels: Any, **settings: Any) -> Examples:
    """Read a table of these labels; every second row is of the split 'test'."""
    rows = "".join(f"{'test' if i % 2 else 'train'}\t{label}\ttext {i}\n" for i, label in enumerate(labels))
    (tmp_path / "t.tsv").write_text("split\tlabel\ttext\n" + rows)
    return read(Source(path="t.tsv", split="test", **settings), root=tmp_path)


SEA = ("bay", "sea", "sound")


@pytest.mark.parametrize(
    ("labels", "settings", "numbers", "names"),
    [
        (["b", "a", "c", "b"], {}, [0, 1], ("a", "b", "c")),  # the split has no 'c': its number is kept free
        (["10", "9", "9", "10"], {}, [0, 1], ("9", "10")),
        (["x", "2", "0", "0"], {"labels": SEA}, [2, 0], SEA),
        (["x", "sound", "sea", "1"], {"labels": SEA}, [2, 1], SEA),
        (["1", "2", "3", "3"], {"labels": SEA}, [1, 2], SEA),  # 1 to 3: counted from 1
        (["1", "2", "1", "1"], {"labels": SEA}, [2, 1], SEA),  # not wholly 1 to 3: counted from 0
        (["1", "2", "3", "3"], {"labels": ("3", "2", "1")}, [1, 0], ("3", "2", "1")),  # names that are numbers
        (["1.5", "2.5", "1.5", "1.5"], {"labels": ("1.5", "2.5")}, [1, 0], ("1.5", "2.5")),
    ],
)
def test_a_label_is_a_word_or_a_number(
    labels: list[str], settings: dict[str, Any], numbers: list[int], names: tuple[str, ...], tmp_path: Path
) -> None:
    found = read_labels(tmp_path, *labels, **settings)
    assert found.labels is not None and found.labels.tolist() == numbers and found.names == names


@pytest.mark.parametrize(
    ("labels", "settings", "match"),
    [
        (
            ["0", "0", "0", "3"],
            {"labels": SEA},
            r"t\.tsv, line 5: label '3' is not among 0 to 2, the numbers of bay, s",
        ),
        (["0", "-1"], {"labels": SEA}, r"line 3: label '-1' is not among 0 to 2"),
        (["sea", "see"], {"labels": SEA}, r"line 3: label 'see' is not among bay, sea, sound\. Did you mean 'sea'\?"),
        (["0.5", "1"], {}, r"labels are real numbers, e\.g\. 0\.5; set 'scores: true'"),
    ],
)
def test_a_label_that_the_source_does_not_know(
    labels: list[str], settings: dict[str, Any], match: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=match):
        read_labels(tmp_path, *labels, **settings)


@pytest.mark.parametrize(
    ("labels", "settings", "match"),
    [
        (["a", " "], {}, r"line 3: label ' ' is empty"),
        (["1", "good"], {"scores": True}, r"line 3: label 'good' is no real number, as 'scores: true' says"),
        (["1", "nan"], {"scores": True}, r"line 3: label 'nan' is no real number"),
    ],
)
def test_a_label_that_is_none(labels: list[str], settings: dict[str, Any], match: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=match):
        read_labels(tmp_path, *labels, **settings)


@pytest.mark.parametrize(
    ("label", "match"),
    [
        ("null", "label None is no word and no number"),
        ("[1]", r"label \[1\] is no word"),
        ("0.5", "set 'scores: true'"),
    ],
)
def test_a_value_of_json_that_is_no_label(label: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(f'{{"text": "a", "label": "x"}}\n{{"text": "b", "label": {label}}}\n')
    with pytest.raises(FormatError, match=match):
        read(Source(path="t.jsonl"), root=tmp_path)


def test_truth_is_a_label(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "a", "label": true}\n{"text": "b", "label": false}\n')
    found = read(Source(path="t.jsonl"), root=tmp_path)
    assert found.names == ("false", "true") and found.labels is not None and found.labels.tolist() == [1, 0]
    found = read(Source(path="t.jsonl", labels=("healthy", "ill")), root=tmp_path)
    assert found.names == ("healthy", "ill") and found.labels is not None and found.labels.tolist() == [1, 0]
    with pytest.raises(RecipeError, match=r"label True is not among a, b, c\."):
        read(Source(path="t.jsonl", labels=("a", "b", "c")), root=tmp_path)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"held_out": 1.0}, r"t\.tsv: 'held_out' is a share in \[0, 1\), got 1\.0"),
        ({"held_out": float("nan")}, r"'held_out' is a share"),
        ({"part": "rest"}, r"'part' is all, kept or held_out, got 'rest'"),
        ({"part": "held_out"}, r"needs a share to hold out"),
        ({"limit": 0}, r"'limit' is a number of examples from 1, got 0"),
        ({"text": ("a", "b", "c")}, r"'text' names 3 columns"),
        ({"labels": ("a", "a")}, r"'labels' names 'a' twice"),
        ({"labels": ("a",), "scores": True}, r"leave one of them out"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(RecipeError, match=match):
        Source(path="t.tsv", **settings)
