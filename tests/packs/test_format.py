"""A reader written from docs/formats.md alone, with nothing but numpy and json, gets what ours gets."""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from taskvec.packs import Packed
from taskvec.packs.methods import PACK_METHODS
from taskvec.store.pack import Pack
from taskvec.testing import write_model

TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I8": "i1", "U8": "u1", "I64": "<i8"}


class Reader:
    """Reads one pack."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        self.header = json.loads(data[8 : 8 + length])
        self.texts = self.header.pop("__metadata__")
        self.data = data[8 + length :]
        assert self.texts["taskvec.pack"] == "1"

    def json(self, key: str) -> Any:
        return json.loads(self.texts[f"taskvec.{key}"])

    def stored(self, name: str) -> np.ndarray:
        entry = self.header[name]
        begin, end = entry["data_offsets"]
        assert zlib.crc32(self.data[begin:end]) == self.json("crc32")[name]
        array = np.frombuffer(self.data[begin:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
        if entry["dtype"] == "BF16":
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array.astype(np.float32) if entry["dtype"] in ("F32", "F16") else array

    def change(self, task: str, name: str, base: np.ndarray) -> np.ndarray:
        """Return τ̂ of one tensor."""
        tasks = self.json("tasks")
        number = [t["name"] for t in tasks].index(task)
        how = self.json("encodings")[name][number]

        def part(which: str) -> np.ndarray:
            return self.stored(f"tasks/{number}/{name}/{which}")

        if how is None:
            return np.zeros_like(base)
        if how["kind"] == "whole":
            return part("weight") - base
        if how["kind"] == "low_rank":
            left, right = part("left"), part("right")
            if how.get("steps"):
                left, right = left * part("left_step"), right * part("right_step")
            return (left @ right).reshape(base.shape)
        if how["kind"] == "sparse":
            return self.sparse(how, part, base.size).reshape(base.shape)
        bits = np.unpackbits(part("bits"), bitorder="little")[: base.size].reshape(base.shape) == 1
        if how["kind"] == "mask":
            return np.where(bits, tasks[number].get("rescaler", 1.0) * self.stored(f"shared/{name}"), 0)
        scale = part("scale").reshape(-1, *(1,) * (base.ndim - 1)) if how["rows"] else part("scale")
        return np.where(bits, scale, -scale)

    def sparse(self, how: dict[str, Any], part: Callable[[str], np.ndarray], count: int) -> np.ndarray:
        out, values, starts, block = np.zeros(count), part("values"), part("value_starts"), how["block"]
        for i in range(len(starts) - 1):
            own = values[starts[i] : starts[i + 1]].astype(np.float32)
            if values.dtype == np.int8:
                own = own * part("steps")[i]
            if how["places"] == "bits":
                places = np.flatnonzero(np.unpackbits(part("bits"), bitorder="little")[i * block : (i + 1) * block])
            else:
                places, at = [], 0
                for byte in part("gaps")[slice(*part("gap_starts")[i : i + 2])]:
                    at += int(byte)
                    if byte < 255:
                        places.append(at)
                        at += 1
            out[i * block + np.asarray(places, int)] = own
        return out


WAYS = [(method, {}) for method in PACK_METHODS]
WAYS += [
    ("sparse", {"density": 0.01, "values": "float16"}),
    ("low_rank", {"factors": "int8"}),
    ("bits", {"rows": True}),
]


@pytest.mark.parametrize(("method", "settings"), WAYS, ids=str)
def test_a_reader_from_the_page(
    family: Path, packed: Callable[..., Packed], method: str, settings: dict[str, Any]
) -> None:
    path = packed(method, **settings).path
    reader, base = Reader(path), tv.Checkpoint(family / "base")
    with Pack(path) as opened:
        ours = opened.open("code", base)
        for name in ours.tensors:
            theirs = reader.change("code", name, base[name].numpy())
            np.testing.assert_allclose(np.reshape(ours.raw(name), theirs.shape), theirs, rtol=1e-4, atol=1e-6)


def test_blocks_and_slices_of_a_large_tensor(tmp_path: Path) -> None:
    """Several blocks of a sparse tensor, and slices that begin and end anywhere."""
    rng = np.random.default_rng(0)
    base = {"w": rng.standard_normal((300, 701)).astype(np.float32)}
    tuned = {"w": base["w"] + rng.standard_normal((300, 701)).astype(np.float32) ** 5}
    write_model(tmp_path / "base", base)
    write_model(tmp_path / "math", tuned)
    origin = tv.Checkpoint(tmp_path / "base")
    for density, places in ((0.3, "bits"), (0.02, "gaps"), (0.0005, "gaps")):
        settings = {"density": density}
        path = tv.pack(tmp_path / "base", [tmp_path / "math"], tmp_path / "t.pack", method="sparse",
            settings=settings, force=True).path  # fmt: skip
        with Pack(path) as opened:
            assert opened.encodings["w"] == [{"kind": "sparse", "block": 65536, "places": places}]
            change = opened.open("math", origin)
            whole = np.array(change.raw("w"))
            assert opened.file.tensors["tasks/0/w/values"].count == round(density * whole.size)
            np.testing.assert_allclose(whole, Reader(path).change("math", "w", base["w"]).reshape(-1), rtol=1e-6)
            for start, stop in [(0, 0), (5, 70_000), (65_536, 131_072), (65_535, 65_537), (200_001, whole.size)]:
                np.testing.assert_array_equal(change.raw("w", start, stop), whole[start:stop])
