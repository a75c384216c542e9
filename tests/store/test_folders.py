"""Which file of a folder is read, and how the output's will be called."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from taskvec.errors import FormatError, StoreError
from taskvec.store import Checkpoint, fingerprint
from taskvec.store.computed.renamed import Renamed

WEIGHTS = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3)}


def fill(folder: Path, *names: str, **more: Any) -> Path:
    """Write files of weights; each holds a tensor of its own name, by which it is recognised."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name.endswith(".json"):
            shard = f"shard-of-{name}.{'bin' if '.bin.' in name else 'safetensors'}"
            fill(folder, shard)
            (folder / name).write_text(json.dumps({"weight_map": {shard: shard}}))
        else:
            save = save_file if name.endswith(".safetensors") else torch.save
            save({name: torch.ones(2)}, folder / name)
    for name, data in more.items():
        (folder / f"{name}.json").write_text(json.dumps(data))
    return folder


SHARDED = "shard-of-{}.safetensors".format
CHOSEN: dict[str, tuple[list[str], str, str]] = {
    "transformers": (["model.safetensors"], "model.safetensors", "model"),
    "transformers, long ago": (["pytorch_model.bin", "training_args.bin"], "pytorch_model.bin", "model"),
    "both": (["model.safetensors", "pytorch_model.bin"], "model.safetensors", "model"),
    "a shard and a .bin": (
        ["model.safetensors.index.json", "pytorch_model.bin"],
        SHARDED("model.safetensors.index.json"),
        "model",
    ),
    "a variant alone": (["model.fp16.safetensors"], "model.fp16.safetensors", "model"),
    "a variant beside": (["model.fp16.safetensors", "model.safetensors"], "model.safetensors", "model"),
    "a variant in shards": (
        ["diffusion_pytorch_model.safetensors.index.fp16.json"],
        SHARDED("diffusion_pytorch_model.safetensors.index.fp16.json"),
        "diffusion_pytorch_model",
    ),
    "a variant in shards beside": (
        ["diffusion_pytorch_model.safetensors.index.fp16.json", "diffusion_pytorch_model.safetensors"],
        "diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model",
    ),
    "two variants in shards beside": (
        ["model.safetensors.index.fp16.json", "model.safetensors.index.bf16.json", "model.safetensors"],
        "model.safetensors",
        "model",
    ),
    "two variants of shards": (
        ["model.safetensors.index.fp16.json", "model.safetensors.index.json"],
        SHARDED("model.safetensors.index.json"),
        "model",
    ),
    "a component": (
        ["diffusion_pytorch_model.safetensors"],
        "diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model",
    ),
    "a component, long ago": (
        ["diffusion_pytorch_model.bin"],
        "diffusion_pytorch_model.bin",
        "diffusion_pytorch_model",
    ),
    "open_clip": (["open_clip_model.safetensors"], "open_clip_model.safetensors", "open_clip_model"),
    "open_clip beside transformers": (
        ["open_clip_model.safetensors", "model.safetensors"],
        "model.safetensors",
        "model",
    ),
    "a name of its own": (["toy-v2.safetensors"], "toy-v2.safetensors", "model"),
    "a name of its own, PyTorch": (["epoch.7.ckpt", "optimizer.pt", "rng_state_0.pth"], "epoch.7.ckpt", "model"),
}


@pytest.mark.parametrize("name", CHOSEN)
def test_the_file_is_that_of_the_loaders(tmp_path: Path, name: str) -> None:
    files, chosen, stem = CHOSEN[name]
    checkpoint = Checkpoint(fill(tmp_path / "m", *files))
    assert list(checkpoint) == [chosen]
    assert checkpoint.stems == {"": stem}


class TestPipelines:
    def write(self, folder: Path, **index: Any) -> Path:
        for part, stem in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
            fill(folder / part, config={})
            save_file(WEIGHTS, folder / part / f"{stem}.safetensors")
        fill(folder / "scheduler", scheduler_config={})
        names = {part: ["library", "Class"] for part in ("unet", "text_encoder", "scheduler")}
        return fill(folder, model_index={"_class_name": "P", **names, "safety_checker": [None, None], **index})

    def test_tensors_are_named_by_their_component(self, tmp_path: Path) -> None:
        checkpoint = Checkpoint(self.write(tmp_path))
        assert sorted(checkpoint) == ["text_encoder/b", "text_encoder/w", "unet/b", "unet/w"]
        assert checkpoint.stems == {"unet/": "diffusion_pytorch_model", "text_encoder/": "model"}
        assert checkpoint.folder == tmp_path
        assert torch.equal(checkpoint["unet/w"], WEIGHTS["w"])

    def test_computed_tensors_keep_their_entries_by_another_name(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
        torch.save({"w": WEIGHTS["w"].T, "b": WEIGHTS["b"]}, tmp_path / "unet" / "diffusion_pytorch_model.bin")
        alone, checkpoint = Checkpoint(tmp_path / "unet"), Checkpoint(tmp_path)
        tensor, inner = checkpoint.tensors["unet/w"], alone.tensors["w"]
        assert isinstance(tensor, Renamed)
        assert tensor.name == "unet/w"
        assert torch.equal(checkpoint["unet/w"], WEIGHTS["w"].T)
        assert checkpoint.raw("unet/w", 1, 4).tolist() == alone.raw("w", 1, 4).tolist()
        for fact in ("dtype", "shape", "scratch", "on_disk", "formula", "count", "nbytes"):
            assert getattr(tensor, fact) == getattr(inner, fact)
        assert tensor.ranges(1, 4) == inner.ranges(1, 4)
        assert fingerprint(checkpoint) != fingerprint(alone)

    def test_a_component_may_be_quantised(self, tmp_path: Path) -> None:
        """Its own config says so, and its scales are its own."""
        self.write(tmp_path)
        tensors = {"w": WEIGHTS["w"].to(torch.float8_e4m3fn), "w_scale": torch.tensor(0.5), "b": WEIGHTS["b"]}
        save_file(tensors, tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
        fill(tmp_path / "unet", config={"quantization_config": {"quant_method": "fp8"}})
        checkpoint = Checkpoint(tmp_path)
        assert sorted(checkpoint) == ["text_encoder/b", "text_encoder/w", "unet/b", "unet/w"]
        assert torch.equal(checkpoint["unet/w"], WEIGHTS["w"] / 2)

    def refused(self, folder: Path, error: type[Exception], match: str) -> None:
        with pytest.raises(error, match=match) as caught:
            Checkpoint(folder)
        assert "\n" not in str(caught.value)

    def test_a_component_that_is_not_there(self, tmp_path: Path) -> None:
        self.write(tmp_path, vae=["diffusers", "AutoencoderKL"])
        self.refused(tmp_path, StoreError, r"model_index\.json names the component vae, which is not there\. Download")

    def test_a_component_without_weights(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
        self.refused(tmp_path, StoreError, r"unet holds no \.safetensors file and none of PyTorch\.$")

    @pytest.mark.parametrize("name", ["../unet", "/tmp", "..", "a/b"])
    def test_a_component_outside(self, tmp_path: Path, name: str) -> None:
        self.write(tmp_path, **{name: ["diffusers", "AutoencoderKL"]})
        self.refused(tmp_path, FormatError, rf"names the component '{name}', which is no folder's name\.")

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", "3"])
    def test_an_index_that_is_none(self, tmp_path: Path, text: str) -> None:
        self.write(tmp_path)
        (tmp_path / "model_index.json").write_text(text)
        self.refused(tmp_path, FormatError, r"model_index\.json is damaged: ")

    def test_no_model_at_all(self, tmp_path: Path) -> None:
        self.write(tmp_path, unet=[None, None], text_encoder=[None, None])
        self.refused(tmp_path, StoreError, r"model_index\.json names no component with weights\.")
