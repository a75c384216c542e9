"""Files of PyTorch: what torch.load reads from them, without torch, without a copy, and without running anything."""

import json
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import taskvec as tv
from taskvec.ops import kernels
from taskvec.store import Checkpoint, fingerprint
from taskvec.store.computed.strided import Strided
from taskvec.store.formats.torch_file import _zip
from taskvec.store.sample import CHUNKS, places, sample
from taskvec.store.tensors import TensorInfo
from taskvec.testing import finetuned, tiny_tensors, write_model

MATRIX = torch.randn(8, 6, generator=torch.Generator().manual_seed(3))
STORED: dict[str, torch.Tensor] = {
    "matrix": MATRIX,
    "rows of it": MATRIX[2:5],
    "again": MATRIX,
    "parameter": torch.nn.Parameter(MATRIX.clone()),
    "buffer": torch.nn.Buffer(MATRIX.clone()),
    "double": MATRIX.double(),
    "half": MATRIX.half(),
    "bfloat16": MATRIX.bfloat16(),
    "complex": MATRIX.to(torch.complex64),
    "long": torch.arange(5),
    "int": torch.arange(5, dtype=torch.int32),
    "short": torch.arange(5, dtype=torch.int16),
    "char": torch.arange(-2, 3, dtype=torch.int8),
    "byte": torch.arange(5, dtype=torch.uint8),
    "bool": torch.tensor([True, False, True]),
    "scalar": torch.tensor(2.5),
    "counter": torch.tensor(7),
    "empty": torch.zeros(0, 4),
    "one row": MATRIX[:1].T.clone().T,
}
VIEWS: dict[str, torch.Tensor] = {
    "transposed": MATRIX.T,
    "columns": MATRIX[:, 1:4],
    "every other": MATRIX[::2],
    "expanded": MATRIX[0].expand(3, 6),
    "permuted": MATRIX.reshape(2, 4, 6).permute(2, 0, 1),
    "corner": MATRIX.reshape(2, 4, 6)[:, 1:3, ::2],
    "diagonal": MATRIX.diagonal(),
}
NEW_TYPES = {"float8": MATRIX.to(torch.float8_e4m3fn), "uint16": torch.arange(4).to(torch.uint16)}


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    a, b = a.detach().contiguous(), b.detach().contiguous()
    bits = [x.reshape(-1).view(torch.uint8) for x in (a, b)] if a.numel() else [a.reshape(-1), b.reshape(-1)]
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*bits)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("ending", [".bin", ".pt", ".pth", ".ckpt"])
def test_what_torch_loads_is_what_is_read(tmp_path: Path, zipped: bool, ending: str) -> None:
    tensors = STORED | VIEWS | (NEW_TYPES if zipped else {})  # torch itself cannot load these from old files
    file = tmp_path / f"x{ending}"
    torch.save(OrderedDict(tensors), file, _use_new_zipfile_serialization=zipped)
    theirs = torch.load(file, weights_only=True)
    with Checkpoint(file) as ours:
        assert list(ours) == list(theirs)
        for name, tensor in theirs.items():
            expected = tensor.float() if tensor.dtype == torch.float8_e4m3fn else tensor  # read as what it stands for
            assert same(ours[name], expected), name


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_pickle(tmp_path: Path, protocol: int) -> None:
    more = {"epoch": 3, "long": 2**70, "nothing": None, "text": "ä", "bytes": b"x", "lists": [1.5, (True, {}), {1, 2}]}
    torch.save({"model": STORED} | more, tmp_path / "x.pt", pickle_protocol=protocol)
    assert all(same(Checkpoint(tmp_path / "x.pt")[name], x) for name, x in STORED.items())


def test_stored_tensors_are_views_of_the_file(tmp_path: Path) -> None:
    torch.save(STORED, tmp_path / "x.pt")
    checkpoint = Checkpoint(tmp_path / "x.pt")
    assert all(type(x) is TensorInfo for x in checkpoint.tensors.values())
    assert not checkpoint.raw("matrix", 3, 30).flags.owndata
    assert checkpoint.raw("rows of it", 1, 3).tolist() == MATRIX[2, 1:3].tolist()


def test_tied_weights_share_their_bytes(tmp_path: Path) -> None:
    torch.save(STORED, tmp_path / "x.pt")
    tensors = Checkpoint(tmp_path / "x.pt").tensors
    assert tensors["matrix"].begin == tensors["again"].begin  # type: ignore[attr-defined]
    assert tensors["rows of it"].begin == tensors["matrix"].begin + 2 * 6 * 4  # type: ignore[attr-defined]


def test_storages_of_old_files_may_lie_anywhere(tmp_path: Path) -> None:
    torch.save(STORED, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    checkpoint = Checkpoint(tmp_path / "x.pt")
    assert {x.begin % 8 for x in checkpoint.tensors.values()} - {0}  # type: ignore[attr-defined]
    assert checkpoint.raw("double", 5, 11).tolist() == MATRIX.double().reshape(-1)[5:11].tolist()


def test_modules_and_their_optimizer(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    moments = {i: {"step": torch.tensor(1.0), "exp_avg": x.detach()} for i, x in enumerate(model.parameters())}
    optimizer = {"state": moments, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99), "params": [0, 1, 2, 3]}]}
    saved = {
        "epoch": 1,
        "state_dict": model.state_dict(),
        "optimizer_states": [optimizer],
        "optimizer": optimizer,
        "optimizer_by_name": {"w": torch.ones(3)},
        "rng_state": torch.get_rng_state(),
        "loss": torch.tensor(0.5),
    }
    torch.save(saved, tmp_path / "x.ckpt")
    checkpoint = Checkpoint(tmp_path / "x.ckpt")
    assert list(checkpoint) == list(model.state_dict())
    assert all(same(checkpoint[name], x) for name, x in model.state_dict().items())


@pytest.mark.parametrize("keys", [["state_dict"], ["model"], ["module"], ["model", "state_dict"], ["a", "b", "c"]])
def test_weights_may_lie_deeper(tmp_path: Path, keys: list[str]) -> None:
    saved: Any = STORED
    for key in reversed(keys):
        saved = {key: saved, "step": 1}
    torch.save(saved, tmp_path / "x.pt")
    assert set(Checkpoint(tmp_path / "x.pt")) == set(STORED)


class Settings:
    """What a trainer leaves beside the weights; torch.load(weights_only=True) refuses it."""

    def __init__(self) -> None:
        self.depth = 3


def test_objects_beside_the_weights_are_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"state_dict": STORED, "settings": Settings(), Settings: {"best": 1}}, tmp_path / "x.ckpt")
    monkeypatch.setattr(Settings, "__new__", lambda *_: pytest.fail("it was made"))
    assert set(Checkpoint(tmp_path / "x.ckpt")) == set(STORED)


def test_the_same_model_has_the_same_fingerprint(tmp_path: Path) -> None:
    tensors = {n: torch.from_numpy(x) for n, x in tiny_tensors().items()}
    save_file(tensors, tmp_path / "x.safetensors")
    torch.save(tensors, tmp_path / "new.pt")
    torch.save(tensors, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert len({fingerprint(Checkpoint(tmp_path / f)) for f in ("x.safetensors", "new.pt", "old.pt")}) == 1


def test_torch_is_not_needed(tmp_path: Path) -> None:
    torch.save(STORED, tmp_path / "x.pt")
    code = (
        "import sys; from taskvec.store import Checkpoint\n"
        f"Checkpoint({str(tmp_path / 'x.pt')!r}).raw('matrix', 1, 2)\n"
        "assert 'torch' not in sys.modules and 'pickle' not in getattr(sys.modules.get('torch'), '__dict__', {})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class TestFolders:
    @pytest.fixture
    def tensors(self) -> dict[str, torch.Tensor]:
        return {n: torch.from_numpy(x) for n, x in tiny_tensors().items()}

    def folder(self, path: Path, tensors: dict[str, torch.Tensor], shards: int = 1) -> Path:
        """Write what transformers wrote with safe_serialization=False."""
        path.mkdir()
        (path / "config.json").write_text('{"model_type": "llama"}')
        names = list(tensors)
        files = [f"pytorch_model-{i + 1:05d}-of-{shards:05d}.bin" for i in range(shards)]
        if shards == 1:
            torch.save(tensors, path / "pytorch_model.bin")
            return path
        for i, file in enumerate(files):
            torch.save({n: tensors[n].clone() for n in names[i::shards]}, path / file)
        weight_map = {n: files[i % shards] for i, n in enumerate(names)}
        (path / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
        return path

    def test_one_file_and_shards(self, tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
        for shards in (1, 3):
            folder = self.folder(tmp_path / str(shards), tensors, shards)
            (folder / "training_args.bin").write_bytes(b"no weights")
            torch.save({"state": {}}, folder / "optimizer.pt")
            checkpoint = Checkpoint(folder)
            assert checkpoint.config == {"model_type": "llama"}
            assert set(checkpoint) == set(tensors)
            assert all(same(checkpoint[n], x) for n, x in tensors.items())
        index = tmp_path / "3" / "pytorch_model.bin.index.json"
        assert set(Checkpoint(index)) == set(tensors)

    def test_safetensors_is_taken_where_both_are(self, tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
        folder = self.folder(tmp_path / "m", {n: x + 1 for n, x in tensors.items()})
        save_file(tensors, folder / "model.safetensors")
        assert [f.name for f in Checkpoint(folder).on_disk] == ["model.safetensors"]

    def test_a_merge_of_them_is_a_merge_of_safetensors(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kernels, "choice", "plain")
        base = tiny_tensors()
        models = {"base": base, "m0": finetuned(base, 0), "m1": finetuned(base, 1)}
        outs = []
        for kind in ("safetensors", "bin"):
            for name, arrays in models.items():
                where = tmp_path / kind / name
                where.parent.mkdir(exist_ok=True)
                if kind == "safetensors":
                    write_model(where, arrays)
                else:
                    torchs = {n: torch.from_numpy(x) for n, x in arrays.items()}
                    up = "model.layers.1.mlp.up_proj.weight"
                    torchs[up] = torchs[up].T.contiguous().T  # not contiguous; the same entries
                    self.folder(where, torchs, shards=1 if name == "m0" else 2)
            recipe = {
                "method": "ties",
                "base": str(tmp_path / kind / "base"),
                "models": [{"model": str(tmp_path / kind / m)} for m in ("m0", "m1")],
                "settings": {"density": 0.3},
            }
            plan = tv.make_plan(tv.Recipe.model_validate(recipe), slice_=50)
            outs.append(tv.run(plan, tmp_path / f"out-{kind}").folder / "model.safetensors")
        one, other = (Checkpoint(out) for out in outs)
        assert set(one) == set(other)
        assert all(same(one[n], other[n]) for n in one)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Return a file of views."""
    file = tmp_path_factory.mktemp("strided") / "x.pt"
    torch.save(VIEWS, file)
    return Checkpoint(file)


class TestStrided:
    @given(data=st.data())
    @pytest.mark.parametrize("name", VIEWS)
    def test_any_slice_is_that_part_of_the_whole(self, checkpoint: Checkpoint, name: str, data: st.DataObject) -> None:
        tensor = checkpoint.tensors[name]
        assert isinstance(tensor, Strided)
        start = data.draw(st.integers(0, tensor.count))
        stop = data.draw(st.integers(start, tensor.count))
        whole = VIEWS[name].contiguous().reshape(-1)
        assert checkpoint.raw(name, start, stop).tolist() == whole[start:stop].tolist()

    @given(data=st.data())
    @pytest.mark.parametrize("name", VIEWS)
    def test_a_slice_reads_only_what_it_says(self, checkpoint: Checkpoint, name: str, data: st.DataObject) -> None:
        """The entries outside of `ranges` may be anything."""
        tensor = checkpoint.tensors[name]
        assert isinstance(tensor, Strided)
        start = data.draw(st.integers(0, tensor.count - 1))
        stop = data.draw(st.integers(start + 1, tensor.count))
        ((part, begin, end),) = tensor.ranges(start, stop)
        held = checkpoint.files.raw(part).copy()
        known = np.zeros(held.size, bool)
        known[begin:end] = True
        indices = torch.arange(held.size).as_strided(tensor.shape, tensor.strides).reshape(-1)[start:stop]
        assert known[indices.numpy()].all()
        assert 0 <= begin < end <= part.count

    def test_it_is_sampled_and_told_from_other_views(self, checkpoint: Checkpoint, tmp_path: Path) -> None:
        for name, tensor in checkpoint.tensors.items():
            whole = VIEWS[name].contiguous().reshape(-1)
            expected = [x for start, stop in places(tensor.count, CHUNKS) for x in whole[start:stop].tolist()]
            assert sample(tensor).tolist() == expected
        seen = set()
        square = MATRIX[:6]
        for i, view in enumerate((square.T, square[::2].repeat_interleave(2, 0), square)):
            torch.save({"x": view}, tmp_path / f"{i}.pt")
            seen.add(fingerprint(Checkpoint(tmp_path / f"{i}.pt")))
        assert len(seen) == 3


def test_records_lie_where_torch_maps_them(tmp_path: Path) -> None:
    """The offsets are those that torch's own reader of archives finds."""
    torch.save(STORED, tmp_path / "x.pt")
    reader = torch._C.PyTorchFileReader(str(tmp_path / "x.pt"))
    _, found = _zip(tmp_path / "x.pt")
    assert len(found) > 10
    for key, place in found.items():
        assert place.begin == reader.get_record_offset(f"data/{key}")
