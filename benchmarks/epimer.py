"""EpiMer against TSV-M at the same rank, both as `taskvec merge` runs them: how much curvature costs.

    python benchmarks/epimer.py                          # a ViT-B/32's matrices, 8 tasks, 32 values a task
    python benchmarks/epimer.py --metrics diagonal kronecker --rank 96
    python benchmarks/epimer.py --write-docs             # also writes its rows into docs/benchmarks.md

One layer is merged; all layers are alike, so ratios are those of a model. Matrices share the cores, one thread each.
Both methods are given the same float32 task vectors and curvature in memory. Curvature is drawn: numbers a row times
numbers a column times numbers an entry, each over two orders of magnitude, like squared gradients of a linear layer;
tasks share half of it. Memory is what a process of its own takes at its peak beyond what it is given. *basis* is what
the basis S of all atoms of the widest matrix would take, if it were formed. *off exact* is how far the first matrix is
from the same in float64, as a share of its norm.
"""

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch

import taskvec as tv
from matrix_methods import MODELS, TASKS, Shape, task_vectors
from page import put, rows_between
from taskvec.merge.curvature import Measured
from taskvec.ops.metric import Diagonal, Kronecker, Metric, Rotated
from taskvec.recipe.whole import sharing_cores

BEGIN, END = "<!-- epimer: made by benchmarks/epimer.py -->", "<!-- /epimer -->"
COLUMNS = ("model", "metric", "rank", "tsv_m s", "epimer s", "ratio", "tsv_m MB", "epimer MB", "basis MB", "off exact")
Tensor = torch.Tensor
Merge = Callable[[int], Tensor]


def numbers(draw: torch.Generator, *shape: int) -> Tensor:
    """Positive, most of them within two orders of magnitude."""
    return torch.exp(1.2 * torch.randn(*shape, generator=draw))


def squares(shape: Shape, seed: int) -> list[Tensor]:
    """A diagonal a task."""
    draw = torch.Generator().manual_seed(seed)
    shared = numbers(draw, shape[0], 1) * numbers(draw, 1, shape[1])
    return [
        1e-8 * (shared * numbers(draw, shape[0], 1) * numbers(draw, 1, shape[1])) ** 0.5 * numbers(draw, *shape)
        for _ in range(TASKS)
    ]


def factor(draw: torch.Generator, size: int) -> Tensor:
    """A Gram matrix of inputs or gradients, of a spectrum that falls."""
    x = torch.randn(size, size, generator=draw) * torch.arange(1, size + 1) ** -0.5
    return x @ x.T / size


def metrics(kind: str, shape: Shape, seed: int) -> list[Metric]:
    """A metric a task."""
    draw = torch.Generator().manual_seed(seed)
    if kind == "diagonal":
        return [Diagonal(x) for x in squares(shape, seed)]
    if kind == "kronecker":
        return [Kronecker(1e-8 * factor(draw, shape[0]), factor(draw, shape[1])) for _ in range(TASKS)]
    turns = [[torch.linalg.qr(torch.randn(n, n, generator=draw))[0] for n in shape] for _ in range(TASKS)]
    return [Rotated(*turn, values) for turn, values in zip(turns, squares(shape, seed), strict=True)]


def resident() -> int:
    """Bytes of anonymous memory that the process has now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon:")).split()[1])


def peak_of(run: Callable[[], object]) -> float:
    """Megabytes that a call takes beyond what was there, looked at a thousand times a second."""
    before, most, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            most[0] = max(most[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run()
    finally:
        done.set()
        watcher.join()
    return max(0, most[0] - before) / 1e6


def peak_alone(model: str, kind: str, rank: int, name: str) -> float:
    """The same for one method in a process of its own, in which memory that is let go of goes back to the system."""
    words = [sys.executable, __file__, "--models", model, "--metrics", kind, "--rank", str(rank), "--peak", name]
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    return float(subprocess.run(words, env=env, check=True, capture_output=True, text=True).stdout)


def shared(merge: Merge, count: int, workers: int) -> list[Tensor]:
    """Merge matrices as the stream does: a matrix a thread, the cores shared out."""
    with sharing_cores(workers), ThreadPoolExecutor(workers) as pool:
        return list(pool.map(merge, range(count)))


def best_of(run: Callable[[], object], times: int) -> float:
    """Seconds of the fastest run."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return min(taken)


def merges(model: str, kind: str, rank: int) -> tuple[dict[str, Merge], list[Tensor], list[list[Measured]]]:
    """Each method for the matrices of one layer, by their numbers; the task vectors; the curvature."""
    deltas = [torch.stack(task_vectors(shape, seed)) for seed, shape in enumerate(MODELS[model])]
    curvature = [[Measured(one, 1.0) for one in metrics(kind, shape, seed)] for seed, shape in enumerate(MODELS[model])]
    ones = np.ones(TASKS)
    return (
        {
            "tsv_m": lambda i: tv.tsv_m(deltas[i], ones, rank=rank),
            "epimer": lambda i: tv.epimer(deltas[i], ones, rank=rank, curvature=curvature[i]),
        },
        deltas,
        curvature,
    )


def row(model: str, kind: str, rank: int, times: int) -> list[str]:
    """Merge one layer both ways."""
    shapes, workers = MODELS[model], torch.get_num_threads()
    methods, deltas, curvature = merges(model, kind, rank)
    merged = methods["epimer"](0)  # imports, and memory that is asked for once
    flat, curved = (best_of(partial(shared, merge, len(shapes), workers), times) for merge in methods.values())
    memory = [f"{peak_alone(model, kind, rank, name):.0f}" for name in methods]
    widest = max(shapes, key=lambda shape: shape[0] * shape[1])
    basis = 4e-6 * widest[0] * widest[1] * TASKS * min(rank or 10**9, min(widest) // TASKS)
    off = error(deltas[0], curvature[0], rank, merged)
    seconds = [f"{flat:.2f}", f"{curved:.2f}", f"{curved / flat:.2f}×"]
    return [model, kind, str(rank), *seconds, *memory, f"{basis:.0f}", f"{off:.0e}"]


def error(deltas: Tensor, curvature: Sequence[Measured], rank: int, merged: Tensor) -> float:
    """How far a merge is from the same in float64, to the last digit."""
    wide = [Measured(in_double(one.metric), one.total) for one in curvature]
    exact = tv.epimer(deltas.double(), np.ones(TASKS), rank=rank, curvature=wide)
    return float(torch.linalg.norm(merged.double() - exact) / torch.linalg.norm(exact))


def in_double(metric: Metric) -> Metric:
    """The same metric in float64."""
    return type(metric)(**{name: part.double() for name, part in vars(metric).items()})


def with_line(line: str) -> list[str]:
    """Return the page's rows with one of them written anew."""
    known = {tuple(old.split("|")[1:4]): old for old in [*rows_between(BEGIN, END), line]}
    return list(known.values())


def main() -> None:
    """Run the methods and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["vit-b-32"])
    parser.add_argument("--metrics", nargs="+", choices=["diagonal", "kronecker", "eigen"], default=["diagonal"])
    parser.add_argument("--rank", type=int, default=32, help="singular values a task; 0: 1/T of them")
    parser.add_argument("--times", type=int, default=3, help="runs, of which the fastest counts")
    parser.add_argument("--peak", choices=["tsv_m", "epimer"], help="print the memory of one method, and nothing else")
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md")
    args = parser.parse_args()
    if args.peak:
        shapes, methods = MODELS[args.models[0]], merges(args.models[0], args.metrics[0], args.rank)[0]
        methods[args.peak](0)  # what is imported on first use is not counted
        print(peak_of(lambda: shared(methods[args.peak], len(shapes), torch.get_num_threads())))
        return
    head = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    print("\n".join(head))
    for model in args.models:
        for kind in args.metrics:
            line = "| " + " | ".join(row(model, kind, args.rank, args.times)) + " |"
            print(line, flush=True)
            if args.write_docs:
                put(BEGIN, END, [*head, *with_line(line)])


if __name__ == "__main__":
    main()
