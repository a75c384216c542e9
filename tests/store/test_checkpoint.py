"""A checkpoint: one file, shards, a folder; slices; tied weights; every dtype; nothing read before it is asked for."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from taskvec.errors import MismatchError
from taskvec.store import Checkpoint
from taskvec.store.bridge import TORCH_NAMES
from taskvec.store.dtypes import BITS
from taskvec.store.tensors import Files
from taskvec.testing import tiny_tensors, write_model

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Tell whether two tensors are equal bit for bit, in type and in shape."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return a.numel() == 0 or bool((a.reshape(-1).view(torch.uint8) == b.reshape(-1).view(torch.uint8)).all())


@pytest.fixture
def tensors() -> dict[str, np.ndarray]:
    return tiny_tensors(7)


def test_one_file_an_index_and_a_folder_hold_the_same(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    write_model(tmp_path / "whole", tensors)
    write_model(tmp_path / "cut", tensors, shard_size=1000)
    assert len(list((tmp_path / "cut").glob("*.safetensors"))) > 3
    places = [
        tmp_path / "whole",
        tmp_path / "whole" / "model.safetensors",
        tmp_path / "cut",
        tmp_path / "cut" / "model.safetensors.index.json",
    ]
    for place in places:
        with Checkpoint(place) as checkpoint:
            assert set(checkpoint) == set(tensors)
            assert len(checkpoint) == len(tensors)
            for name, x in tensors.items():
                assert checkpoint[name].numpy().tobytes() == x.tobytes()
                assert tuple(checkpoint[name].shape) == x.shape


def test_only_a_folder_has_a_config(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    folder = write_model(tmp_path / "m", tensors)
    assert Checkpoint(folder).config["model_type"] == "llama"
    assert Checkpoint(folder).folder == folder
    assert Checkpoint(folder / "model.safetensors").config == {}
    assert Checkpoint(folder / "model.safetensors").folder is None


def test_a_slice_is_that_part_of_the_tensor(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    checkpoint = Checkpoint(write_model(tmp_path / "m", tensors, dtype="BF16"))
    whole = checkpoint.raw(EMBEDDING)
    assert whole.dtype == np.uint16
    assert whole.size == tensors[EMBEDDING].size
    for start, stop in [(0, 1), (0, whole.size), (5, 9), (whole.size - 1, whole.size), (4, 4), (9, 3)]:
        assert checkpoint.raw(EMBEDDING, start, stop).tolist() == whole[start : max(start, stop)].tolist()


def test_a_slice_is_a_view_that_cannot_be_written(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    raw = Checkpoint(write_model(tmp_path / "m", tensors)).raw(EMBEDDING, 2, 10)
    assert not raw.flags.owndata
    assert not raw.flags.writeable


def test_a_tensor_in_hand_may_be_changed_without_touching_the_file(
    tmp_path: Path, tensors: dict[str, np.ndarray]
) -> None:
    checkpoint = Checkpoint(write_model(tmp_path / "m", tensors))
    checkpoint[EMBEDDING].zero_()
    assert checkpoint[EMBEDDING].numpy().tobytes() == tensors[EMBEDDING].tobytes()


def test_opening_reads_headers_only(
    tmp_path: Path, tensors: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(tmp_path / "m", tensors, shard_size=1000)
    asked: list[str] = []
    raw = Files.raw
    monkeypatch.setattr(Files, "raw", lambda self, info, *a: asked.append(info.name) or raw(self, info, *a))
    with Checkpoint(folder) as checkpoint:
        assert checkpoint.nbytes == sum(x.nbytes for x in tensors.values())
        assert checkpoint.info(HEAD).shape == tensors[HEAD].shape
        assert asked == []
        _ = checkpoint[HEAD]
        assert asked == [HEAD]


def test_an_unknown_name_is_a_key_error_as_in_any_mapping(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    checkpoint = Checkpoint(write_model(tmp_path / "m", tensors))
    with pytest.raises(KeyError, match="nose"):
        _ = checkpoint["nose"]
    assert "nose" not in checkpoint
    with pytest.raises(MismatchError, match="has no tensor 'nose'"):
        checkpoint.info("nose")


@pytest.mark.parametrize("code", [c for c in BITS if c in TORCH_NAMES])
def test_every_dtype_is_what_safetensors_reads(tmp_path: Path, code: str) -> None:
    dtype = getattr(torch, TORCH_NAMES[code])
    generator = torch.Generator().manual_seed(3)
    bits = torch.randint(0, 2 if dtype == torch.bool else 256, (48,), dtype=torch.uint8, generator=generator)
    tensor = bits.view(dtype).reshape(2, -1)
    file = tmp_path / "x.safetensors"
    save_file({"x": tensor, "scalar": tensor.reshape(-1)[0].clone(), "none": tensor[:0].clone()}, file)
    ours, theirs = Checkpoint(file), load_file(file)
    computed = code in ("F8_E4M3", "F8_E5M2")  # seen as the float32 numbers that they are: test_quantised.py
    assert ours.info("x").dtype == ("F32" if computed else code)
    for name in ("x", "scalar", "none"):
        if computed:  # NaN is NaN; its bits say nothing
            there = theirs[name].float()
            assert same(ours[name].isnan(), there.isnan()), name
            assert same(ours[name][~there.isnan()], there[~there.isnan()]), name
        else:
            assert same(ours[name], theirs[name]), name


def test_bf16_is_what_safetensors_reads_from_shards_of_mixed_types(
    tmp_path: Path, tensors: dict[str, np.ndarray]
) -> None:
    dtypes = {HEAD: "F16", "model.norm.weight": "F32"}
    positions = np.arange(5, dtype=np.int64)
    folder = write_model(
        tmp_path / "m", tensors | {"positions": positions}, dtype="BF16", dtypes=dtypes, shard_size=800
    )
    checkpoint = Checkpoint(folder)
    seen = 0
    for file in folder.glob("*.safetensors"):
        for name, theirs in load_file(file).items():
            assert same(checkpoint[name], theirs)
            seen += 1
    assert seen == len(tensors) + 1
    assert {checkpoint.info(n).dtype for n in checkpoint} == {"BF16", "F16", "F32", "I64"}
    assert checkpoint["positions"].tolist() == [0, 1, 2, 3, 4]


def test_a_file_that_safetensors_wrote_with_odd_offsets(tmp_path: Path, write_by_hand) -> None:
    """safetensors aligns what it writes; the format allows any offset, and other writers use that."""
    numbers = np.array([1.5, -2.0, 3.25], dtype="<f4")
    header = {
        "flag": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        "x": {"dtype": "F32", "shape": [3], "data_offsets": [1, 13]},
        "y": {"dtype": "BF16", "shape": [1, 1], "data_offsets": [13, 15]},
    }
    file = write_by_hand(tmp_path / "odd.safetensors", header, b"\7" + numbers.tobytes() + b"\x80\x3f")
    checkpoint = Checkpoint(file)
    assert checkpoint.info("x").begin % 4 != 0
    assert checkpoint["x"].tolist() == [1.5, -2.0, 3.25]
    assert checkpoint.raw("x", 1, 3).tolist() == [-2.0, 3.25]
    assert checkpoint["y"].tolist() == [[1.0]]
    assert checkpoint["flag"].tolist() == [7]


@pytest.mark.parametrize("offset", [0, 1])
def test_runs_of_a_tensor_are_what_its_cuts_are_together(offset: int, tmp_path: Path, write_by_hand) -> None:
    numbers = np.arange(100, dtype="<f4")
    before = {"flag": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}} if offset else {}
    header = before | {"x": {"dtype": "F32", "shape": [100], "data_offsets": [offset, offset + 400]}}
    file = write_by_hand(tmp_path / "runs.safetensors", header, b"\7" * offset + numbers.tobytes())
    checkpoint = Checkpoint(file)
    runs = checkpoint.info("x").runs(checkpoint.files, 3, 33, 3).view(np.float32)
    assert runs.tolist() == [0, 1, 2, 33, 34, 35, 66, 67, 68]
    assert runs.flags.aligned


def test_names_that_are_no_words(tmp_path: Path) -> None:
    names = ["", " ", "a b", "ä.β.🦙", '"quoted"\\', "x" * 500, "new\nline"]
    save_file({name: torch.full((2,), float(i)) for i, name in enumerate(names)}, tmp_path / "x.safetensors")
    checkpoint = Checkpoint(tmp_path / "x.safetensors")
    assert {name: checkpoint[name][0].item() for name in names} == {n: float(i) for i, n in enumerate(names)}


class TestTiedWeights:
    """The rule: config.json ties, and the head is not stored, so a request for it is answered by the embedding."""

    def without_head(self, folder: Path, tensors: dict[str, np.ndarray], tie: bool) -> Checkpoint:
        rest = {n: x for n, x in tensors.items() if n != HEAD}
        return Checkpoint(write_model(folder, rest, config={"tie_word_embeddings": tie}))

    def test_the_head_is_the_embedding(self, tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
        checkpoint = self.without_head(tmp_path / "m", tensors, True)
        assert checkpoint.tied_to(HEAD) == EMBEDDING
        assert checkpoint.resolve(HEAD) == checkpoint.tensors[EMBEDDING]
        assert checkpoint.raw(HEAD).tolist() == tensors[EMBEDDING].reshape(-1).tolist()

    def test_it_is_not_listed(self, tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
        checkpoint = self.without_head(tmp_path / "m", tensors, True)
        assert HEAD not in checkpoint
        assert HEAD not in list(checkpoint)

    def test_no_tie_without_the_configs_word(self, tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
        assert self.without_head(tmp_path / "m", tensors, False).resolve(HEAD) is None

    def test_a_stored_head_is_taken_even_if_the_config_ties(
        self, tmp_path: Path, tensors: dict[str, np.ndarray]
    ) -> None:
        checkpoint = Checkpoint(write_model(tmp_path / "m", tensors, config={"tie_word_embeddings": True}))
        assert checkpoint.raw(HEAD).tolist() == tensors[HEAD].reshape(-1).tolist()

    def test_only_heads_are_tied(self, tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
        assert self.without_head(tmp_path / "m", tensors, True).resolve("model.layers.9.weight") is None


class TestSafetensorsReadsWhatWeWrite:
    def test_byte_for_byte(self, tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
        ours = tensors | {"ids": np.arange(3, dtype=np.int64), "flags": np.array([1, 0], np.uint8)}
        folder = write_model(tmp_path / "m", ours, dtype="BF16", shard_size=1500)
        checkpoint, seen = Checkpoint(folder), set()
        for file in sorted(folder.glob("*.safetensors")):
            with safe_open(file, framework="pt") as theirs:
                assert theirs.metadata() == {"format": "pt"}
                for name in theirs.keys():  # noqa: SIM118  (not a dict)
                    assert same(theirs.get_tensor(name), checkpoint[name])
                    seen.add(name)
        assert seen == set(ours)

    def test_rounding_is_torchs(self, tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
        for code, dtype in (("BF16", torch.bfloat16), ("F16", torch.float16), ("F64", torch.float64)):
            file = write_model(tmp_path / code, tensors, dtype=code) / "model.safetensors"
            stored = load_file(file)
            for name, x in tensors.items():
                assert same(stored[name], torch.from_numpy(x).to(dtype))

    def test_the_index_is_what_transformers_expects(self, tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
        folder = write_model(tmp_path / "m", tensors, dtype="BF16", shard_size=1500)
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == sum(2 * x.size for x in tensors.values())
        assert set(index["weight_map"]) == set(tensors)
        for name, file in index["weight_map"].items():
            with safe_open(folder / file, framework="pt") as shard:
                assert name in shard.keys()  # noqa: SIM118  (not a dict)
