"""Files of PyTorch that are damaged, hold no weights, or would run programs. None of them runs anything."""

import collections
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import taskvec as tv
from taskvec.store.formats.pickled import Parsed, PickleError
from taskvec.testing import finetuned

from .conftest import Family

Refused = Callable[..., str]
WEIGHTS = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3)}


@pytest.fixture
def refuses(tmp_path: Path) -> Callable[..., str]:
    """Return what saves something and checks that it is refused in one sentence."""

    def check(saved: Any, match: str, zipped: bool = True) -> str:
        file = tmp_path / "x.pt"
        torch.save(saved, file, _use_new_zipfile_serialization=zipped)
        return refuses_file(file, match)

    return check


def refuses_file(file: Path, match: str) -> str:
    with pytest.raises(tv.FormatError, match=match) as caught:
        tv.Checkpoint(file)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith((".", ")."))
    assert str(file) in message
    return message


class Attack:
    """Runs a command where it is unpickled."""

    def __init__(self, what: Callable[..., Any], *args: Any) -> None:
        self.what = what, args

    def __reduce__(self) -> Any:
        return self.what


class TestCodeIsNotRun:
    @pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
    @pytest.mark.parametrize(
        ("what", "name"), [(os.system, "posix.system"), (eval, r"__builtin__\.eval"), (exec, r"__builtin__\.exec")]
    )
    def test_of_an_attack(
        self, tmp_path: Path, refuses: Callable[..., str], what: Any, name: str, zipped: bool
    ) -> None:
        trace = tmp_path / "trace"
        command = f"touch {trace}" if what is os.system else f"open({str(trace)!r}, 'w')"
        for saved in (Attack(what, command), {**WEIGHTS, "x": Attack(what, command)}, {"model": WEIGHTS, "x": [what]}):
            refuses(saved, rf"asks for {name} to be called .* may be an attack\. Nothing of it was run\.", zipped)
        assert not trace.exists()

    def test_of_a_whole_module(self, refuses: Callable[..., str]) -> None:
        refuses(
            torch.nn.Linear(2, 3),
            r"no dict of tensors but a pickled torch\.nn\.modules\.linear\.Linear, whose code .* "
            r"torch\.save\(model\.state_dict\(\), 'weights\.pt'\)",
        )

    def test_of_a_module_in_a_dict(self, refuses: Callable[..., str]) -> None:
        """As ultralytics saves."""
        refuses({"epoch": 1, "model": Counter(), "ema": None}, r"a pickled wrong\.test_torch_files\.Counter, wh")

    def test_of_an_object_among_the_weights(self, refuses: Callable[..., str]) -> None:
        refuses(WEIGHTS | {"x": Counter()}, r"'x' in .* is no tensor but a wrong\..*\.Counter, and stands among the we")
        refuses(WEIGHTS | {"x": [1, {"y": Counter()}]}, r"'x' in .* is no tensor but a list, and stands among")
        refuses(WEIGHTS | {"x": np.ones(3)}, r"'x' in .* is no tensor but a numpy\..*_reconstruct, and stands")

    def test_of_a_scripted_module(self, tmp_path: Path) -> None:
        records = {"x/constants.pkl": b"", "x/data.pkl": pickle.dumps({}), "x/code/a.py": b"import os"}
        write_zip(tmp_path / "x.pt", records)
        refuses_file(tmp_path / "x.pt", r"is a TorchScript program, no file of weights\. Save model\.state_dict\(\)")


class Counter:
    """Somebody's own class."""

    def __init__(self) -> None:
        self.n = 1


class TestNoWeights:
    @pytest.mark.parametrize("saved", [{}, [], None, {"epoch": 3}, [WEIGHTS["w"]], {0: WEIGHTS["w"]}, {"a": {}}])
    def test_at_all(self, refuses: Callable[..., str], saved: Any) -> None:
        refuses(saved, r"x\.pt holds no tensors under names; expected a dict of names and tensors")

    def test_one_tensor(self, refuses: Callable[..., str]) -> None:
        refuses(WEIGHTS["w"], "holds one tensor without a name; expected a dict")

    def test_several_sets(self, refuses: Callable[..., str]) -> None:
        message = refuses(
            {"model": WEIGHTS, "ema": {n: x.clone() for n, x in WEIGHTS.items()}},
            r"holds 2 sets of tensors \(\['model'\], \['ema'\]\), and which is the model is not told\. Save one alone: "
            r"torch\.save\(torch\.load\('x\.pt', weights_only=True\)\['model'\], 'weights\.pt'\)\.",
        )
        assert message

    def test_a_set_beside_and_within(self, refuses: Callable[..., str]) -> None:
        refuses(WEIGHTS | {"more": {"w": WEIGHTS["b"]}}, r"holds 2 sets of tensors \(at the top, \['more'\]\)")

    def test_the_line_that_is_told_works(self, tmp_path: Path, refuses: Callable[..., str]) -> None:
        message = refuses({"a": {"model": WEIGHTS, "ema": WEIGHTS | {}}}, "Save one alone")
        line = message.rpartition("alone: ")[2].rstrip(".").replace("'x.pt'", repr(str(tmp_path / "x.pt")))
        line = line.replace("'weights.pt'", repr(str(tmp_path / "weights.pt")))
        exec(line, {"torch": torch})
        assert set(tv.Checkpoint(tmp_path / "weights.pt")) == set(WEIGHTS)


class TestTensorsOfOtherKinds:
    def test_sparse(self, refuses: Callable[..., str]) -> None:
        refuses(WEIGHTS | {"s": torch.eye(3).to_sparse()}, r"'s' in .* is no plain tensor but made by torch\._utils\._")

    @pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
    def test_quantised(self, refuses: Callable[..., str]) -> None:
        tensor = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
        refuses(WEIGHTS | {"q": tensor}, r"'q' in .* is no plain tensor but made by torch\._utils\._rebuild_qtensor")

    def test_of_a_class_of_their_own(self, refuses: Callable[..., str]) -> None:
        tensor = torch.ones(3).as_subclass(Own)
        refuses(WEIGHTS | {"o": tensor}, r"'o' in .* but made by wrong\.test_torch_files\.Own\. Convert")

    def test_complex_doubles(self, refuses: Callable[..., str]) -> None:
        tensor = torch.ones(3, dtype=torch.complex128)
        refuses(WEIGHTS | {"c": tensor}, r"'c' in .* of a type that is not known: torch\.ComplexDoubleStorage")

    def test_conjugated(self, refuses: Callable[..., str]) -> None:
        tensor = torch.ones(3, dtype=torch.complex64).conj()
        refuses(WEIGHTS | {"c": tensor}, r"'c' in .* is a conjugated or negated view\. Save its \.clone\(\) instead")


class Own(torch.Tensor):
    """Somebody's own tensors."""


def write_zip(path: Path, records: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    return path


def saved_records(path: Path) -> dict[str, bytes]:
    torch.save(WEIGHTS, path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


class TestDamaged:
    @pytest.mark.parametrize("keep", [5, 100, 600, -1, -30])
    def test_a_zip_that_is_cut(self, tmp_path: Path, keep: int) -> None:
        torch.save(WEIGHTS, tmp_path / "x.pt")
        (tmp_path / "x.pt").write_bytes((tmp_path / "x.pt").read_bytes()[:keep])
        refuses_file(tmp_path / "x.pt", r"truncated or damaged: its directory cannot be read\. Download it again\.")

    @pytest.mark.parametrize("lost", [1, 9, 30])
    def test_an_old_file_that_is_cut(self, tmp_path: Path, lost: int) -> None:
        torch.save(WEIGHTS, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
        (tmp_path / "x.pt").write_bytes((tmp_path / "x.pt").read_bytes()[:-lost])
        refuses_file(tmp_path / "x.pt", r"is truncated")

    def test_an_old_file_that_is_cut_in_its_pickles(self, tmp_path: Path) -> None:
        torch.save(WEIGHTS, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
        raw = (tmp_path / "x.pt").read_bytes()
        (tmp_path / "x.pt").write_bytes(raw[:200])
        refuses_file(tmp_path / "x.pt", r"is damaged: its pickle cannot be read \(.*\)\. Download it again\.")

    @pytest.mark.parametrize("data", [b"PK", b"GGUF....", b"{}", pickle.dumps(WEIGHTS["w"].numpy()), b"\x80\x02}q\0."])
    def test_other_files(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "x.bin").write_bytes(data)
        refuses_file(tmp_path / "x.bin", r"is not a file of PyTorch, or a damaged one\. Expected what torch\.save wri")

    def test_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "x.bin").write_bytes(b"")
        refuses_file(tmp_path / "x.bin", r"x\.bin is empty\.")

    def test_another_zip(self, tmp_path: Path) -> None:
        write_zip(tmp_path / "x.pt", {"a.txt": b""})
        refuses_file(tmp_path / "x.pt", "is a zip archive without a pickle of PyTorch, no file of weights")

    def test_a_zip_that_was_packed_again(self, tmp_path: Path) -> None:
        write_zip(tmp_path / "x.pt", saved_records(tmp_path / "x.pt"), zipfile.ZIP_DEFLATED)
        refuses_file(tmp_path / "x.pt", r"is compressed, and cannot be read in place\. Save it again with torch\.save")

    def test_a_zip_that_was_packed_again_without_compression(self, tmp_path: Path) -> None:
        """Its storages lie at odd offsets, which is slower and right."""
        write_zip(tmp_path / "x.pt", saved_records(tmp_path / "x.pt"))
        checkpoint = tv.Checkpoint(tmp_path / "x.pt")
        assert all(torch.equal(checkpoint[n], x) for n, x in WEIGHTS.items())

    def test_another_byte_order(self, tmp_path: Path) -> None:
        records = saved_records(tmp_path / "x.pt")
        write_zip(tmp_path / "x.pt", {n: b"big" if "byteorder" in n else x for n, x in records.items()})
        refuses_file(tmp_path / "x.pt", "was written on a big-endian machine")

    def test_a_storage_that_is_not_there(self, tmp_path: Path) -> None:
        records = saved_records(tmp_path / "x.pt")
        write_zip(tmp_path / "x.pt", {n: x for n, x in records.items() if not n.endswith("data/1")})
        refuses_file(tmp_path / "x.pt", r"is damaged: the bytes of 'b' are not there\. Download it again\.")

    def test_a_storage_that_is_short(self, tmp_path: Path) -> None:
        records = saved_records(tmp_path / "x.pt")
        write_zip(tmp_path / "x.pt", {n: x[:8] if n.endswith("data/1") else x for n, x in records.items()})
        refuses_file(tmp_path / "x.pt", r"is truncated: 'b' needs 12 bytes of storage, the file has 8\. Download it")

    def test_a_directory_that_lies(self, tmp_path: Path) -> None:
        torch.save(WEIGHTS, tmp_path / "x.pt")
        raw = bytearray((tmp_path / "x.pt").read_bytes())
        with zipfile.ZipFile(tmp_path / "x.pt") as archive:
            at = archive.start_dir
        raw[at + 42 : at + 46] = (7).to_bytes(4, "little")
        (tmp_path / "x.pt").write_bytes(raw)
        refuses_file(tmp_path / "x.pt", r"is damaged: 'x/data\.pkl' is not where its directory says")

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"size": (2, 4)}, r"'w', F32 \(2, 4\), reaches beyond its storage"),
            ({"size": (2**40, 2**40), "stride": (0, 0)}, r"'w', F32 .* reaches beyond its storage"),
            ({"offset": 1}, r"'w', F32 \(2, 3\), reaches beyond its storage"),
            ({"offset": -1}, r"it says of 'w' what makes no tensor \(-1 is no count\)"),
            ({"size": (2, True)}, r"makes no tensor \(True is no count\)"),
            ({"size": (2, 3, 1)}, r"it says of 'w' what makes no tensor"),
            ({"stride": (-3, 1)}, r"makes no tensor \(-3 is no count\)"),
            ({"size": 5}, r"it says of 'w' what makes no tensor"),
        ],
    )
    def test_a_pickle_that_lies(self, tmp_path: Path, change: dict[str, Any], match: str) -> None:
        records = saved_records(tmp_path / "x.pt")
        facts = {"offset": 0, "size": (2, 3), "stride": (3, 1)} | change
        write_zip(tmp_path / "x.pt", {n: lying(facts) if n.endswith("data.pkl") else x for n, x in records.items()})
        refuses_file(tmp_path / "x.pt", r"is damaged: .*" + match)

    @given(data=st.data())
    @pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
    def test_bytes_changed_at_random_give_a_sentence_or_a_checkpoint(
        self, tmp_path: Path, zipped: bool, data: st.DataObject
    ) -> None:
        torch.save(WEIGHTS, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
        raw = bytearray((tmp_path / "x.pt").read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        (tmp_path / "y.pt").write_bytes(raw)
        try:
            with tv.Checkpoint(tmp_path / "y.pt") as checkpoint:
                assert all(checkpoint.raw(name).size == x.count for name, x in checkpoint.tensors.items())
        except tv.StoreError as exc:
            assert "y.pt" in str(exc)

    @given(st.binary(max_size=60))
    def test_a_pickle_of_any_bytes_is_data_or_an_error(self, raw: bytes) -> None:

        try:
            Parsed(io.BytesIO(raw + b"."))
        except PickleError as exc:
            assert str(exc)


class Storage:
    """Stands in a pickle for one that is kept outside."""


def lying(facts: dict[str, Any]) -> bytes:
    """Return the pickle of one tensor, with facts that need not hold."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, x: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", 6) if isinstance(x, Storage) else None

    args = (Storage(), facts["offset"], facts["size"], facts["stride"], False, collections.OrderedDict())
    file = io.BytesIO()
    Pickler(file, 2).dump({"w": Attack(torch._utils._rebuild_tensor_v2, *args)})
    return file.getvalue()


class TestFolders:
    @pytest.fixture
    def shards(self, family: Family) -> Path:
        """Make `m0` a model of two shards of PyTorch."""
        folder = family.folder / "m0"
        family.file("m0").unlink()
        tensors = {n: torch.from_numpy(x) for n, x in finetuned(family.base, 0).items()}
        names = list(tensors)
        weight_map = {}
        for i in range(2):
            torch.save({n: tensors[n] for n in names[i::2]}, folder / f"pytorch_model-{i}.bin")
            weight_map |= dict.fromkeys(names[i::2], f"pytorch_model-{i}.bin")
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
        return folder

    def test_a_shard_that_is_not_there(self, shards: Path, refused: Refused) -> None:
        (shards / "pytorch_model-1.bin").unlink()
        refused(tv.StoreError, r"bin\.index\.json names the shard pytorch_model-1\.bin, which is not there\. Download")

    def test_no_index(self, shards: Path, refused: Refused) -> None:
        (shards / "pytorch_model.bin.index.json").unlink()
        refused(
            tv.StoreError,
            r"m0 holds 2 files of PyTorch \(.*\) and no pytorch_model\.bin\.index\.json\. Name the one to read, or",
        )

    def test_a_whole_model_beside_a_sharded_one(self, shards: Path, refused: Refused) -> None:
        torch.save(WEIGHTS, shards / "pytorch_model.bin")
        refused(tv.StoreError, r"m0 holds both pytorch_model\.bin and pytorch_model\.bin\.index\.json: two models\.")

    def test_an_index_that_points_outside(self, shards: Path, refused: Refused) -> None:
        index = shards / "pytorch_model.bin.index.json"
        index.write_text(index.read_text().replace("pytorch_model-1.bin", "../m1/x.bin"))
        refused(tv.FormatError, r"names the shard '\.\./m1/x\.bin', which points outside its folder\.")
