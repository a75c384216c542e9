"""Everything that is refused, each with one sentence; and nothing half-written that looks finished."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from taskvec.packs import Packed
from taskvec.packs.packing import _Work
from taskvec.store.pack import Pack
from taskvec.testing import finetuned, tiny_tensors, write_model

Packing = Callable[..., Packed]


def changed_header(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Write a pack again with another header."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def test_another_base(family: Path, packed: Packing, tmp_path: Path) -> None:
    with pytest.raises(
        tv.MismatchError, match=r"'low_rank.pack#math' was made from the base tv1:.* but .*code is tv1:"
    ):
        tv.unpack(packed("low_rank").path, "math", tmp_path / "out", base=family / "code")
    assert not (tmp_path / "out").exists()


def test_a_task_that_is_not_there(family: Path, packed: Packing, tmp_path: Path) -> None:
    with pytest.raises(tv.RecipeError, match=r"has no task 'maths'\. It has math, code\."):
        tv.unpack(packed("low_rank").path, "maths", tmp_path / "out", base=family / "base")
    data = {"method": "ties", "base": str(family / "base"), "models": [str(packed("low_rank").path)]}
    with pytest.raises(tv.RecipeError, match=r"holds several models\. Name one: .*low_rank.pack#math"):
        tv.make_plan(tv.Recipe.model_validate(data))


@pytest.mark.parametrize("method", ["low_rank", "sparse", "tall"])
def test_a_flipped_bit(family: Path, packed: Packing, tmp_path: Path, method: str) -> None:
    path = packed(method).path
    with Pack(path) as opened:
        info = opened.parts("math")[-1]
    with path.open("r+b") as file:
        file.seek(info.begin)
        byte = file.read(1)[0]
        file.seek(info.begin)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(tv.FormatError, match=f"is damaged: '{info.name}' is not what it was"):
        tv.unpack(path, "math", tmp_path / "out", base=family / "base")
    assert not (tmp_path / "out").exists()


def test_a_file_that_was_cut_off(family: Path, packed: Packing, tmp_path: Path) -> None:
    path = packed("bits").path
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(tv.FormatError, match="is truncated"):
        tv.unpack(path, "math", tmp_path / "out", base=family / "base")


def _without_text(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["__metadata__"].pop(key)


def _encoded(**keys: Any) -> Callable[[dict[str, Any]], None]:
    def change(header: dict[str, Any]) -> None:
        texts = header["__metadata__"]
        encodings = json.loads(texts["taskvec.encodings"])
        encodings["lm_head.weight"][0] |= keys
        texts["taskvec.encodings"] = json.dumps(encodings)

    return change


def _of_version_2(header: dict[str, Any]) -> None:
    header["__metadata__"]["taskvec.pack"] = "2"


def _without_a_tensor(header: dict[str, Any]) -> None:
    texts = header["__metadata__"]
    encodings = json.loads(texts["taskvec.encodings"])
    del encodings["lm_head.weight"]
    texts["taskvec.encodings"] = json.dumps(encodings)


def _with_another_name(header: dict[str, Any]) -> None:
    header["other"] = header.pop("tasks/0/lm_head.weight/left")


HEADERS = [
    (_without_text("taskvec.pack"), "is no pack. Make one: taskvec pack"),
    (_without_text("taskvec.tasks"), "is damaged: its header does not describe a pack"),
    (_of_version_2, "is a pack of version '2'; this version reads '1'"),
    (_encoded(kind="magic"), "stores 'lm_head.weight' as 'magic', which this version does not know"),
    (_encoded(rank=0), "'lm_head.weight' is stored with rank 0"),
    (_encoded(rank=4), r"'tasks/0/lm_head.weight/left' is F16 \(100, 16\), expected .*\(100, 4\)"),
    (_with_another_name, "is damaged: it lacks 'tasks/0/lm_head.weight/left'"),
    (_without_a_tensor, "is damaged: its header does not say how 'lm_head.weight' is stored"),
]


@pytest.mark.parametrize(("change", "said"), HEADERS, ids=[said[:40] for _, said in HEADERS])
def test_a_damaged_header(family: Path, packed: Packing, change: Callable[[dict[str, Any]], None], said: str) -> None:
    path = packed("low_rank").path
    changed_header(path, change)
    with pytest.raises(tv.FormatError, match=said), Pack(path) as opened:
        opened.open("math", tv.Checkpoint(family / "base"))


@pytest.mark.parametrize("part", ["value_starts", "gap_starts", "gaps"])
def test_places_that_lead_nowhere(family: Path, packed: Packing, part: str) -> None:
    """Even where nobody compared checksums."""
    path = packed("sparse", density=0.01).path
    with Pack(path) as opened:
        info = next(i for i in opened.parts("math") if i.name == f"tasks/0/lm_head.weight/{part}")
    with path.open("r+b") as file:
        file.seek(info.begin)
        file.write(b"\xfe" * info.nbytes)
    with Pack(path) as opened, pytest.raises(tv.FormatError, match="is damaged"):
        opened.open("math", tv.Checkpoint(family / "base")).raw("lm_head.weight")


@pytest.mark.parametrize(
    ("method", "settings", "said"),
    [
        ("low_rnk", {}, r"unknown method of packing 'low_rnk'\. Did you mean 'low_rank'\?"),
        ("bits", {"row": True}, r"'bits' has no setting 'row'\. Did you mean 'rows'\?"),
        ("sparse", {"density": 0}, r"'density' must be in \(0, 1\], got 0"),
        ("low_rank", {"rank": 0}, r"'rank' must be in \[1, inf\), got 0"),
        ("low_rank", {"factors": "int4"}, "'factors' must be one of float16, bfloat16, float32, int8, got 'int4'"),
        ("tall", {"tall": [0.2, 0.4, 0.5]}, "'tall' has 3 numbers for 2 models"),
        ("bits", {"whole": "lm_head.weight"}, "'whole' must be a list of patterns"),
    ],
)
def test_what_may_not_be_set(packed: Packing, method: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(tv.RecipeError, match=said):
        packed(method, **settings)


def test_names_of_tasks(family: Path, tmp_path: Path) -> None:
    math, out = family / "math", tmp_path / "t.pack"
    with pytest.raises(tv.RecipeError, match="two of the models are called 'math'"):
        tv.pack(family / "base", [math, math], out)
    with pytest.raises(tv.RecipeError, match="'a#b' cannot be the name of a task"):
        tv.pack(family / "base", [f"a#b={math}"], out)
    with pytest.raises(tv.RecipeError, match="there is no model to pack"):
        tv.pack(family / "base", [], out)


def test_an_output_that_is_there(family: Path, packed: Packing, tmp_path: Path) -> None:
    path = packed("bits").path
    with pytest.raises(tv.OutputError, match=r"exists\. Choose another name, or type --force"):
        tv.pack(family / "base", [family / "math"], path)
    with pytest.raises(tv.RecipeError, match=r"does not end in .pack. Type e.g. .*t.pack"):
        tv.pack(family / "base", [family / "math"], tmp_path / "t.safetensors")
    tv.unpack(path, "math", tmp_path / "out", base=family / "base")
    with pytest.raises(tv.OutputError, match="exists and is not empty"):
        tv.unpack(path, "math", tmp_path / "out", base=family / "base")
    with pytest.raises(tv.FormatError, match="is no pack: a file was expected"):
        Pack(family / "base")


def test_a_head_that_would_be_lost(tmp_path: Path) -> None:
    base = tiny_tensors(hidden=32)
    tuned, embedding = finetuned(base, 1), "model.embed_tokens.weight"
    del base["lm_head.weight"]
    write_model(tmp_path / "base", base, config={"tie_word_embeddings": True})
    write_model(tmp_path / "math", tuned)
    with pytest.raises(tv.MismatchError, match=r"math has a 'lm_head.weight' of its own, which .*base ties to"):
        tv.pack(tmp_path / "base", [tmp_path / "math"], tmp_path / "t.pack")
    write_model(tmp_path / "twice", {**tuned, "lm_head.weight": tuned[embedding]})
    assert tv.pack(tmp_path / "base", [tmp_path / "twice"], tmp_path / "t.pack").tasks[0]["name"] == "twice"


def test_numbers_that_are_none(family: Path, tmp_path: Path) -> None:
    base = tiny_tensors(hidden=32)
    broken = finetuned(base, 1)
    broken["lm_head.weight"][3, 3] = np.nan
    write_model(tmp_path / "base", base)
    write_model(tmp_path / "math", broken)
    with pytest.raises(tv.NumbersError, match=r"'lm_head.weight' in .*math, or in its base, holds NaN or Inf"):
        tv.pack(tmp_path / "base", [tmp_path / "math"], tmp_path / "t.pack")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base", "math"]


@pytest.mark.parametrize(
    ("method", "settings", "remedy"),
    [
        ("sparse", {"values": "float16"}, "values=bfloat16"),
        ("low_rank", {}, "factors=bfloat16"),
        ("emr", {"shared": "float16"}, "shared=bfloat16"),
    ],
)
def test_changes_that_float16_cannot_hold(tmp_path: Path, method: str, settings: dict[str, Any], remedy: str) -> None:
    base = {"w": np.zeros((80, 80), np.float32)}
    write_model(tmp_path / "base", base)
    write_model(tmp_path / "math", {"w": np.full((80, 80), 1e12, np.float32)})
    with pytest.raises(tv.NumbersError, match=f"the change of 'w' is too large .* Type --set {remedy}"):
        tv.pack(tmp_path / "base", [tmp_path / "math"], tmp_path / "t.pack", method=method, settings=settings)


def test_an_older_pack_stays_until_the_new_one_is_whole(
    family: Path, packed: Packing, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = packed("bits").path
    content = before.read_bytes()

    def stop(self: _Work) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_Work, "facts", stop)
    with pytest.raises(KeyboardInterrupt):
        packed("bits")
    assert before.read_bytes() == content
    assert [p.name for p in before.parent.iterdir()] == [before.name]


def test_a_pack_is_no_model(family: Path, packed: Packing) -> None:
    path = packed("bits").path
    data = {"method": "linear", "models": [f"{path}#math", str(family / "code")]}
    with pytest.raises(tv.RecipeError, match="is packed, as a change of a base"):
        tv.make_plan(tv.Recipe.model_validate(data))
    data = {"method": "ties", "base": f"{path}#math", "models": [str(family / "code")]}
    with pytest.raises(tv.RecipeError, match="'base' must be a model"):
        tv.make_plan(tv.Recipe.model_validate(data))
