"""`taskvec inspect` against reading the same files once, in the same process with the same threads.

    python benchmarks/make_checkpoints.py DIR --hidden 2048 --layers 16 --models 4
    python benchmarks/inspecting.py DIR
    python benchmarks/inspecting.py DIR --write-docs    # also writes the table into docs/benchmarks.md

With the page cache warm, and cold (the system is asked to forget the files before each run; where it does not, as for
files that someone else has mapped, the row says nothing). Both are run in turn, and the best of each counts. Compiled
kernels are loaded before, as they are once a process.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import taskvec as tv
from limit import reading_once
from page import put
from speed import machine
from taskvec.ops import kernels

BEGIN, END = "<!-- inspecting: made by benchmarks/inspecting.py -->", "<!-- /inspecting -->"
COLUMNS = ("pages", "models", "GB", "reading s", "inspect s", "inspect / reading", "reading CPU s", "inspect CPU s")


@dataclass(frozen=True)
class Row:
    """One comparison: seconds of the best runs."""

    pages: str
    models: int
    read_bytes: int
    reading: float
    inspect: float
    reading_cpu: float
    inspect_cpu: float

    @property
    def cells(self) -> tuple[str, ...]:
        """The row, as text."""
        return (
            self.pages,
            str(self.models),
            f"{self.read_bytes / 1e9:.1f}",
            f"{self.reading:.1f}",
            f"{self.inspect:.1f}",
            f"**{self.inspect / self.reading:.1f}×**",
            f"{self.reading_cpu:.1f}",
            f"{self.inspect_cpu:.1f}",
        )


def forget(files: Sequence[Path]) -> None:
    """Ask the system to forget what it holds of files."""
    for file in files:
        fd = os.open(file, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds and the CPU seconds that something takes."""
    cpu, began = time.process_time(), time.perf_counter()
    work()
    return time.perf_counter() - began, time.process_time() - cpu


def compared(pages: str, base: Path, models: Sequence[Path], threads: int, runs: int) -> Row:
    """Read and inspect in turn."""
    files = sorted(file for folder in (base, *models) for file in folder.glob("*.safetensors"))
    cold: Callable[[], None] = (lambda: forget(files)) if pages == "cold" else (lambda: None)
    if pages == "warm":
        reading_once(files, threads)
    took: list[tuple[float, float, float, float]] = []
    for _ in range(runs):
        cold()
        read = timed(lambda: reading_once(files, threads))
        cold()
        look = timed(lambda: tv.inspect(base, models, threads=threads))
        took.append((read[0], look[0], read[1], look[1]))
        print(f"{pages}: read {read[0]:.2f} s, inspect {look[0]:.2f} s", flush=True)
    best = [min(part) for part in zip(*took, strict=True)]
    return Row(pages, len(models), sum(file.stat().st_size for file in files), *best)


def lines_of(rows: Sequence[Row], base: Path, threads: int) -> list[str]:
    """Return the table, and what it was made on."""
    size = sum(f.stat().st_size for f in base.glob("*.safetensors"))
    told = (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, with {threads} threads on {machine()}; models of "
        f"{size / 2e6:.0f}M parameters in bf16, kernels: {kernels.in_use()}."
    )
    head = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    return [told, "", *head, *("| " + " | ".join(row.cells) + " |" for row in rows)]


def main() -> None:
    """Compare, print, and perhaps write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="made by make_checkpoints.py")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    base, models = args.folder / "base", sorted(args.folder.glob("m[0-9]*"))
    kernels.prepare()
    rows = [compared(pages, base, models, args.threads, args.runs) for pages in ("warm", "cold")]
    lines = lines_of(rows, base, args.threads)
    print("\n".join(lines))
    if args.write_docs:
        put(BEGIN, END, lines)


if __name__ == "__main__":
    main()
