"""GPT-2 as the hub has it: a base without a head, specialists with one of their own behind another prefix."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from taskvec.recipe.reweighted import Reweighted
from taskvec.suite.bench import Bench, open_bench
from taskvec.suite.competitors import Competitor
from taskvec.suite.load import load_suite
from taskvec.suite.specialists import Places

hf: Any = transformers  # whose functions have no types
WORDS = ["<|endoftext|>", *(f"w{i}" for i in range(20))]
LABELS = {"one": ["no", "yes"], "two": ["entailment", "neutral", "contradiction"]}
"""The tasks; the second is one of pairs."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of a base, two specialists whose answers are the labels of their tasks, and a suite."""
    path = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(0)
    config = hf.GPT2Config(vocab_size=len(WORDS), n_positions=32, n_embd=16, n_layer=2, n_head=2, initializer_range=0.4)
    base = hf.GPT2LMHeadModel(config).eval()
    base.transformer.save_pretrained(path / "base")  # the hub's gpt2 has its names without 'transformer.',
    _as_published(path / "base", "GPT2LMHeadModel")
    _with_mask(path / "base", "h.0.attn.bias")  # and the masks that transformers stored once
    _tokenizer().save_pretrained(path / "base")
    chance = np.random.default_rng(0)
    for number, (task, labels) in enumerate(LABELS.items()):
        _specialist(path / task, base, len(labels), number)
        rows = [_texts(chance, pair=number == 1) for _ in range(120)]
        found = answers(path, task, load_file(path / task / "model.safetensors"), rows)
        lines = [
            {"split": "train" if i < 60 else "test", **row, "label": int(label)}
            for i, (row, label) in enumerate(zip(rows, found, strict=True))
        ]
        (path / f"{task}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (path / "suite.yaml").write_text(json.dumps(_suite()))
    return path


@pytest.fixture(scope="module")
def bench(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return open_bench(load_suite(folder / "suite.yaml"), Places(tmp_path_factory.mktemp("made")), device="cpu")


def _suite() -> dict[str, Any]:
    tasks: dict[str, Any] = {
        name: {"data": f"{name}.jsonl", "labels": labels, "head": {"kind": "checkpoint"}, "model": name}
        for name, labels in LABELS.items()
    }
    tasks["two"]["text"] = ["premise", "hypothesis"]
    return {
        "base": "base", "encoder": {"pooling": "last", "tokens": 32, "batch": 8},
        "ignore": ["score.weight", "*.attn.bias"], "examples": {"validation": None, "held_out": 0.5}, "tasks": tasks,
    }  # fmt: skip


def _as_published(path: Path, architecture: str) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "architectures": [architecture]}))


def _tokenizer() -> Any:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token=WORDS[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    end = WORDS[0]
    return hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end, unk_token=end)


def _specialist(path: Path, base: Any, labels: int, seed: int) -> None:
    """Write a classifier without a tokenizer: a transformer near the base's, and a head for so many labels."""
    config = hf.GPT2Config(**{**base.config.to_dict(), "num_labels": labels, "pad_token_id": 0})
    model, chance = hf.GPT2ForSequenceClassification(config), torch.Generator().manual_seed(seed)
    model.transformer.load_state_dict(base.transformer.state_dict())
    with torch.no_grad():
        for x in model.transformer.parameters():
            x += 0.1 * torch.randn(x.shape, generator=chance)
        model.score.weight.normal_(0.0, 1.0, generator=chance)
    model.save_pretrained(path)
    if seed:
        _with_mask(path, "transformer.h.0.attn.bias")


def _with_mask(path: Path, name: str) -> None:
    weights = load_file(path / "model.safetensors")
    save_file({**weights, name: torch.tril(torch.ones(1, 1, 32, 32))}, path / "model.safetensors", {"format": "pt"})


def _texts(chance: np.random.Generator, pair: bool) -> dict[str, str]:
    columns = ("premise", "hypothesis") if pair else ("text",)
    return {c: " ".join(f"w{i}" for i in chance.integers(0, 20, chance.integers(3, 12))) for c in columns}


def answers(folder: Path, task: str, weights: dict[str, torch.Tensor], rows: list[dict[str, str]]) -> Any:
    """Return what transformers' own classifier answers with some weights, one text at a time."""
    model = hf.GPT2ForSequenceClassification.from_pretrained(folder / task).eval()
    model.load_state_dict(weights, strict=False)
    tokenizer = hf.PreTrainedTokenizerFast.from_pretrained(folder / "base")
    out = []
    for row in rows:
        texts = [row[c] for c in ("text", "premise", "hypothesis") if c in row]
        with torch.no_grad():
            out.append(
                int(model(**tokenizer(*texts, return_tensors="pt", return_token_type_ids=False)).logits.argmax())
            )
    return np.array(out)


def shares(folder: Path, scale: float) -> list[float]:
    """Return the accuracy of θ_0 + scale · (τ_one + τ_two) under each specialist's own head."""
    base = {f"transformer.{n}": x for n, x in load_file(folder / "base" / "model.safetensors").items()}
    both = [load_file(folder / task / "model.safetensors") for task in LABELS]
    parts = {n: x for n, x in base.items() if not n.endswith(".attn.bias")}
    merged = {n: x + scale * ((both[0][n] - x) + (both[1][n] - x)) for n, x in parts.items()}
    out = []
    for task in LABELS:
        lines = [json.loads(line) for line in (folder / f"{task}.jsonl").read_text().splitlines()]
        rows = [line for line in lines if line["split"] == "test"]
        out.append(float((answers(folder, task, merged, rows) == [row["label"] for row in rows]).mean()))
    return out


def test_the_specialists_own_heads_answer(folder: Path, bench: Bench) -> None:
    base, specialists = ([score.value for score in row.scores] for row in bench.rows[:2])
    assert specialists == [1.0, 1.0]
    assert base == pytest.approx(shares(folder, 0.0)) and max(base) < 1.0


@pytest.mark.parametrize("method", ["task_arithmetic", "linear"])
def test_a_merge_of_bodies_under_every_head(method: str, folder: Path, bench: Bench) -> None:
    competitor = Competitor(method, method)
    row = bench.add(method, bench.recipe(competitor, 0.5), {})
    assert [score.value for score in row.scores] == pytest.approx(shares(folder, 0.5))
    if method == "task_arithmetic":
        with Reweighted(bench.recipe(competitor, 0.5)) as models:
            bench.objective.model.put(models.weigh(models.recipe), "in memory")
            again = [task.score(bench.objective.model).value for task in bench.tests]
        assert again == [score.value for score in row.scores]
