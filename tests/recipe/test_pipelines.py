"""Pipelines of diffusers, CLIP, open_clip and timm: what is written loads, and is called what its loader looks for."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import taskvec as tv
from taskvec.ops import kernels
from taskvec.store.hashes import known_hashes

PARTS = ("unet", "vae", "text_encoder")
UNET = {
    "sample_size": 8, "block_out_channels": (4, 8), "layers_per_block": 1, "cross_attention_dim": 8,
    "attention_head_dim": 2, "norm_num_groups": 2, "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}  # fmt: skip
TEXT = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
WORDS = {"vocab_size": 12, "max_position_embeddings": 9, "bos_token_id": 0, "eos_token_id": 1}
IMAGE = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 4}
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.35.0",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "safety_checker": [None, None],
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
}


@pytest.fixture(autouse=True)
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "choice", "plain")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def moved(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Move every parameter a little."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write two pipelines like Stable Diffusion's; the first has a sharded unet, the second a variant and a .bin."""
    import diffusers

    torch.manual_seed(0)
    text = transformers.CLIPTextConfig(**TEXT, **WORDS)
    models = {
        "unet": diffusers.UNet2DConditionModel(**UNET),
        "vae": diffusers.AutoencoderKL(block_out_channels=(4,), norm_num_groups=2),
        "text_encoder": transformers.CLIPTextModel(text),
    }
    folders = []
    for i in range(2):
        folder = tmp_path_factory.mktemp(f"pipeline{i}")
        for name, model in models.items():
            how = {"max_shard_size": "20KB"} if (name, i) == ("unet", 0) else {}
            how |= {"variant": "fp16"} if (name, i) == ("vae", 1) else {}
            how |= {"safe_serialization": False} if (name, i) == ("unet", 1) else {}
            moved(model, i).save_pretrained(folder / name, **how)
        diffusers.DDIMScheduler(steps_offset=1, clip_sample=False).save_pretrained(folder / "scheduler")
        (folder / "tokenizer").mkdir()
        words = {"<|startoftext|>": 0, "<|endoftext|>": 1} | {c: i + 2 for i, c in enumerate("abcde")}
        (folder / "tokenizer" / "vocab.json").write_text(json.dumps(words))
        (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
        (folder / "tokenizer" / "tokenizer_config.json").write_text('{"tokenizer_class": "CLIPTokenizer"}')
        (folder / "model_index.json").write_text(json.dumps(INDEX))
        folders.append(folder)
    return folders


def average(folders: list[Path], out: Path, **keys: Any) -> Path:
    recipe = {"method": "linear", "models": [{"model": str(f)} for f in folders]} | keys
    return tv.run(tv.make_plan(tv.Recipe.model_validate(recipe), out), out).folder


def test_a_merged_pipeline_is_loaded_by_diffusers(pipelines: list[Path], tmp_path: Path) -> None:
    import diffusers

    diffusers.logging.disable_progress_bar()
    out = average(pipelines, tmp_path / "out")
    folders = (out, pipelines[0], loadable(pipelines[1], tmp_path))
    merged, one, other = (diffusers.StableDiffusionPipeline.from_pretrained(f) for f in folders)
    for part in PARTS:
        got, x, y = (getattr(p, part).state_dict() for p in (merged, one, other))
        assert set(got) == set(x)
        for name, value in got.items():
            assert torch.equal(value, 0.5 * x[name] + 0.5 * y[name] if value.is_floating_point() else x[name]), name
    assert merged.tokenizer.get_vocab() == one.tokenizer.get_vocab()


def loadable(folder: Path, tmp_path: Path) -> Path:
    """Return a copy whose variant is called as the plain file, which diffusers takes without being told."""
    copy = tmp_path / "plain"
    shutil.copytree(folder, copy)
    vae = copy / "vae" / "diffusion_pytorch_model.fp16.safetensors"
    vae.rename(vae.with_name("diffusion_pytorch_model.safetensors"))
    return copy


def test_every_other_file_is_there_and_weights_have_their_names(pipelines: list[Path], tmp_path: Path) -> None:
    out = average(pipelines, tmp_path / "out", output={"shard_size": "60KB"})
    written = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    others = {str(p.relative_to(pipelines[0])) for p in pipelines[0].rglob("*") if p.is_file()}
    assert {w for w in written if "safetensors" not in w} == {"README.md", "receipt.json"} | {
        o for o in others if "safetensors" not in o
    }
    assert "vae/diffusion_pytorch_model.safetensors" in written
    assert "text_encoder/model.safetensors" in written
    assert "unet/diffusion_pytorch_model.safetensors.index.json" in written
    index = json.loads((out / "unet" / "diffusion_pytorch_model.safetensors.index.json").read_text())
    shards = {p.name for p in (out / "unet").glob("*.safetensors")}
    assert len(shards) > 1
    assert set(index["weight_map"].values()) == shards
    assert "conv_in.weight" in index["weight_map"]
    assert "library_name: diffusers" in (out / "README.md").read_text()


def test_its_hashes_are_known_and_it_can_be_merged_again(pipelines: list[Path], tmp_path: Path) -> None:
    out = average(pipelines, tmp_path / "out")
    facts = tv.verify(out)
    assert facts["hashes"] == f"{sum(p.is_file() for p in out.rglob('*')) - 1} files as stated"
    files = tv.Checkpoint(out).on_disk
    assert set(known_hashes(files)) == set(files)
    again = average([out, out], tmp_path / "again")
    one, other = tv.Checkpoint(out), tv.Checkpoint(again)
    assert all(torch.equal(one[n], other[n]) for n in one)


def test_the_configs_of_transformers_follow_the_stored_type(pipelines: list[Path], tmp_path: Path) -> None:
    out = average(pipelines, tmp_path / "out", dtype="bfloat16")
    assert json.loads((out / "text_encoder" / "config.json").read_text())["dtype"] == "bfloat16"
    for part in ("unet", "vae"):
        before, after = (json.loads((f / part / "config.json").read_text()) for f in (pipelines[0], out))
        assert before == after


def test_a_component_alone_keeps_its_files_name(pipelines: list[Path], tmp_path: Path) -> None:
    import diffusers

    out = average([f / "unet" for f in pipelines], tmp_path / "out")
    assert [p.name for p in out.glob("*.safetensors")] == ["diffusion_pytorch_model.safetensors"]
    merged = diffusers.UNet2DConditionModel.from_pretrained(out)
    whole = average(pipelines, tmp_path / "whole")
    assert all(torch.equal(tv.Checkpoint(whole)[f"unet/{n}"], x) for n, x in merged.state_dict().items())
    assert tv.verify(out)["loads"].startswith("not tried")


def test_components_are_named_in_a_recipe(pipelines: list[Path], tmp_path: Path) -> None:
    """Globs reach a component by its folder."""
    out = average(pipelines, tmp_path / "out", ignore=["vae/*", "text_encoder/*"])
    merged, first = tv.Checkpoint(out), tv.Checkpoint(pipelines[0])
    same = {n.split("/")[0] for n in merged if torch.equal(merged[n], first[n])}
    assert {"vae", "text_encoder"} <= same
    assert not torch.equal(merged["unet/conv_in.weight"], first["unet/conv_in.weight"])


class TestClip:
    @pytest.fixture
    def models(self, tmp_path: Path) -> list[Path]:
        torch.manual_seed(0)
        config = transformers.CLIPConfig(
            text_config=TEXT | WORDS, vision_config=IMAGE | {"image_size": 8}, projection_dim=6
        )
        model = transformers.CLIPModel(config)
        folders = [tmp_path / "a", tmp_path / "b"]
        for i, folder in enumerate(folders):
            moved(model, i).save_pretrained(folder)
            tensors = load_file(folder / "model.safetensors")
            # Older files hold these buffers.
            tensors["text_model.embeddings.position_ids"] = torch.arange(9)[None]
            save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return folders

    def test_an_average_loads(self, models: list[Path], tmp_path: Path) -> None:
        out = average(models, tmp_path / "out")
        merged, x, y = (transformers.CLIPModel.from_pretrained(f) for f in (out, *models))
        one, other = x.state_dict(), y.state_dict()
        for name, value in merged.state_dict().items():
            assert torch.equal(value, 0.5 * one[name] + 0.5 * other[name]), name
        assert tv.Checkpoint(out)["text_model.embeddings.position_ids"].tolist() == [list(range(9))]
        assert tv.verify(out)["loads"] == "as transformers CLIPModel"


@pytest.mark.parametrize(
    ("weights", "config", "expected"),
    [
        ("open_clip_model.safetensors", "open_clip_config.json", "open_clip_model.safetensors"),
        ("open_clip_pytorch_model.bin", "open_clip_config.json", "open_clip_model.safetensors"),
        ("model.safetensors", "config.json", "model.safetensors"),
        ("pytorch_model.bin", "config.json", "model.safetensors"),
    ],
)
def test_open_clip_and_timm(tmp_path: Path, weights: str, config: str, expected: str) -> None:
    settings = {"architecture": "vit_tiny", "num_classes": 3, "pretrained_cfg": {"tag": "x"}}
    folders = [tmp_path / "a", tmp_path / "b"]
    base = {"visual.proj": torch.arange(12.0).reshape(3, 4), "logit_scale": torch.tensor(2.5)}
    save: Callable[..., Any] = save_file if weights.endswith(".safetensors") else torch.save
    for i, folder in enumerate(folders):
        folder.mkdir()
        save({n: x + i for n, x in base.items()}, folder / weights)
        (folder / config).write_text(json.dumps(settings))
    out = average(folders, tmp_path / "out")
    assert {p.name for p in out.iterdir()} == {expected, config, "README.md", "receipt.json"}
    assert json.loads((out / config).read_text()) == settings
    assert load_file(out / expected)["logit_scale"] == 3.0
    assert tv.verify(out)["loads"].startswith("not tried")
