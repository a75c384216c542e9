"""A catalogue: time to sketch a vector, to add it, and to search thousands.

    python benchmarks/catalog.py                   # vectors of 100M entries, 2,000 of them; five minutes, 3 GB of disk
    python benchmarks/catalog.py --write-docs      # also writes the tables into docs/benchmarks.md

Eleven vectors are really there: noise with a part in common, added one by one. The other rows of the index, whose
vectors no search reads (they are not among the first ten), are put in directly: random sketches of norm 1, and names.
Times are the best of several runs with the files in the page cache; reading is the same slices, looked at by nobody.
"""

import argparse
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import taskvec as tv
from page import put
from taskvec.ops import kernels
from taskvec.ops.sketch import STEP, WIDTH, Hashing, Sketching
from taskvec.store.arrays import save_arrays
from taskvec.store.catalog.index import put_entry, put_vector
from taskvec.store.catalog.measured import Measured
from taskvec.store.catalog.products import spans_of

BASE = "tv1:0123456789abcdef0123456789abcdef"
SIDE = 1448
REAL = 11
BEGIN, END = "<!-- catalogue: made by benchmarks/catalog.py -->", "<!-- /catalogue -->"


def best(work: Callable[[], object], repeats: int = 3) -> float:
    """Return the shortest time that some work takes."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def write_vector(path: Path, tensors: int, number: int) -> Path:
    """Write a task vector: noise of its own, and a part that all have in common."""
    both = np.random.default_rng(0), np.random.default_rng(1 + number)
    arrays = {
        f"layers.{i}.weight": both[0].standard_normal((SIDE, SIDE), np.float32)
        + 2 * both[1].standard_normal((SIDE, SIDE), np.float32)
        for i in range(tensors)
    }
    facts = {"taskvec.format": "1", "taskvec.space": "weights", "taskvec.base": BASE, "taskvec.history": '["noise"]'}
    save_arrays(path, arrays, facts)
    return path


def put_rows(catalog: tv.Catalog, count: int) -> None:
    """Put entries into the index whose vectors are not there."""
    rng = np.random.default_rng(7)
    with catalog.index.change() as db:
        for i in range(count):
            sha = hashlib.sha256(f"row {i}".encode()).hexdigest()
            sketch = rng.standard_normal(WIDTH).astype(np.float32) / np.float32(np.sqrt(WIDTH))
            put_vector(db, Measured(sha, "BF16", {"w": 1.0}, sketch, 1, 0.0), "weights", BASE, "bfloat16", 2)
            put_entry(db, {"name": f"row-{i:04d}", "sha": sha, "base_name": "base", "tags": ["row"], "metrics": {},
                           "licence": "", "lineage": {}, "lost": 0.0, "created": ""})  # fmt: skip


def sketching(vector: tv.TaskVector) -> list[tuple[str, float]]:
    """Return nanoseconds an entry for reading a vector and for sketching what was read."""
    spans = list(spans_of(vector.shapes, STEP))
    count = sum(stop - start for _, start, stop in spans)
    slices = [(name, start, vector.entries(name, start, stop)) for name, start, stop in spans]

    def sketched() -> None:
        making = Sketching(Hashing())
        for name, start, entries in slices:
            making.add(name, start, entries)

    def read() -> None:
        for span in spans:
            vector.entries(*span)

    rows = [("read the slices of a saved vector", best(read)), ("sketch them, compiled", best(sketched))]
    kernels.choice = "plain"
    rows.append(("sketch them, without numba", best(sketched, 1)))
    kernels.choice = "fused"
    return [(what, 1e9 * seconds / count) for what, seconds in rows]


def measure(folder: Path, tensors: int, rows: int) -> list[str]:
    """Fill a catalogue, search it, and return the tables."""
    catalog = tv.Catalog(folder / "catalogue", create=True)
    count, adding = tensors * SIDE * SIDE, []
    for i in range(REAL):
        path = write_vector(folder / "one.tv", tensors, i)
        if i == 0:
            speeds = sketching(tv.TaskVector.load(path))
        began = time.perf_counter()
        catalog.add(path, name=f"noise-{i}", dtype="bfloat16")
        adding.append(time.perf_counter() - began)
        path.unlink()
    outside = tv.TaskVector.load(write_vector(folder / "new.tv", tensors, REAL))
    put_rows(catalog, rows - REAL)
    found = catalog.find(outside, exact=False)
    assert [f.entry.name[:5] for f in found] == ["noise"] * 10, "a row that has no vector is among the first ten"
    began = time.perf_counter()
    catalog.find("noise-0")
    first = time.perf_counter() - began
    searches = [
        ("an entry, by sketches", best(lambda: catalog.find("noise-0", exact=False))),
        ("an entry, ten of them exactly, for the first time", first),
        ("the same again: inner products are kept", best(lambda: catalog.find("noise-0"))),
        ("a vector outside, by sketches: it is read once", best(lambda: catalog.find(outside, exact=False))),
        ("a vector outside, ten of them exactly", best(lambda: catalog.find(outside))),
    ]
    lines = [f"{len(catalog):,} entries, vectors of {count / 1e6:.0f}M entries in bfloat16, sketches of {WIDTH:,}; "
             f"{os.cpu_count()} cores.", "", "| search | seconds |", "| --- | ---: |"]  # fmt: skip
    lines += [f"| {what} | {seconds:.2f} |" for what, seconds in searches]
    lines += ["", "| one vector, float32 | ns an entry |", "| --- | ---: |"]
    lines += [f"| {what} | {ns:.2f} |" for what, ns in speeds]
    lines += [f"| `add`: read, round, hash, sketch, write and sync | {1e9 * min(adding) / count:.2f} |"]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("/tmp/taskvec-catalogue"))
    parser.add_argument("--tensors", type=int, default=48, help=f"each has {SIDE}×{SIDE} entries")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    shutil.rmtree(args.data, ignore_errors=True)
    args.data.mkdir(parents=True)
    try:
        lines = measure(args.data, args.tensors, args.rows)
    finally:
        shutil.rmtree(args.data)
    print("\n".join(lines))
    if args.write_docs:
        put(BEGIN, END, lines)


if __name__ == "__main__":
    main()
