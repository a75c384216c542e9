"""Anonymous memory does not grow: with the model, with the size of a tensor, or with the number of models.

    python benchmarks/memory.py                    # 1B and 8B layouts, 4 and 20 models, as sparse files
    python benchmarks/memory.py --write-docs       # also writes the table into docs/benchmarks.md

The inputs are sparse files (holes), so that 8B-parameter models need no disk; the output is written in full (16 GB) to
`--data` and removed.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from measure import measure

HERE = Path(__file__).parent
SIZES = {
    "1B": {"hidden": 2048, "layers": 16, "intermediate": 5632, "vocab": 32000},
    "8B": {"hidden": 4096, "layers": 32, "intermediate": 14336, "vocab": 128256},
}
CASES = [
    ("1B", 4, "task_arithmetic"),
    ("1B", 4, "ties"),
    ("1B", 20, "ties"),
    ("8B", 4, "task_arithmetic"),
    ("8B", 4, "ties"),
]
COLUMNS = ("models", "method", "inputs GB", "largest tensor GB", "planned MB", "anon MB", "RSS GB", "wall s")


def case(size: str, count: int, method: str, data: Path) -> list[str]:
    """Run one merge and return its row."""
    folder = data / f"{size}-{count}"
    shape = SIZES[size]
    if not folder.exists():
        options = [x for key, value in shape.items() for x in (f"--{key}", str(value))]
        make = [sys.executable, HERE / "make_checkpoints.py", folder, "--models", str(count), "--sparse", *options]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    out = data / "out"
    models = [str(folder / f"m{i}") for i in range(1, count + 1)]
    command = [sys.executable, "-m", "taskvec", "merge", "--method", method, "--base", str(folder / "base"), *models]
    done = measure([*command, "-o", str(out), "--quiet"], data / "log")
    if done.status:
        raise SystemExit(f"{size} {method} failed:\n{done.output}")
    receipt = json.loads((out / "receipt.json").read_text())
    shutil.rmtree(out)
    read = sum(i["bytes"] for i in receipt["inputs"]) / 1e9
    return [
        f"{size} × {count}",
        method,
        f"{read:.1f}",
        f"{2 * shape['vocab'] * shape['hidden'] / 1e9:.2f}",
        f"{receipt['memory']['planned'] / 1e6:.0f}",
        f"{done.anonymous / 1e6:.0f}",
        f"{done.total / 1e9:.2f}",
        f"{done.wall:.0f}",
    ]


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(".cache/bench/sparse"))
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md")
    args = parser.parse_args()
    args.data = args.data.absolute()
    args.data.mkdir(parents=True, exist_ok=True)
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    print("\n".join(lines))
    for size, count, method in CASES:
        if size in args.sizes:
            lines.append("| " + " | ".join(case(size, count, method, args.data)) + " |")
            print(lines[-1], flush=True)
    if args.write_docs:
        path = HERE.parent / "docs" / "benchmarks.md"
        begin, end = "<!-- memory: made by benchmarks/memory.py -->", "<!-- /memory -->"
        before, _, rest = path.read_text().partition(begin)
        path.write_text(before + begin + "\n\n" + "\n".join(lines) + "\n\n" + end + rest.partition(end)[2])


if __name__ == "__main__":
    main()
