"""Merged adapters against PEFT's `add_weighted_adapter`: how far each is from what the method says, and its time.

    python benchmarks/adapters.py                  # random adapters of rank 16 on one matrix; three minutes
    python benchmarks/adapters.py --write-docs     # also writes the table into docs/benchmarks.md

What the method says is its definition on the dense changes Δ_t = s_t B_t A_t in float64. The error is ‖mine − said‖ /
‖said‖ of the merged change. DARE is random: it is compared with its mean, Σ w_t Δ_t. PEFT's times are those of the call
alone, with the adapters loaded; those of taskvec are from the folders on disk to a folder on disk.
"""

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

import taskvec as tv
from page import put
from taskvec.store.adapter import open_adapter
from taskvec.testing import write_adapter, write_model

RANK, SIZES, COUNTS = 16, (512, 2048), (2, 8)
DENSE = {"space": "dense", "rank": RANK}
TIES = {"density": 0.5, "scope": "tensor", "combine": "count", "tied": "positive"}
ROWS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("sum, all ranks", {"combination_type": "cat"}, "task_arithmetic", {}),
    ("sum, rank 16", {"combination_type": "linear"}, "task_arithmetic", {"adapter": {"rank": RANK}}),
    ("sum, rank 16", {"combination_type": "svd"}, "task_arithmetic", {"adapter": {"rank": RANK}}),
    ("TIES, rank 16", {"combination_type": "ties", "density": 0.5}, "ties", {"settings": TIES, "adapter": DENSE}),
    ("TIES, rank 16", {"combination_type": "ties_svd", "density": 0.5}, "ties", {"settings": TIES, "adapter": DENSE}),
    (
        "DARE, rank 16",
        {"combination_type": "dare_linear", "density": 0.5},
        "dare_linear",
        {"settings": {"density": 0.5}, "adapter": DENSE},
    ),
    (
        "DARE, rank 16",
        {"combination_type": "dare_linear_svd", "density": 0.5},
        "dare_linear",
        {"settings": {"density": 0.5}, "adapter": DENSE},
    ),
    ("DARE, all ranks", {}, "dare_linear", {"settings": {"density": 0.5}, "adapter": {"space": "core"}}),
]
COLUMNS = ("matrix", "adapters", "merge", "PEFT", "error", "s", "taskvec", "error", "s", "least possible")
BEGIN, END = "<!-- adapters: made by benchmarks/adapters.py -->", "<!-- /adapters -->"


class Layer(nn.Module):
    """A model of one matrix."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.proj = nn.Linear(size, size, bias=False)
        self.config = {"model_type": "custom"}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it."""
        out: torch.Tensor = self.proj(x)
        return out


def write(folder: Path, size: int, count: int) -> list[np.ndarray]:
    """Write a base and adapters whose changes share a part, and return their dense changes in float64."""
    rng = np.random.default_rng(size + count)
    write_model(folder / "base", {"proj.weight": rng.standard_normal((size, size)).astype(np.float32)})
    shared = rng.standard_normal((RANK, size))
    changes = []
    for t in range(count):
        a = (0.5 * shared + rng.standard_normal((RANK, size))).astype(np.float32)
        b = (0.01 * rng.standard_normal((size, RANK))).astype(np.float32)
        tensors = {"base_model.model.proj.lora_A.weight": a, "base_model.model.proj.lora_B.weight": b}
        how = {"r": RANK, "lora_alpha": 2 * RANK, "target_modules": ["proj"]}
        write_adapter(folder / f"a{t}", tensors, **how)
        changes.append(2.0 * b.astype(np.float64) @ a.astype(np.float64))
    return changes


def said(method: str, settings: dict[str, Any], changes: list[np.ndarray]) -> np.ndarray:
    """Return what a method makes of dense changes."""
    stack, weights = np.stack(changes), np.ones(len(changes))
    if method == "ties":
        return np.asarray(tv.ties(stack, weights, **settings))
    return np.asarray(stack.sum(axis=0))


def timed(work: Callable[[], object], repeats: int) -> float:
    """Return the median time of some work."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def peft_model(folder: Path, size: int, count: int) -> PeftModel:
    """Load all adapters on the matrix."""
    model = get_peft_model(Layer(size), LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=["proj"]), "a0")
    for t in range(count):
        model.load_adapter(str(folder / f"a{t}"), f"a{t}", is_trainable=False)
    return model


def by_peft(model: PeftModel, count: int, how: dict[str, Any], repeats: int) -> tuple[np.ndarray, float]:
    """Return PEFT's merged change and its time."""
    names = [f"a{t}" for t in range(count)]
    extra = {"svd_rank": RANK} if "svd" in how["combination_type"] else {}
    made: list[str] = []

    def merge() -> None:
        made.append(f"m{time.perf_counter_ns()}")
        model.add_weighted_adapter(names, [1.0] * count, made[-1], **how, **extra)

    seconds = timed(merge, repeats)
    with torch.no_grad():
        change = model.base_model.model.proj.get_delta_weight(made[-1]).double().numpy()
    for name in made:
        model.delete_adapter(name)
    return change, seconds


def by_taskvec(folder: Path, count: int, method: str, how: dict[str, Any], repeats: int) -> tuple[np.ndarray, float]:
    """Return our merged change and its time."""
    data = {"method": method, "base": str(folder / "base"), "models": [str(folder / f"a{t}") for t in range(count)]}
    recipe = tv.Recipe.model_validate({"adapter": {}, **data, **how, "allow": ["unrelated"]})
    tv.merge_adapters(recipe, folder / "out", force=True)  # imports and compiles, once
    seconds = timed(lambda: tv.merge_adapters(recipe, folder / "out", force=True), repeats)
    change = open_adapter(folder / "out", tv.Checkpoint(folder / "base"))["proj.weight"]
    return change.double().numpy(), seconds


def rows(size: int, count: int, repeats: int) -> list[list[str]]:
    """Return the table's rows for a matrix and a number of adapters."""
    out = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        changes = write(folder, size, count)
        model = peft_model(folder, size, count)
        for what, theirs, method, ours in ROWS:
            expected = said(method, ours.get("settings", {}), changes)
            norm = float(np.linalg.norm(expected))
            cells = ["–", "", ""]
            if theirs:
                change, seconds = by_peft(model, count, theirs, repeats)
                error = np.linalg.norm(change - expected) / norm
                cells = [f"`{theirs['combination_type']}`", f"{error:.2g}", f"{seconds:.2f}"]
            mine, took = by_taskvec(folder, count, method, ours, repeats)
            adapter = ours.get("adapter", {"rank": "all"})
            squares = np.linalg.svd(expected, compute_uv=False) ** 2
            least = (squares[RANK:].sum() / squares.sum()) ** 0.5 if "16" in what else 0.0
            shown = " ".join([method, json.dumps(adapter).replace('"', "")])
            error = np.linalg.norm(mine - expected) / norm
            out.append([f"{size}×{size}", str(count), what, *cells, f"`{shown}`", f"{error:.2g}", f"{took:.2f}",
                        f"{least:.2g}"])  # fmt: skip
            print("| " + " | ".join(out[-1]) + " |", flush=True)
    return out


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--counts", nargs="+", type=int, default=COUNTS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    print("\n".join(lines))
    rows_of = [row for size in args.sizes for count in args.counts for row in rows(size, count, args.repeats)]
    lines += ["| " + " | ".join(row) + " |" for row in rows_of]
    if args.write_docs:
        put(BEGIN, END, lines)


if __name__ == "__main__":
    main()
