"""What comes out of a pack is what went in, but for the error that the pack says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskvec as tv
from taskvec.packs import Packed
from taskvec.packs.methods import PACK_METHODS
from taskvec.store.pack import Pack
from taskvec.testing import finetuned, tiny_tensors, write_adapter, write_model

from .conftest import NAMES, deltas, error_of

Packing = Callable[..., Packed]
WAYS: list[tuple[str, dict[str, Any]]] = [
    ("bits", {}),
    ("bits", {"rows": True, "vectors": True, "small": 0}),
    ("sparse", {}),
    ("sparse", {"density": 0.01, "values": "bfloat16"}),
    ("sparse", {"density": 0.5, "steps": "tensor"}),
    ("low_rank", {"rank": 3}),
    ("low_rank", {"rank": 5, "factors": "int8"}),
    ("low_rank", {"rank": 5, "factors": "bfloat16", "whole": ["*embed*"]}),
    ("tall", {}),
    ("emr", {"shared": "bfloat16"}),
    ("tsv_c", {}),
]


def test_every_method_is_tried() -> None:
    assert {method for method, _ in WAYS} == set(PACK_METHODS)


@pytest.mark.parametrize(("method", "settings"), WAYS, ids=str)
def test_the_error_is_that_of_the_unpacked_model(
    family: Path, packed: Packing, tmp_path: Path, method: str, settings: dict[str, Any]
) -> None:
    made = packed(method, **settings)
    assert made.path.stat().st_size == made.facts["bytes"]
    for name, task in zip(NAMES, made.tasks, strict=True):
        out = tv.unpack(made.path, name, tmp_path / name, base=family / "base").folder
        found, wanted = deltas(family / "base", out), deltas(family / "base", family / name)
        assert error_of(found, wanted) == pytest.approx(task["error"], rel=1e-3, abs=1e-6)
        x, y = (np.concatenate([d[n].reshape(-1) for n in wanted]) for d in (found, wanted))
        assert task["cosine"] == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-5)
        assert not found["model.layers.1.self_attn.q_proj.weight"].any()  # what nobody moved stays


EXACT: list[tuple[str, dict[str, Any], float]] = [
    ("low_rank", {"rank": 1000}, 5e-4),  # factors in float16
    ("low_rank", {"rank": 1000, "factors": "float32"}, 1e-6),
    ("sparse", {"density": 1.0, "values": "float32"}, 1e-6),
    ("tall", {"small": 0, "vectors": True}, 1e-6),
    ("emr", {"small": 0, "vectors": True}, 1e-6),
    ("tsv_c", {"factors": "float32"}, 1e-6),
]


@pytest.mark.parametrize(("method", "settings", "within"), EXACT, ids=str)
def test_one_task_with_nothing_left_out_comes_back(
    packed: Packing, method: str, settings: dict[str, Any], within: float
) -> None:
    """Full rank, all entries, the masks of one task alone."""
    (task,) = packed(method, ["math"], **settings).tasks
    assert task["error"] <= within
    assert task["cosine"] == pytest.approx(1.0)


@pytest.mark.parametrize("method", PACK_METHODS)
def test_the_order_of_the_models_does_not_matter(family: Path, packed: Packing, method: str) -> None:
    base = tv.Checkpoint(family / "base")
    found = []
    for names in (NAMES, NAMES[::-1]):
        with Pack(packed(method, names).path) as opened:
            change = opened.open("math", base)
            found.append({n: np.array(change.raw(n)) for n in change.tensors})
    for name, x in found[0].items():
        np.testing.assert_allclose(x, found[1][name], rtol=1e-6, atol=1e-9)


def test_each_task_may_have_its_own_mask(family: Path, packed: Packing) -> None:
    """The larger λ keeps the fewer entries, of that task alone."""
    kept = []
    for tall in (0.2, [0.2, 0.6]):
        with Pack(packed("tall", tall=tall).path) as opened:
            names = [f"tasks/{i}/lm_head.weight/bits" for i in range(2)]
            kept.append([int(np.unpackbits(opened.file.raw(name)).sum()) for name in names])
    assert kept[0][0] == kept[1][0]
    assert kept[0][1] > kept[1][1]


def test_the_same_models_give_the_same_file(packed: Packing) -> None:
    for method in PACK_METHODS:
        first = packed(method).path.read_bytes()
        assert packed(method).path.read_bytes() == first


def test_small_tensors_come_back_to_the_bit(family: Path, packed: Packing, tmp_path: Path) -> None:
    out = tv.unpack(packed("bits").path, "math", tmp_path / "out", base=family / "base").folder
    here, there = tv.Checkpoint(out), tv.Checkpoint(family / "math")
    assert here["position_ids"].equal(there["position_ids"])
    np.testing.assert_allclose(here["model.norm.weight"], there["model.norm.weight"], rtol=2e-7)


def test_the_folder_is_that_of_a_merge(family: Path, packed: Packing, tmp_path: Path) -> None:
    """Config, tokenizer, receipt; and a recipe may name a task of a pack as a model."""
    pack = packed("low_rank").path
    out = tv.unpack(pack, "math", tmp_path / "out", base=family / "base").folder
    assert {p.name for p in out.iterdir()} == {
        "config.json", "tokenizer.json", "model.safetensors", "receipt.json", "README.md"
    }  # fmt: skip
    assert str(family) not in (out / "README.md").read_text().partition("## Recipe")[0]
    data = {"method": "ties", "base": str(family / "base"), "models": [f"{pack}#{name}" for name in NAMES]}
    facts = tv.run(tv.make_plan(tv.Recipe.model_validate(data)), tmp_path / "merged").facts
    assert [i["kind"] for i in facts["inputs"]] == ["weights", "delta", "delta"]


def test_adapters_and_task_vectors_are_packed_too(family: Path, tmp_path: Path) -> None:
    factors = {
        f"base_model.model.model.layers.0.self_attn.q_proj.lora_{half}.weight": np.full(shape, 0.1, np.float32)
        for half, shape in (("A", (2, 32)), ("B", (32, 2)))
    }
    lora = write_adapter(tmp_path / "lora", factors)
    tv.diff(family / "base", family / "code").save(tmp_path / "code.tv")
    made = tv.pack(
        family / "base", [lora, tmp_path / "code.tv", f"again={family / 'code'}"], tmp_path / "t.pack",
        settings={"rank": 2, "small": 512},
    )  # fmt: skip
    errors = {t["name"]: t["error"] for t in made.tasks}
    assert errors["lora"] < 1e-3  # it has rank 2
    assert errors["code"] == pytest.approx(errors["again"], rel=1e-5)


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F64"])
def test_other_types(tmp_path: Path, dtype: str) -> None:
    base = tiny_tensors(hidden=32)
    write_model(tmp_path / "base", base, dtype=dtype)
    write_model(tmp_path / "math", finetuned(base, 1), dtype=dtype)
    for method in PACK_METHODS:
        pack = tv.pack(tmp_path / "base", [tmp_path / "math"], tmp_path / f"{method}.pack", method=method,
            settings={"small": 512})  # fmt: skip
        out = tv.unpack(pack.path, "math", tmp_path / method, base=tmp_path / "base").folder
        assert {t.dtype for t in tv.Checkpoint(out).tensors.values()} == {dtype}
        found = error_of(deltas(tmp_path / "base", out), deltas(tmp_path / "base", tmp_path / "math"))
        assert found == pytest.approx(pack.tasks[0]["error"], abs=0.02)


def test_any_reader_of_safetensors_reads_it(packed: Packing) -> None:
    """Every tensor of every kind, and the header's texts."""
    from safetensors import safe_open

    for method, settings in WAYS:
        made = packed(method, **settings)
        with safe_open(made.path, "np") as file:
            texts = file.metadata()
            sizes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        assert texts["taskvec.pack"] == "1"
        assert json.loads(texts["taskvec.crc32"]).keys() == sizes.keys()
        with safe_open(made.path, "pt") as file:
            assert all(tuple(file.get_tensor(name).shape) == tuple(shape) for name, shape in sizes.items())


def test_a_task_is_read_without_the_others(family: Path, packed: Packing) -> None:
    """What the others' tensors hold is never looked at: here it is overwritten."""
    for method in ("low_rank", "tall"):
        path = packed(method).path
        with Pack(path) as opened:
            mine = {info.name for info in opened.parts("math")}
            others = [i for i in opened.parts("code") if i.name not in mine]
            before = np.array(opened.open("math", tv.Checkpoint(family / "base")).raw("lm_head.weight"))
        with path.open("r+b") as file:
            for info in others:
                file.seek(info.begin)
                file.write(b"\xff" * info.nbytes)
        with Pack(path) as opened:
            opened.check("math")
            np.testing.assert_array_equal(
                before, opened.open("math", tv.Checkpoint(family / "base")).raw("lm_head.weight")
            )
