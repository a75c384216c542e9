"""Time of a trial of a search: the same models merged again in memory, against a merge to disk.

    python benchmarks/trials.py                    # base + 8 models of 30M parameters in bf16; two minutes
    python benchmarks/trials.py --write-docs       # also writes the table into docs/benchmarks.md

`tune` and `bench` merge each trial in memory. The first trial finds thresholds and other statistics; other weights find
them again and merge; where nothing but the scale changes, the merged task vector is scaled: the second such trial keeps
it, and from the third on a trial is one addition. All of them are bit by bit what `taskvec merge` writes.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import taskvec as tv
from page import put

HERE = Path(__file__).parent
SHAPE = {"hidden": 384, "layers": 12, "intermediate": 1024, "vocab": 16000}
MODELS = 8
METHODS = ("task_arithmetic", "ties", "dare_ties", "della", "breadcrumbs", "consensus_ta", "pcb", "model_stock")
COLUMNS = ("method", "merge to disk", "first trial", "other weights", "second λ", "later λ", "disk / later λ")
BEGIN, END = "<!-- trials: made by benchmarks/trials.py -->", "<!-- /trials -->"


def timed(work: Callable[[], object]) -> float:
    """Return how long some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def row(method: str, data: Path, repeats: int) -> list[str]:
    """Merge by one method in all the ways, and return the row."""
    models = [str(data / f"m{i}") for i in range(1, MODELS + 1)]

    def recipe(scale: float, weight: float = 1.0) -> tv.Recipe:
        entries = [{"model": m, "weight": weight} for m in models]
        return tv.Recipe.model_validate(
            {"method": method, "base": str(data / "base"), "models": entries, "scale": scale}
        )

    out = data / "out"
    to_disk = [timed(lambda: tv.run(tv.make_plan(recipe(0.3)), out, force=True, restart=True)) for _ in range(repeats)]
    shutil.rmtree(out)
    with tv.Reweighted(recipe(0.3)) as held:
        first = timed(lambda: held.weigh(recipe(0.3)))
        weighted = tv.METHODS[method].needs.weighted
        weights = [timed(lambda w=w: held.weigh(recipe(0.3, w))) for w in (0.5, 0.6, 0.7)] if weighted else []  # type: ignore[misc]
        held.weigh(recipe(0.3))
        second = timed(lambda: held.weigh(recipe(0.4)))
        later = statistics.median(timed(lambda i=i: held.weigh(recipe(0.05 * i))) for i in range(9))  # type: ignore[misc]
    disk = statistics.median(to_disk)
    other = f"{statistics.median(weights):.2f}" if weights else ""
    return [method, f"{disk:.2f}", f"{first:.2f}", other, f"{second:.2f}", f"{later:.3f}", f"{disk / later:.0f}×"]


def main() -> None:
    """Run the methods and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(".cache/bench/trials"))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md")
    args = parser.parse_args()
    data = args.data.absolute()
    if not data.exists():
        options = [x for key, value in SHAPE.items() for x in (f"--{key}", str(value))]
        make = [sys.executable, str(HERE / "make_checkpoints.py"), str(data), "--models", str(MODELS), *options]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    row(args.methods[0], data, 1)  # compiles kernels, and warms the page cache
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    print("\n".join(lines))
    for method in args.methods:
        lines.append("| " + " | ".join(row(method, data, args.repeats)) + " |")
        print(lines[-1], flush=True)
    if args.write_docs:
        put(BEGIN, END, lines)


if __name__ == "__main__":
    main()
