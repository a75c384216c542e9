"""Names of the hub: found in the real layout of its cache, downloaded where that lacks something."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError

import taskvec as tv
from taskvec.errors import MissingExtraError, StoreError
from taskvec.ops import kernels
from taskvec.recipe.inputs import open_input
from taskvec.store import Checkpoint
from taskvec.store.hashes import known_hashes
from taskvec.store.hub import locate, wanted
from taskvec.testing import finetuned, tiny_tensors, write_model

COMMIT, OTHER = "a" * 40, "b" * 40


def cached(hub: Path, repo: str, model: Path, commit: str = COMMIT, ref: str | None = "main") -> Path:
    """Put a model folder into a cache as huggingface_hub does: blobs by hash, a snapshot of links, a reference."""
    root = hub / f"models--{repo.replace('/', '--')}"
    snapshot = root / "snapshots" / commit
    (root / "blobs").mkdir(parents=True, exist_ok=True)
    for file in sorted(p for p in model.rglob("*") if p.is_file()):
        data = file.read_bytes()
        blob = root / "blobs" / hashlib.sha256(data).hexdigest()
        blob.write_bytes(data)
        link = snapshot / file.relative_to(model)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    if ref:
        (root / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
        (root / "refs" / ref).write_text(commit)
    return snapshot


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of an empty cache, and stand in an empty folder without a network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", raises(OfflineModeIsEnabled("offline")))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "hub"


def raises(error: Exception) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", tiny_tensors(), shard_size=1500, tokens={"a": 0})


class TestCached:
    def test_the_main_revision(self, hub: Path, model: Path) -> None:
        snapshot = cached(hub, "org/name.b-1_x", model)
        assert locate("org/name.b-1_x") == snapshot
        assert set(Checkpoint(snapshot)) == set(tiny_tensors())

    def test_another_revision(self, hub: Path, model: Path, tmp_path: Path) -> None:
        cached(hub, "org/name", model)
        other = write_model(tmp_path / "other", tiny_tensors(1))
        snapshot = cached(hub, "org/name", other, OTHER, "refs/pr/1")
        assert locate("org/name@refs/pr/1") == snapshot
        assert locate(f"org/name@{OTHER}") == snapshot
        assert locate("org/name") != snapshot

    def test_the_given_name_stays_the_name(self, hub: Path, model: Path) -> None:
        cached(hub, "org/name", model)
        opened = open_input("org/name@main", "base")
        assert opened.name == "org/name@main"
        assert opened.checkpoint.config["model_type"] == "llama"

    def test_hashes_are_those_of_the_blobs(self, hub: Path, model: Path) -> None:
        snapshot = cached(hub, "org/name", model)
        files = Checkpoint(snapshot).on_disk
        assert set(known_hashes(files)) == set(files)

    def test_the_hub_is_not_asked(self, hub: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cached(hub, "org/name", model)
        monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", raises(AssertionError("it was asked")))
        assert locate("org/name").name == COMMIT

    def test_a_folder_here_wins(self, hub: Path, model: Path) -> None:
        cached(hub, "org/name", model)
        Path("org/name").mkdir(parents=True)
        assert locate("org/name") == Path("org/name")

    @pytest.mark.parametrize(
        "path", ["name", "./org/name", "/org/name", "a/b/c", "../x", "org/", "org/.name", "~/x", ""]
    )
    def test_what_is_no_name_of_the_hub_is_a_path(self, path: str) -> None:
        assert locate(path) == Path(path)

    def test_the_environment_says_where(self, tmp_path: Path, model: Path) -> None:
        code = (
            "import sys, taskvec.store.hub as h; assert 'huggingface_hub' not in sys.modules\n"
            "print(h.locate('org/name'))\n"
            "try: h.locate('org/gone')\n"
            "except h.StoreError as exc: print(exc)"
        )
        for name, hub in (("HF_HUB_CACHE", tmp_path / "x"), ("HF_HOME", tmp_path / "y" / "hub")):
            snapshot = cached(hub, "org/name", model)
            where = str(hub if name == "HF_HUB_CACHE" else hub.parent)
            env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")} | {
                name: where,
                "HF_HUB_OFFLINE": "1",
            }
            done = subprocess.run([sys.executable, "-c", code], check=True, env=env, capture_output=True, text=True)
            found, refused = done.stdout.splitlines()
            assert found == str(snapshot)
            assert refused == (
                "org/gone is neither a file here nor in the Hugging Face cache, and cannot be downloaded "
                "(OfflineModeIsEnabled). Where there is a network, type 'hf download org/gone'."
            )


class TestRefused:
    def refused(self, path: str, match: str, error: type[Exception] = StoreError) -> None:
        with pytest.raises(error, match=match) as caught:
            locate(path)
        assert "\n" not in str(caught.value)

    def test_not_cached_and_offline(self, hub: Path) -> None:
        self.refused(
            "org/name@v2",
            r"^org/name@v2 is neither a file here nor in the Hugging Face cache, and cannot be downloaded "
            r"\(OfflineModeIsEnabled\)\. Where there is a network, type 'hf download org/name --revision v2'\.$",
        )

    def test_another_revision_is_cached(self, hub: Path, model: Path) -> None:
        cached(hub, "org/name", model)
        self.refused("org/name@v2", r"^org/name@v2 is neither a file here nor in the Hugging Face cache")

    def test_a_shard_is_missing(self, hub: Path, model: Path) -> None:
        snapshot = cached(hub, "org/name", model)
        gone = sorted(snapshot.glob("*.safetensors"))[1]
        gone.unlink()
        self.refused("org/name", rf"only partly in the Hugging Face cache \({gone.name} is missing\), and cannot be")

    def test_a_blob_is_missing(self, hub: Path, model: Path) -> None:
        snapshot = cached(hub, "org/name", model)
        (snapshot / "config.json").resolve().unlink()
        self.refused("org/name", r"only partly in the Hugging Face cache \(config\.json is missing\)")

    def test_only_the_config_is_there(self, hub: Path, model: Path) -> None:
        snapshot = cached(hub, "org/name", model)
        for file in snapshot.glob("model*"):
            file.unlink()
        self.refused(
            "org/name", r"only partly in the Hugging Face cache \(a file of weights is missing\), .* type 'hf d"
        )

    def test_a_damaged_index_is_left_to_who_reads_it(self, hub: Path, model: Path) -> None:
        (model / "model.safetensors.index.json").write_text("{")
        snapshot = cached(hub, "org/name", model)
        assert locate("org/name") == snapshot

    def test_the_system_says_why(self, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        full = OSError(errno.ENOSPC, "No space left on device")
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", raises(full))
        self.refused(
            "org/name", r"cannot be downloaded \(No space left on device\)\. Where there is a network, type 'h"
        )

    @pytest.mark.parametrize("error", [RepositoryNotFoundError, GatedRepoError])
    def test_no_such_model(self, hub: Path, monkeypatch: pytest.MonkeyPatch, error: Any) -> None:
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", raises(error.__new__(error)))
        self.refused(
            "org/name", r"org/name does not exist here, and org/name is not on the Hugging Face hub or not for"
        )

    def test_no_such_revision(self, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        error = RevisionNotFoundError.__new__(RevisionNotFoundError)
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", raises(error))
        self.refused("org/name@v9", r"^org/name has no revision 'v9' on the Hugging Face hub\.$")

    def test_huggingface_hub_is_not_installed(self, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
        self.refused("org/name", r"type: pip install 'taskvec\[hf\]'$", MissingExtraError)

    def test_without_a_network_it_is_asked_once(self, tmp_path: Path) -> None:
        """Other calls of huggingface_hub repeat themselves for half a minute, and print each time that they do."""
        code = "import taskvec.store.hub as h\ntry: h.locate('org/gone')\nexcept h.StoreError as exc: print(exc)"
        env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        env |= {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}  # where nobody listens
        done = subprocess.run([sys.executable, "-c", code], check=True, env=env, capture_output=True, text=True)
        assert done.stdout.endswith(
            "cannot be downloaded (ConnectError). Where there is a network, type 'hf download org/gone'.\n"
        )
        assert done.stderr == ""


class TestDownloaded:
    def test_what_is_needed_and_no_more(self, hub: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        snapshot = cached(hub, "org/name", model)
        gone = sorted(snapshot.glob("*.safetensors"))[0]
        gone.unlink()
        there = [p.name for p in model.iterdir()] + ["pytorch_model.bin", "onnx/model.onnx"]
        listed = SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in there])
        asked: list[Any] = []

        def download(repo: str, *, revision: str | None, allow_patterns: list[str], **how: Any) -> str:
            if how:
                return real(repo, revision=revision, allow_patterns=allow_patterns, **how)
            asked.append((repo, revision, allow_patterns))
            return str(cached(hub, repo, model, OTHER, "v2"))

        real = huggingface_hub.snapshot_download
        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, repo, revision, timeout: listed)
        assert locate("org/name@main").name == OTHER
        assert asked == [("org/name", "main", sorted(p.name for p in model.iterdir()))]
        assert locate("org/name@v2").name == OTHER  # now it is cached, and nothing more is asked
        assert len(asked) == 1


REPOSITORIES = {
    "safetensors before bin": (
        "config.json model.safetensors",
        "pytorch_model.bin tf_model.h5 onnx/model.onnx openvino/openvino_model.bin",
    ),
    "bin alone": (
        "a.py pytorch_model-00001-of-00002.bin pytorch_model-00002-of-00002.bin pytorch_model.bin.index.json",
        "flax_model.msgpack",
    ),
    "shards, and the maker's own file": (
        "model-00001-of-00001.safetensors model.safetensors.index.json tokenizer.model",
        "consolidated.safetensors original/consolidated.00.pth",
    ),
    "a variant alone": ("model.fp16.safetensors", ""),
    "a variant beside": ("model.safetensors", "model.fp16.safetensors"),
    "open_clip beside transformers": ("model.safetensors open_clip_config.json", "open_clip_model.safetensors"),
    "open_clip": ("open_clip_config.json open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
    "an adapter": ("adapter_config.json adapter_model.safetensors", "adapter_model.bin"),
    "a name of its own": ("README.md toy.ckpt", "training_args.bin optimizer.pt"),
    "a pipeline": (
        "model_index.json text_encoder/model.fp16-00001-of-00001.safetensors "
        "text_encoder/model.safetensors.index.fp16.json tokenizer/vocab.json unet/config.json "
        "unet/diffusion_pytorch_model.safetensors",
        "xl.safetensors unet/diffusion_pytorch_model.fp16.safetensors unet/diffusion_pytorch_model.bin "
        "unet/model.onnx .gitattributes",
    ),
}
"""Of each kind of repository: what is wanted, and what else there is."""


@pytest.mark.parametrize("name", REPOSITORIES)
def test_which_files_are_wanted(name: str) -> None:
    needed, other = (text.split() for text in REPOSITORIES[name])
    assert wanted(other + needed) == sorted(needed)


def test_the_cache_in_these_tests_is_that_of_huggingface_hub(hub: Path, model: Path) -> None:
    """huggingface_hub itself reads what `cached` wrote, so the layout is the real one."""
    snapshot = cached(hub, "org/name", model)
    info = huggingface_hub.scan_cache_dir(hub)
    (repo,) = info.repos
    assert not info.warnings
    assert repo.repo_id == "org/name"
    assert next(iter(repo.revisions)).snapshot_path == snapshot.resolve()
    assert json.loads(
        Path(huggingface_hub.hf_hub_download("org/name", "config.json", local_files_only=True)).read_text()
    )


def test_a_merge_of_names_is_told_by_names(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "choice", "plain")
    base = tiny_tensors()
    cached(hub, "org/base", write_model(tmp_path / "b", base, tokens={"a": 0}))
    cached(hub, "org/math", write_model(tmp_path / "m", finetuned(base, 1), tokens={"a": 0}))
    data = {"base": "org/base", "models": [{"model": "org/math@main"}], "tokenizer": "org/math@main"}
    recipe = tv.Recipe.model_validate({"method": "task_arithmetic", **data})
    out = tv.run(tv.make_plan(recipe, tmp_path / "out"), tmp_path / "out").folder
    receipt, readme = json.loads((out / "receipt.json").read_text()), (out / "README.md").read_text()
    assert [i["path"] for i in receipt["inputs"]] == ["org/base", "org/math@main"]
    assert 'base_model:\n- "org/base"\n- "org/math"\n' in readme
    assert (out / "tokenizer.json").is_file()
    assert not (out / "tokenizer.json").is_symlink()
