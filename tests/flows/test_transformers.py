"""Real transformers, made from a config: the merged folder loads unchanged and holds the merged weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import taskvec as tv

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 50}
CONFIGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", {"tie_word_embeddings": False}),
    "llama, tied": ("LlamaForCausalLM", "LlamaConfig", {"tie_word_embeddings": True}),
    "bert": ("BertModel", "BertConfig", {}),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}),
}


@pytest.fixture(autouse=True)
def quiet() -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., list[Path]]:
    """Return what saves a base and two fine-tunes of a kind of model."""

    def save(kind: str, dtype: torch.dtype = torch.float32, **how: Any) -> list[Path]:
        name, config_name, more = CONFIGS[kind]
        torch.manual_seed(0)
        config = getattr(transformers, config_name)(**SMALL, **more)
        model = getattr(transformers, name)(config).to(dtype)
        folders = []
        for folder in ("base", "m0", "m1"):
            with torch.no_grad():
                for parameter in model.parameters() if folder != "base" else []:
                    parameter += 0.02 * torch.randn(parameter.shape).to(dtype)
            model.save_pretrained(tmp_path / folder, **how)
            folders.append(tmp_path / folder)
        return folders

    return save


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    model, report = getattr(transformers, name).from_pretrained(folder, output_loading_info=True, dtype="auto")
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    return dict(model.state_dict())


@pytest.mark.parametrize("kind", CONFIGS)
def test_an_average_loads_and_is_the_average(saved: Callable[..., list[Path]], tmp_path: Path, kind: str) -> None:
    _, a, b = saved(kind)
    recipe = tv.Recipe.model_validate({"method": "linear", "models": [{"model": str(a)}, {"model": str(b)}]})
    out = tv.run(tv.make_plan(recipe), tmp_path / "merged").folder
    name = CONFIGS[kind][0]
    got, x, y = (weights(folder, name) for folder in (out, a, b))
    assert set(got) == set(x)
    for key, value in got.items():
        if value.is_floating_point():
            assert torch.equal(value, 0.5 * x[key] + 0.5 * y[key]), key
    assert transformers.AutoModel.from_pretrained(out).config.model_type == kind.split(",")[0]
    facts = tv.verify(out)
    assert facts["loads"] == f"as transformers {name}"
    assert facts["hashes"].startswith(str(len(list(out.iterdir())) - 1))


def test_bf16_shards_stay_bf16_shards(saved: Callable[..., list[Path]], tmp_path: Path) -> None:
    base, a, b = saved("llama", torch.bfloat16, max_shard_size="5KB")
    assert (base / "model.safetensors.index.json").exists()
    data = {
        "method": "task_arithmetic",
        "base": str(base),
        "models": [{"model": str(a)}, {"model": str(b), "weight": -0.5}],
        "output": {"shard_size": "5KB"},
    }
    out = tv.run(tv.make_plan(tv.Recipe.model_validate(data)), tmp_path / "merged").folder
    got, w, x, y = (weights(folder, "LlamaForCausalLM") for folder in (out, base, a, b))
    assert len(list(out.glob("*.safetensors"))) > 2
    for key, value in got.items():
        origin = w[key].float()
        expected = origin + ((x[key].float() - origin) - 0.5 * (y[key].float() - origin))
        assert value.dtype == torch.bfloat16
        assert torch.equal(value, expected.bfloat16()), key


def test_verify_finds_what_transformers_would_miss(saved: Callable[..., list[Path]], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    base, _, _ = saved("llama")
    file = base / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.norm.weight"]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(tv.FormatError, match=r"'model\.norm\.weight'"):
        tv.verify(base)


def test_the_output_of_the_merged_model_is_that_of_the_weights(
    saved: Callable[..., list[Path]], tmp_path: Path
) -> None:
    """Merging one model with weight 1 is that model: the same logits to the bit."""
    base, a, _ = saved("llama")
    data = {"method": "task_arithmetic", "base": str(base), "models": [{"model": str(a)}]}
    out = tv.run(tv.make_plan(tv.Recipe.model_validate(data)), tmp_path / "merged").folder
    tokens = torch.arange(10)[None]
    with torch.no_grad():
        logits = [transformers.AutoModelForCausalLM.from_pretrained(f)(tokens).logits for f in (out, a, base)]
    assert torch.allclose(logits[0], logits[1], atol=1e-6)
    assert not torch.allclose(logits[0], logits[2], atol=1e-4)
