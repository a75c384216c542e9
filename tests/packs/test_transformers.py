"""A real, tiny Llama: an unpacked task loads in transformers and answers nearly as the task does."""

from pathlib import Path

import pytest
import torch
import transformers

import taskvec as tv

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 80}


def save(folder: Path, dtype: torch.dtype, tied: bool) -> None:
    """Save `base` and `math`, whose change has rank 4 in every matrix."""
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL, tie_word_embeddings=tied)).to(dtype)
    model.save_pretrained(folder / "base")
    with torch.no_grad():
        for x in model.parameters():
            thin = 0.05 * torch.randn(x.shape[0], 4) @ torch.randn(4, x.shape[1]) if x.ndim == 2 else 0.1
            x += torch.as_tensor(thin).to(dtype)
    model.save_pretrained(folder / "math")


def logits(folder: Path) -> torch.Tensor:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    with torch.no_grad():
        found: torch.Tensor = model(torch.arange(12)[None]).logits.float()
    return found


@pytest.mark.parametrize(("dtype", "tied"), [(torch.float32, False), (torch.bfloat16, False), (torch.float32, True)])
def test_its_logits_are_near(tmp_path: Path, dtype: torch.dtype, tied: bool) -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    save(tmp_path, dtype, tied)
    wanted, start = logits(tmp_path / "math"), logits(tmp_path / "base")
    ways = [("low_rank", {"rank": 4}, 0.1), ("emr", {}, 0.05), ("sparse", {"density": 0.5}, 0.9)]
    for method, settings, near in ways:
        made = tv.pack(tmp_path / "base", [tmp_path / "math"], tmp_path / f"{method}.pack", method=method,
            settings={"small": 512, **settings})  # fmt: skip
        out = tv.unpack(made.path, "math", tmp_path / method, base=tmp_path / "base").folder
        assert tv.verify(out)["loads"] == "as transformers LlamaForCausalLM"
        assert torch.dist(logits(out), wanted) < near * torch.dist(start, wanted)
