"""Methods of matrices against their authors' algorithms with torch.linalg.svd, in one process.

    python benchmarks/matrix_methods.py                         # matrices of a ViT-B/32 and a ViT-L/14, 8 tasks
    python benchmarks/matrix_methods.py --models llama-1b --methods tsv_m iso_c cart
    python benchmarks/matrix_methods.py --write-docs            # also writes its rows into docs/benchmarks.md

One layer is merged; all layers are alike, so ratios are those of a model. The authors' codes take one matrix after the
other and leave all cores to the library. Ours are run as `taskvec merge` runs them: a matrix a core, one thread each.
Both are given the same float32 task vectors in memory. Errors are relative, of the merged delta, against the authors'
algorithm in float64, for the matrices of up to `--exact` entries.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

import taskvec as tv
from page import put, rows_between
from taskvec.recipe.whole import sharing_cores

BEGIN, END = "<!-- matrices: made by benchmarks/matrix_methods.py -->", "<!-- /matrices -->"
TASKS = 8
STEPS = 20
Tensor = torch.Tensor
Shape = tuple[int, int]

MODELS: dict[str, list[Shape]] = {
    "vit-b-32": [(768, 768)] * 4 + [(3072, 768), (768, 3072)],
    "vit-l-14": [(1024, 1024)] * 4 + [(4096, 1024), (1024, 4096)],
    "llama-1b": [(2048, 2048)] * 2 + [(512, 2048)] * 2 + [(8192, 2048)] * 2 + [(2048, 8192)],
}
"""The matrices of one layer."""

COLUMNS = ("model", "method", "authors", "here", "times faster", "error here", "error of authors' float32", "memory")


def svd(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As the authors' codes call it."""
    u, s, vt = torch.linalg.svd(x, full_matrices=False)
    return u, s, vt


def orthogonal(x: Tensor) -> Tensor:
    """The polar factor by an SVD."""
    u, _, vt = svd(x)
    return u @ vt


def tsv_m(deltas: Sequence[Tensor]) -> Tensor:
    """Task singular vectors, whitened."""
    parts = [svd(x) for x in deltas]
    k = int(min(deltas[0].shape) / len(deltas))
    u, s = torch.cat([p[0][:, :k] for p in parts], 1), torch.cat([p[1][:k] for p in parts])
    vt = torch.cat([p[2][:k] for p in parts], 0)
    return orthogonal(u) @ torch.diag(s) @ orthogonal(vt)


def iso_c(deltas: Sequence[Tensor]) -> Tensor:
    """A flat spectrum."""
    u, s, vt = svd(sum(deltas[1:], deltas[0]))
    return s.mean() * u @ vt


def iso_cts(deltas: Sequence[Tensor]) -> Tensor:
    """Common and task-specific subspaces."""
    u, s, vt = svd(sum(deltas[1:], deltas[0]))
    own = round((len(s) - int(0.8 * len(s))) / len(deltas))
    kept = len(s) - own * len(deltas)
    u, s, vt = u[:, :kept], s[:kept], vt[:kept]
    parts = [svd(x - u @ u.T @ x) for x in deltas]
    u_all, s_all = torch.cat([*(p[0][:, :own] for p in parts), u], 1), torch.cat([*(p[1][:own] for p in parts), s])
    vt_all = torch.cat([*(p[2][:own] for p in parts), vt], 0)
    return s_all.mean() * orthogonal(u_all) @ orthogonal(vt_all)


def cart(deltas: Sequence[Tensor]) -> Tensor:
    """The mean and low-rank differences from it."""
    mean = sum(deltas[1:], deltas[0]) / len(deltas)
    k, out = int(0.08 * min(mean.shape)), mean
    for x in deltas:
        u, s, vt = svd(x - mean)
        out = out + u[:, :k] * s[:k] @ vt[:k]
    return out


def subspace_boosting(deltas: Sequence[Tensor]) -> Tensor:
    """Singular values clamped from below."""
    u, s, vt = svd(sum(deltas[1:], deltas[0]))
    cutoff = int((torch.cumsum(s, 0) / s.sum() >= 0.01).nonzero()[0])
    return u * torch.clamp(s, min=float(s[cutoff])) @ vt


def wudi(deltas: Sequence[Tensor]) -> Tensor:
    """Adam, with the gradient left to torch."""
    stack = torch.stack(list(deltas))
    x = torch.nn.Parameter(stack.sum(0))
    optimizer = torch.optim.Adam([x], lr=1e-5)
    sizes = (stack**2).sum((1, 2))[:, None, None]
    for _ in range(STEPS):
        optimizer.zero_grad()
        (((x[None] - stack) @ stack.transpose(1, 2)) ** 2 / sizes).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return x.detach()


AUTHORS: dict[str, Callable[[Sequence[Tensor]], Tensor]] = {
    "tsv_m": tsv_m,
    "iso_c": iso_c,
    "iso_cts": iso_cts,
    "cart": cart,
    "subspace_boosting": subspace_boosting,
    "wudi": wudi,
}
SETTINGS = {"wudi": {"steps": STEPS}}


def task_vectors(shape: Shape, seed: int) -> list[Tensor]:
    """Task vectors with singular values that fall like those of fine-tuned models: quickly at first, then slowly."""
    draw, rank = torch.Generator().manual_seed(seed), min(shape)
    size = 1e-3 * torch.arange(1, rank + 1) ** -0.5 / rank**0.5

    def one() -> Tensor:
        return torch.randn(shape[0], rank, generator=draw) * size @ torch.randn(rank, shape[1], generator=draw)

    return [one() for _ in range(TASKS)]


def here(name: str, layer: Sequence[Sequence[Tensor]], workers: int) -> list[Tensor]:
    """Merge matrices as the stream does."""

    def merge(deltas: Sequence[Tensor]) -> Tensor:
        stack = torch.stack(list(deltas))
        return tv.METHODS[name].function(stack, np.ones(TASKS), **SETTINGS.get(name, {}))

    with sharing_cores(workers), ThreadPoolExecutor(workers) as pool:
        return list(pool.map(merge, layer))


def error(merged: Tensor, exact: Tensor) -> float:
    """Relative, in the Frobenius norm."""
    return float(torch.linalg.norm(merged.double() - exact) / torch.linalg.norm(exact))


def row(model: str, name: str, layer: Sequence[list[Tensor]], most: int) -> list[str]:
    """Merge one layer both ways."""
    workers = torch.get_num_threads()
    here(name, layer[:1], workers)  # imports, and memory that is asked for once
    began = time.perf_counter()
    theirs = [AUTHORS[name](deltas) for deltas in layer]
    between = time.perf_counter()
    ours = here(name, layer, workers)
    ended = time.perf_counter()
    checked = {tuple(deltas[0].shape): i for i, deltas in enumerate(layer) if deltas[0].numel() <= most}
    exact = {i: AUTHORS[name]([x.double() for x in layer[i]]) for i in checked.values()}
    off = max((error(ours[i], exact[i]) for i in exact), default=float("nan"))
    off_theirs = max((error(theirs[i], exact[i]) for i in exact), default=float("nan"))
    widest = max((deltas[0].shape for deltas in layer), key=lambda shape: shape[0] * shape[1])
    method = tv.METHODS[name]
    copies = method.needs.holds(TASKS, *widest, method.check({})) / (widest[0] * widest[1])
    seconds, own = between - began, ended - between
    return [
        model,
        f"[{name}](methods/{name}.md)",
        f"{seconds:.1f}",
        f"{own:.1f}",
        f"{seconds / own:.1f}×",
        f"{off:.0e}",
        f"{off_theirs:.0e}",
        f"{copies:.0f}",
    ]


def with_line(line: str) -> list[str]:
    """Return the page's rows with one of them written anew, in the order of models and methods."""
    known = {key_of(old): old for old in [*rows_between(BEGIN, END), line]}
    return [known[key] for key in sorted(known)]


def key_of(line: str) -> tuple[int, int]:
    """Return the places of a row's model and method in the tables above."""
    model, method = (cell.strip() for cell in line.split("|")[1:3])
    return list(MODELS).index(model), list(AUTHORS).index(method[1:].partition("]")[0])


def main() -> None:
    """Run the methods and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["vit-b-32", "vit-l-14"])
    parser.add_argument("--methods", nargs="+", choices=AUTHORS, default=list(AUTHORS))
    parser.add_argument("--exact", type=int, default=5_000_000, help="entries of the largest matrix that is checked")
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md")
    args = parser.parse_args()
    head = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    print("\n".join(head))
    for model in args.models:
        layer = [task_vectors(shape, seed) for seed, shape in enumerate(MODELS[model])]
        for method in args.methods:
            line = "| " + " | ".join(row(model, method, layer, args.exact)) + " |"
            print(line, flush=True)
            if args.write_docs:
                put(BEGIN, END, [*head, *with_line(line)])


if __name__ == "__main__":
    main()
