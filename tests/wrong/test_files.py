"""Files that are missing, cut, or not what they say they are."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import taskvec as tv
from taskvec.testing import finetuned

from .conftest import Family, by_hand, split

Refused = Callable[..., str]


class TestMissing:
    def test_folder(self, family: Family, refused: Refused) -> None:
        models = [{"model": str(family.folder / "nowhere")}]
        refused(
            tv.StoreError,
            r"nowhere does not exist\. Give a \.safetensors file, its \.index\.json, a \.gguf file, or a",
            models=models,
        )

    def test_base(self, family: Family, refused: Refused) -> None:
        refused(tv.StoreError, r"nothing does not exist\.", base=str(family.folder / "nothing"))

    def test_weights_in_the_folder(self, family: Family, refused: Refused) -> None:
        family.file("m0").unlink()
        refused(tv.StoreError, r"m0 holds no \.safetensors file and none of PyTorch\.$")

    def test_weights_in_a_format_that_is_read(self, family: Family, refused: Refused) -> None:
        family.file("m0").rename(family.folder / "m0" / "model.onnx")
        refused(tv.StoreError, r"m0 holds no .* It holds model\.onnx, which this version does not read\.$")

    def test_which_gguf_file(self, family: Family, refused: Refused) -> None:
        family.file("m0").rename(family.folder / "m0" / "Q8_0.gguf")
        refused(
            tv.StoreError, r"m0 holds no \.safetensors file and none of PyTorch\. It holds Q8_0\.gguf; name the one"
        )

    def test_a_shard_that_the_index_names(self, family: Family, refused: Refused) -> None:
        family.file("m0").unlink()
        family.write("m0", finetuned(family.base, 0), shard_size=1000)
        gone = sorted((family.folder / "m0").glob("*.safetensors"))[1]
        gone.unlink()
        refused(tv.StoreError, rf"index\.json names the shard {gone.name}, which is not there\. Download it again\.")

    def test_the_index_of_shards(self, family: Family, refused: Refused) -> None:
        family.file("m0").unlink()
        family.write("m0", finetuned(family.base, 0), shard_size=1000)
        (family.folder / "m0" / "model.safetensors.index.json").unlink()
        refused(
            tv.StoreError, r"m0 holds \d+ safetensors files \(.*\) and no model\.safetensors\.index\.json\. Name the on"
        )


class TestAmbiguous:
    def test_a_file_of_another_kind(self, family: Family, refused: Refused) -> None:
        path = family.folder / "m0" / "config.json"
        refused(
            tv.StoreError, r"config\.json is not a checkpoint that can be read: expected", models=[{"model": str(path)}]
        )

    def test_a_whole_model_beside_a_sharded_one(self, family: Family, refused: Refused) -> None:
        """What mergekit leaves when a merge is repeated with another shard size (peers.md C5)."""
        family.write("m0", finetuned(family.base, 0), shard_size=1000)
        refused(
            tv.StoreError,
            r"m0 holds both model\.safetensors and model\.safetensors\.index\.json: two models\. Remove o",
        )

    def test_two_indices(self, family: Family, refused: Refused) -> None:
        family.file("m0").unlink()
        family.write("m0", finetuned(family.base, 0), shard_size=1000)
        index = family.folder / "m0" / "model.safetensors.index.json"
        (family.folder / "m0" / "other.safetensors.index.json").write_text(index.read_text())
        refused(tv.StoreError, r"m0 holds 2 indices \(model.*, other.*\)\. Name the one to read\.")


class TestCut:
    @pytest.mark.parametrize("keep", [0, 1, 7])
    def test_within_the_length(self, family: Family, refused: Refused, keep: int) -> None:
        family.file("m0").write_bytes(family.file("m0").read_bytes()[:keep])
        refused(tv.FormatError, rf"m0/model\.safetensors is truncated: {keep} bytes cannot hold a safetensors header\.")

    @pytest.mark.parametrize("keep", [8, 9, 100])
    def test_within_the_header(self, family: Family, refused: Refused, keep: int) -> None:
        family.file("m0").write_bytes(family.file("m0").read_bytes()[:keep])
        refused(
            tv.FormatError, rf"m0/model\.safetensors is damaged .*: its header claims \d+ bytes, the file has {keep}\."
        )

    @pytest.mark.parametrize("lost", [1, 100, 4000])
    def test_within_the_data(self, family: Family, refused: Refused, lost: int) -> None:
        raw = family.file("m0").read_bytes()
        family.file("m0").write_bytes(raw[:-lost])
        refused(
            tv.FormatError,
            rf"m0/model\.safetensors is truncated: its header promises {len(raw)} bytes, "
            rf"the file has {len(raw) - lost}\. Download it again\.",
        )

    def test_a_shard(self, family: Family, refused: Refused) -> None:
        family.file("m0").unlink()
        family.write("m0", finetuned(family.base, 0), shard_size=1000)
        shard = sorted((family.folder / "m0").glob("*.safetensors"))[2]
        shard.write_bytes(shard.read_bytes()[:-1])
        refused(tv.FormatError, rf"{shard.name} is truncated: its header promises")

    def test_bytes_after_the_end(self, family: Family, refused: Refused) -> None:
        with family.file("m0").open("ab") as file:
            file.write(b"more")
        refused(tv.FormatError, r"m0/model\.safetensors is damaged: 4 bytes after the last tensor are nobody's\.")


def header_with(**entry: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what changes the first tensor of a header."""

    def change(header: dict[str, Any]) -> dict[str, Any]:
        name = next(n for n in header if n != "__metadata__")
        return header | {name: header[name] | entry}

    return change


def drop(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(header: dict[str, Any]) -> dict[str, Any]:
        name = next(n for n in header if n != "__metadata__")
        return header | {name: {k: v for k, v in header[name].items() if k != key}}

    return change


DAMAGED = r"m0/model\.safetensors has a damaged header: "
CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no dtype": (drop("dtype"), DAMAGED + r"'.*' lacks dtype, shape or data_offsets"),
    "no shape": (drop("shape"), DAMAGED + r"'.*' lacks dtype, shape or data_offsets"),
    "no offsets": (drop("data_offsets"), DAMAGED + r"'.*' lacks dtype, shape or data_offsets"),
    "three offsets": (header_with(data_offsets=[0, 1, 2]), DAMAGED + r"'.*' lacks dtype, shape or data_offsets"),
    "an unknown dtype": (header_with(dtype="F12"), r"'.*' has dtype 'F12', which is not known\. Known: F64, F32, F16"),
    "a dtype that is no word": (header_with(dtype=["F32"]), r"'.*' has dtype \['F32'\], which is not known"),
    "a negative shape": (header_with(shape=[-1, 4]), DAMAGED + r"'.*' has shape \(-1, 4\)"),
    "a shape of fractions": (header_with(shape=[1.5]), DAMAGED + r"'.*' has shape \(1\.5,\)"),
    "a shape of truths": (header_with(shape=[True]), DAMAGED + r"'.*' has shape \(True,\)"),
    "a shape of words": (header_with(shape="ab"), DAMAGED + r"'.*' has shape \('a', 'b'\)"),
    "a shape beyond the offsets": (
        header_with(shape=[2**62, 2**62]),
        DAMAGED + r"'.*', I64 .*, takes \d+ bytes, but its offsets 0 to 32 hold 32",
    ),
    "offsets backwards": (
        header_with(data_offsets=[8, 0]),
        DAMAGED + r"'.*', I64 .*, takes \d+ bytes, but its offsets 8 to 0 hold",
    ),
    "negative offsets": (header_with(data_offsets=[-8, 24]), DAMAGED + r"'.*' has shape .* and offsets \[-8, 24\]"),
    "metadata of numbers": (lambda h: h | {"__metadata__": {"a": 1}}, DAMAGED + "'__metadata__' must map text to text"),
    "metadata that is a list": (lambda h: h | {"__metadata__": []}, DAMAGED + "'__metadata__' must map text to text"),
    "a list": (lambda h: [h], DAMAGED + "expected a JSON object, got list"),
    "a tensor that is a number": (lambda h: h | {"x": 5}, DAMAGED + "'x' lacks dtype, shape or data_offsets"),
    "a tensor that is null": (lambda h: h | {"x": None}, DAMAGED + "'x' lacks dtype, shape or data_offsets"),
}


class TestHeaders:
    @pytest.mark.parametrize("name", CHANGES)
    def test_that_lie(self, family: Family, refused: Refused, name: str) -> None:
        change, message = CHANGES[name]
        header, data = split(family.file("m0"))
        by_hand(family.file("m0"), json.dumps(change(header)).encode(), data)
        refused(tv.FormatError, message)

    def test_larger_than_the_file(self, family: Family, refused: Refused) -> None:
        for length in (10**6, 2**40, 2**64 - 1):
            by_hand(family.file("m0"), b"{}", length=length)
            refused(
                tv.FormatError, rf"is damaged or not safetensors: its header claims {length} bytes, the file has 10\."
            )

    def test_larger_than_any(self, family: Family, refused: Refused) -> None:
        """The format's own limit; the file is a hole, so this costs nothing."""
        with family.file("m0").open("wb") as file:
            file.write(struct.pack("<Q", 200_000_000))
            file.truncate(300_000_000)
        refused(tv.FormatError, "is damaged or not safetensors: its header claims 200000000 bytes")

    @pytest.mark.parametrize("text", [b"", b"{", b"nonsense", b"\xff\xfe{}", b"[" * 100_000, b'{"a": 1}{'])
    def test_that_are_no_json(self, family: Family, refused: Refused, text: bytes) -> None:
        by_hand(family.file("m0"), text)
        refused(tv.FormatError, DAMAGED)

    def test_with_overlapping_offsets(self, family: Family, refused: Refused) -> None:
        header = {n: {"dtype": "U8", "shape": [4], "data_offsets": o} for n, o in (("a", [0, 4]), ("b", [2, 6]))}
        by_hand(family.file("m0"), header, b"123456")
        refused(tv.FormatError, DAMAGED + "'b' overlaps the tensor before it")

    def test_with_a_hole(self, family: Family, refused: Refused) -> None:
        header = {n: {"dtype": "U8", "shape": [2], "data_offsets": o} for n, o in (("a", [0, 2]), ("b", [4, 6]))}
        by_hand(family.file("m0"), header, b"123456")
        refused(tv.FormatError, DAMAGED + "2 bytes before 'b' are nobody's")

    def test_with_offsets_beyond_the_file(self, family: Family, refused: Refused) -> None:
        by_hand(family.file("m0"), {"a": {"dtype": "U8", "shape": [10**9], "data_offsets": [0, 10**9]}}, b"1")
        refused(tv.FormatError, r"is truncated: its header promises \d+ bytes, the file has \d+")

    def test_with_a_name_twice(self, family: Family, refused: Refused) -> None:
        entry = json.dumps({"dtype": "U8", "shape": [1], "data_offsets": [0, 1]})
        by_hand(family.file("m0"), f'{{"a": {entry}, "a": {entry}}}'.encode(), b"1")
        refused(tv.FormatError, DAMAGED + "'a' occurs twice")

    @given(data=st.data())
    def test_bytes_changed_at_random_give_a_sentence_or_a_checkpoint(self, family: Family, data: st.DataObject) -> None:
        """Whatever a header becomes, it is refused on purpose or read: no other error, no crash."""
        raw = bytearray(family.file("m1").read_bytes())
        (length,) = struct.unpack("<Q", raw[:8])
        for _ in range(data.draw(st.integers(1, 4))):
            raw[data.draw(st.integers(0, 7 + length))] = data.draw(st.integers(0, 255))
        family.file("m0").write_bytes(raw)
        try:
            with tv.Checkpoint(family.file("m0")) as checkpoint:
                assert all(x.numel() >= 0 for x in checkpoint.values())
        except tv.StoreError as exc:
            assert "m0/model.safetensors" in str(exc)


class TestIndices:
    @pytest.fixture
    def index(self, family: Family) -> Path:
        family.file("m0").unlink()
        family.write("m0", finetuned(family.base, 0), shard_size=1000)
        return family.folder / "m0" / "model.safetensors.index.json"

    def change(self, index: Path, change: Callable[[dict[str, str]], Any]) -> None:
        data = json.loads(index.read_text())
        data["weight_map"] = change(data["weight_map"])
        index.write_text(json.dumps(data))

    @pytest.mark.parametrize(
        "shard", ["../base/model.safetensors", "/etc/passwd", "..", ".", "", "sub/model.safetensors", "./x.safetensors"]
    )
    def test_that_point_outside(self, index: Path, refused: Refused, shard: str) -> None:
        self.change(index, lambda m: m | {"model.norm.weight": shard})
        refused(
            tv.FormatError,
            rf"index\.json names the shard '{shard}', which points outside its folder\. It is not read\.",
        )

    def test_that_name_a_tensor_that_is_not_there(self, index: Path, refused: Refused) -> None:
        self.change(index, lambda m: m | {"extra": next(iter(m.values()))})
        refused(tv.FormatError, r"index\.json says that 'extra' lies in model-00001.*, but it is not there\.")

    def test_that_leave_out_a_tensor(self, index: Path, refused: Refused) -> None:
        self.change(index, lambda m: {n: f for n, f in m.items() if n != "model.layers.0.mlp.up_proj.weight"})
        refused(
            tv.FormatError,
            r"holds 'model\.layers\.0\.mlp\.up_proj\.weight', which model.*index\.json does not list there",
        )

    def test_that_name_another_shard(self, index: Path, refused: Refused) -> None:
        self.change(
            index, lambda m: m | {"model.norm.weight": next(f for f in m.values() if f != m["model.norm.weight"])}
        )
        refused(tv.FormatError, r"index\.json says that 'model\.norm\.weight' lies in .*, but it is not there\.")

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "null"])
    def test_that_are_none(self, index: Path, refused: Refused, text: str) -> None:
        index.write_text(text)
        refused(tv.FormatError, r"index\.json is damaged: ")

    def test_that_name_nothing(self, index: Path, refused: Refused) -> None:
        self.change(index, lambda m: {})
        refused(tv.FormatError, r"m0 holds no tensor\.")

    def test_two_shards_with_the_same_tensor(self, index: Path, family: Family, refused: Refused) -> None:
        first, second = sorted((family.folder / "m0").glob("*.safetensors"))[:2]
        header, data = split(second)
        name = next(n for n in split(first)[0] if n != "__metadata__")
        end = len(data)
        by_hand(second, header | {name: {"dtype": "U8", "shape": [1], "data_offsets": [end, end + 1]}}, data + b"x")
        refused(tv.FormatError, rf"{second.name} holds '{name}', which model.*index\.json does not list there")


class TestSidecars:
    @pytest.mark.parametrize("text", ["{", "[]", "null", ""])
    def test_a_damaged_config(self, family: Family, refused: Refused, text: str) -> None:
        (family.folder / "base" / "config.json").write_text(text)
        refused(tv.FormatError, r"base/config\.json is damaged: ")

    def test_a_damaged_tokenizer(self, family: Family, refused: Refused) -> None:
        (family.folder / "m1" / "tokenizer.json").write_text("{")
        refused(tv.FormatError, r"m1/tokenizer\.json is damaged: ")


def test_a_float8_tensor_without_its_scale(family: Family, refused: Refused) -> None:
    tensors = {n: torch.from_numpy(x) for n, x in finetuned(family.base, 0).items()}
    tensors["lm_head.weight"] = tensors["lm_head.weight"].to(torch.float8_e4m3fn)
    save_file(tensors, family.file("m0"))
    tv.make_plan(family.recipe())  # plain float8 is merged as the numbers that it stands for
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"].to(torch.float8_e4m3fn)
    save_file(tensors | {"model.embed_tokens.weight_scale": torch.ones(1)}, family.file("m0"))
    refused(
        tv.FormatError, r"m0: 'lm_head\.weight' is a quantised tensor \(F8_E4M3\) without its scale\. Use the model"
    )


def test_a_base_of_complex_numbers(family: Family, refused: Refused) -> None:
    tensors = {n: torch.from_numpy(x) for n, x in family.base.items()}
    save_file(tensors | {"freqs": torch.ones(3, dtype=torch.complex64)}, family.file("base"))
    for name in ("m0", "m1"):
        more = {n: torch.from_numpy(x) for n, x in finetuned(family.base, 1).items()}
        save_file(more | {"freqs": torch.ones(3, dtype=torch.complex64)}, family.file(name))
    refused(tv.MismatchError, r"'freqs' in .*base is C64, which cannot be merged")


def test_an_empty_model(family: Family, refused: Refused) -> None:
    for name in ("base", "m0", "m1"):
        by_hand(family.file(name), b"{}      ")
    refused(tv.FormatError, r"base holds no tensor\.")


def test_integers_where_floats_are(family: Family, refused: Refused) -> None:
    tuned = finetuned(family.base, 0)
    family.write("m0", tuned | {"model.norm.weight": np.ones(8, np.int64)})
    refused(tv.MismatchError, r"'model\.norm\.weight' is I64 in .*m0 but F32 in .*base\.")
