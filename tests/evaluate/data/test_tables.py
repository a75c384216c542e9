"""Tables of every kind give the same examples, and say what is wrong with them."""

import csv
import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taskvec.errors import FormatError, MissingExtraError, RecipeError, StoreError
from taskvec.evaluate.data import Source, read

ROWS = [
    ("train", "pos", 'a "quoted, word'),
    ("test", "neg", '"five'),
    ("test", "pos", "naïve ☃"),
    ("train", "mixed", "so, so"),
]
HEADER = ("split", "label", "text")


def csv_of(path: Path, rows: Any = ROWS, header: Any = HEADER) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def tsv_of(path: Path, rows: Any = ROWS, header: Any = HEADER) -> None:
    path.write_text("".join("\t".join(row) + "\n" for row in [header, *rows]), "utf-8")


def jsonl_of(path: Path, rows: Any = ROWS, header: Any = HEADER) -> None:
    path.write_text("".join(json.dumps(dict(zip(header, row, strict=True))) + "\n" for row in rows), "utf-8")


def parquet_of(path: Path, rows: Any = ROWS, header: Any = HEADER) -> None:
    pq.write_table(pa.table(dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))), path)


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("write", [csv_of, tsv_of, jsonl_of, parquet_of])
def test_every_kind_of_table_gives_the_same_examples(write: Callable[..., None], packed: str, tmp_path: Path) -> None:
    name = "t." + write.__name__.removesuffix("_of")
    write(tmp_path / name)
    if packed:
        (tmp_path / (name + packed)).write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    tsv_of(tmp_path / "same.tsv")

    found = read(Source(path=name + packed, split="test"), root=tmp_path)

    assert (found.kind, list(found.inputs), found.names) == ("text", ['"five', "naïve ☃"], ("mixed", "neg", "pos"))
    assert found.labels is not None and found.labels.tolist() == [1, 2] and found.labels.dtype == np.int64
    assert len(found) == 2 and found.origin == f"{name}{packed}, test"
    assert found.digest == read(Source(path="same.tsv", split="test"), root=tmp_path).digest


def test_a_table_without_a_header_is_read_by_the_names_given_and_a_header_is_no_row(tmp_path: Path) -> None:
    body = "train\t1\tone\ntest\t0\ttwo\n\n"
    (tmp_path / "bare.tsv").write_text(body)
    (tmp_path / "headed.tsv").write_bytes(b"\xef\xbb\xbfsplit\tlabel\ttext\r\n" + body.replace("\n", "\r\n").encode())
    bare, headed = (
        read(Source(path=f"{name}.tsv", columns=HEADER, split="train"), root=tmp_path) for name in ("bare", "headed")
    )
    assert list(bare.inputs) == ["one"] and bare.digest == headed.digest


def test_one_split_needs_no_name(tmp_path: Path) -> None:
    tsv_of(tmp_path / "a.tsv", ROWS[1:3])
    assert len(read(Source(path="a.tsv"), root=tmp_path)) == 2


def test_pairs_of_texts_with_scores(tmp_path: Path) -> None:
    csv_of(tmp_path / "s.csv", [("a", "b", "3.75"), ("c", "d", "0")], ("one", "two", "score"))
    found = read(Source(path="s.csv", text=("one", "two"), label="score", scores=True), root=tmp_path)
    assert found.kind == "pair" and list(found.inputs) == [("a", "b"), ("c", "d")] and found.names == ()
    assert found.labels is not None and found.labels.tolist() == [3.75, 0.0] and found.labels.dtype == np.float64


def test_texts_without_labels(tmp_path: Path) -> None:
    jsonl_of(tmp_path / "t.jsonl", [("x",)], ("text",))
    found = read(Source(path="t.jsonl", label=None), root=tmp_path)
    assert found.labels is None and found.names == ()


def test_a_field_may_be_longer_than_python_allows_by_itself(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    csv_of(tmp_path / "long.csv", [("test", "a", "x" * (before + 1))])
    assert len(read(Source(path="long.csv"), root=tmp_path).inputs[0]) == before + 1
    assert csv.field_size_limit() == before


def test_images_named_by_a_table_are_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"bytes of a")
    csv_of(tmp_path / "pictures" / "list.csv", [("a.png", "cat")], ("image", "label"))
    found = read(Source(path="pictures/list.csv"), root=tmp_path)
    assert found.kind == "image" and list(found.inputs) == [b"bytes of a"]


def test_parquet_of_datasets_knows_its_classes(tmp_path: Path) -> None:
    features = {"label": {"names": ["no", "yes", "maybe"], "_type": "ClassLabel"}}
    table = pa.table({"text": ["a", "b"], "label": [1, 0]})
    info = json.dumps({"info": {"features": features}}).encode()
    pq.write_table(table.replace_schema_metadata({b"huggingface": info}), tmp_path / "t.parquet")
    found = read(Source(path="t.parquet"), root=tmp_path)
    assert found.names == ("no", "yes", "maybe")
    assert found.labels is not None and found.labels.tolist() == [1, 0]


WRONG = {
    "a missing column": (tsv_of, ROWS, HEADER, {"text": "txet"}, r"t\.tsv has no 'txet', only 'split', 'label', 'te"),
    "a near name": (tsv_of, ROWS, HEADER, {"text": "texts"}, r"Did you mean 'text'\?"),
    "no header line": (tsv_of, ROWS[1:], ROWS[0], {}, r"If the file has no header line, name its columns with 'col"),
    "a missing label column": (
        tsv_of, ROWS, HEADER, {"label": "class", "split": "test"}, r"no 'class', only .*set 'label: null'"
    ),
    "an unknown split": (tsv_of, ROWS, HEADER, {"split": "tests"}, r"no split 'tests', only test, train.*mean 'test'"),
    "no split named": (tsv_of, ROWS, HEADER, {}, r"has the splits test, train; say which, e\.g\. 'split: test'"),
    "no splits at all": (
        tsv_of, [("a", "b")], ("label", "text"), {"split": "test"}, r"has no 'split', only .*leave 'split: test' out"
    ),
    "no rows": (tsv_of, [], HEADER, {"split": "test"}, r"has no examples in its split 'test'"),
    "texts and images": (
        tsv_of, [("a", "b", "c")], ("image", "label", "text"), {}, r"has both 'text' and 'image': set 'image: null'"
    ),
    "nothing to read": (tsv_of, ROWS, HEADER, {"text": None, "image": None}, r"'text' and 'image' are both null"),
    "too many names": (tsv_of, ROWS, HEADER, {"columns": ("a", "b")}, r"has 3 columns, and 'columns' names 2: a, b"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_a_table_does_not_have(case: str, tmp_path: Path) -> None:
    write, rows, header, settings, match = WRONG[case]
    write(tmp_path / "t.tsv", rows, header)
    with pytest.raises((RecipeError, FormatError), match=match):
        read(Source(path="t.tsv", **settings), root=tmp_path)


BROKEN = {
    "a.csv": (b"label,text\na,b\nc,d,e\n", r"a\.csv, line 3: 3 columns, where the table has 2"),
    "b.csv": (b'label,text\na,"never closed\n', r"line 2: not as CSV is quoted"),
    "c.csv": (b"text,text\na,b\n", r"two columns 'text' in its header"),
    "d.tsv": (b"label\ttext\na\tb\x96\n", r"d\.tsv is not UTF-8"),
    "e.tsv": (b"", r"e\.tsv is empty"),
    "f.jsonl": (b'{"text": "a", "label": 0}\n\n{"text": "b"}\n', r"f\.jsonl, line 3: no 'label'"),
    "g.jsonl": (b'{"text": "a"}\n{oops}\n', r"g\.jsonl, line 2: no JSON"),
    "h.jsonl": (b"[1, 2]\n", r"line 1: list, where each line is an object"),
    "i.jsonl": (b'{"text": 5, "label": 0}\n', r"i\.jsonl, line 1: 'text' is 5, where a text was expected"),
    "j.parquet": (b"PAR1 not at all", r"j\.parquet is no Parquet file"),
    "k.tsv.gz": (gzip.compress(b"label\ttext\na\tb\n")[:-4], r"k\.tsv\.gz is no whole gzip file"),
    "l.tsv.gz": (b"label\ttext\na\tb\n", r"l\.tsv\.gz is no whole gzip file"),
    "m.jsonl": (b"\n", r"m\.jsonl is empty"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_sentence(name: str, tmp_path: Path) -> None:
    content, match = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=match):
        read(Source(path=name), root=tmp_path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"none\.tsv does not exist"):
        read(Source(path="none.tsv"), root=tmp_path)
    with pytest.raises(StoreError, match=r"none\.npz does not exist"):
        read(Source(path="none.npz"), root=tmp_path)
    csv_of(tmp_path / "list.csv", [("gone.png", "cat")], ("image", "label"))
    with pytest.raises(StoreError, match=r"gone\.png does not exist"):
        read(Source(path="list.csv"), root=tmp_path)


def test_an_unknown_ending_says_which_are_known(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"a\.xlsx has an ending that is not known; known are \.csv, \.tsv"):
        read(Source(path="a.xlsx"), root=tmp_path)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet_of(tmp_path / "t.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'taskvec\[data\]'"):
        read(Source(path="t.parquet"), root=tmp_path)
