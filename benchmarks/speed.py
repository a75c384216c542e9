"""Time and memory of a merge: taskvec, mergekit, and the limit of this machine, in one run and one table.

    python benchmarks/speed.py                     # base + 4 models of 953M parameters in bf16; forty minutes
    python benchmarks/speed.py --every-method      # base + 4 models of 168M parameters, every method; 15 minutes
    python benchmarks/speed.py --hidden 512 --layers 4 --methods linear ties     # a minute
    python benchmarks/speed.py --write-docs        # also writes its table into docs/benchmarks.md

Both tools read the same mergekit YAML file; of the methods that mergekit lacks, only our side is run. mergekit is
installed from the package index into an environment of its own (`--mergekit-env`) when it is not there yet, and run
with the fastest options known for a CPU (asynchronous writes, small shards). Inputs are read once before each run, so
that all start from a warm page cache.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from limit import Limit, limit
from measure import Measured, measure
from recipes import RECIPES, USUAL

MERGEKIT = "mergekit==0.1.5"
HERE = Path(__file__).parent

SIZES = {
    "speed": {"hidden": 2048, "layers": 16, "intermediate": 5632},
    "methods": {"hidden": 1024, "layers": 8, "intermediate": 2816},
}
"""By table: the first is of the usual methods on large models, the second of every method on small ones."""


@dataclass(frozen=True)
class Row:
    """One method: both tools' runs, and the limit for the bytes it must move."""

    method: str
    limit: Limit
    ours: Measured
    stream: float
    theirs: Measured | None
    starting: float
    """Seconds mergekit takes to start."""

    def cells(self) -> list[str]:
        """Return the row of the table."""
        cells = [
            self.method,
            f"{self.limit.total:.1f}",
            f"{self.stream:.1f}",
            f"{self.stream / self.limit.total:.1f}×",
            f"{self.ours.wall:.1f}",
            f"{self.ours.cpu:.1f}",
            f"{self.ours.anonymous / 1e6:.0f}",
            f"{self.ours.total / 1e9:.2f}",
        ]
        if self.theirs is None:
            return [*cells, "", "", "", "", "", ""]
        return [
            *cells,
            f"{self.theirs.wall:.1f}",
            f"{self.theirs.cpu:.1f}",
            f"{self.theirs.anonymous / 1e6:.0f}",
            f"{self.theirs.total / 1e9:.2f}",
            f"**{self.theirs.wall / self.ours.wall:.1f}×**",
            f"{max(0.0, self.theirs.wall - self.starting) / self.stream:.1f}×",
        ]


COLUMNS = (
    "method", "limit s", "stream s", "stream / limit", "taskvec s", "CPU s", "anon MB", "RSS GB",
    "mergekit s", "CPU s", "anon MB", "RSS GB", "faster", "once started",
)  # fmt: skip


def inputs_of(method: str, data: Path) -> list[Path]:
    """Return the files that a method must read."""
    return [file for name in RECIPES[method].inputs for file in sorted((data / name).glob("*.safetensors"))]


def warm(files: list[Path]) -> None:
    for file in files:
        with file.open("rb", buffering=0) as f:
            while f.read(1 << 24):
                pass


def mergekit(env: Path) -> Path:
    """Return mergekit-yaml, installed into its own environment if need be."""
    program = env / "bin" / "mergekit-yaml"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", env], check=True)
        pip = [env / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "torch==2.13.0"], check=True)
        subprocess.run([*pip, MERGEKIT], check=True)
    return program


def run_ours(method: str, args: argparse.Namespace, work: Path) -> tuple[Measured, float]:
    """Return the run of median wall time, and the seconds its receipt states for the stream."""
    runs = []
    for _ in range(args.repeats):
        out = work / "ours"
        shutil.rmtree(out, ignore_errors=True)
        warm(inputs_of(method, args.data))
        command = [sys.executable, "-m", "taskvec", "merge", str(work / "recipe.yaml"), "-o", str(out), "--quiet"]
        done = measure(command, work / "ours.log")
        if done.status:
            raise SystemExit(f"taskvec failed on {method}:\n{done.output}")
        runs.append((done, float(json.loads((out / "receipt.json").read_text())["seconds"])))
    return sorted(runs, key=lambda run: run[0].wall)[len(runs) // 2]


def run_theirs(method: str, args: argparse.Namespace, work: Path, program: Path) -> Measured:
    """Run mergekit with the options that were found fastest on a CPU."""
    out = work / "theirs"
    shutil.rmtree(out, ignore_errors=True)
    warm(inputs_of(method, args.data))
    command = [str(program), str(work / "recipe.yaml"), str(out), "--async-write", "--out-shard-size", "500M"]
    done = measure(command, work / "theirs.log", {"HF_HUB_OFFLINE": "1"})
    if done.status:
        raise SystemExit(f"mergekit failed on {method}:\n{done.output[-2000:]}")
    shutil.rmtree(out)
    return done


def rows(args: argparse.Namespace, work: Path, starting: float) -> Iterator[Row]:
    """Measure every method asked for."""
    program = None if args.without_mergekit else mergekit(args.mergekit_env)
    nbytes = sum(f.stat().st_size for f in (args.data / "base").glob("*.safetensors"))
    for method in args.methods:
        (work / "recipe.yaml").write_text(RECIPES[method].text(method, args.data))
        files = inputs_of(method, args.data)
        warm(files)
        bounds = [limit(files, nbytes, work, len(os.sched_getaffinity(0))) for _ in range(args.repeats)]
        bound = sorted(bounds, key=lambda b: b.total)[len(bounds) // 2]
        ours, seconds = run_ours(method, args, work)
        shutil.rmtree(work / "ours", ignore_errors=True)
        theirs = run_theirs(method, args, work, program) if program and RECIPES[method].peer else None
        row = Row(method, bound, ours, seconds, theirs, starting)
        print("| " + " | ".join(row.cells()) + " |", flush=True)
        yield row


def startup(args: argparse.Namespace, work: Path) -> tuple[float, float]:
    """Return how long both tools take to say how they are used; the median of several times."""

    def median(command: list[str], times: int) -> float:
        return statistics.median(measure(command, work / "help.log").wall for _ in range(times))

    ours = median([sys.executable, "-m", "taskvec", "--help"], 5)
    return ours, 0.0 if args.without_mergekit else median([str(mergekit(args.mergekit_env)), "--help"], 3)


def machine() -> str:
    """Describe this machine in a line."""
    model = next(
        (x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), ""
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{len(os.sched_getaffinity(0))} cores of {model}, {memory:.0f} GB, Linux {platform.release()}"


def main() -> None:
    """Measure, print the table, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every-method", action="store_true", help="the second table: every method, small models")
    parser.add_argument("--data", type=Path, help="where models are, or are made; .cache/bench/data or …/small")
    parser.add_argument("--hidden", type=int)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--intermediate", type=int)
    parser.add_argument("--methods", nargs="+", choices=list(RECIPES), help="these only")
    parser.add_argument(
        "--repeats",
        type=int,
        default=3,
        help="of our runs and of the limit; the median counts, so that 3 leave out a run that compiles",
    )
    parser.add_argument("--mergekit-env", type=Path, default=Path(".cache/bench/mergekit"))
    parser.add_argument("--without-mergekit", action="store_true")
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md")
    args = parser.parse_args()
    table = "methods" if args.every_method else "speed"
    args.methods = args.methods or (list(RECIPES) if args.every_method else list(USUAL))
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # both tools run as installed: their bytecode is on disk
    args.data = (args.data or Path(".cache/bench") / ("small" if args.every_method else "data")).absolute()
    args.mergekit_env = args.mergekit_env.absolute()
    if not (args.data / "m4").exists():
        sizes = [x for name, usual in SIZES[table].items() for x in (f"--{name}", getattr(args, name) or usual)]
        subprocess.run([sys.executable, HERE / "make_checkpoints.py", args.data, *map(str, sizes)], check=True)
    work = args.data.parent / "work"
    work.mkdir(parents=True, exist_ok=True)
    ours, theirs = startup(args, work)
    theirs_said = f", `mergekit-yaml --help` in {theirs:.1f} s" if theirs else ""
    said = f"`taskvec --help` answers in {ours:.2f} s{theirs_said}."
    print(f"{said}\n\n| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS))
    found = list(rows(args, work, theirs))
    (work / f"{table}.json").write_text(json.dumps([asdict(r) for r in found], indent=2))
    if args.write_docs:
        write_docs(table, found, said, args)


def write_docs(table: str, found: list[Row], said: str, args: argparse.Namespace) -> None:
    """Put the table where docs/benchmarks.md has its markers; all of it is of this run, the other table stays."""
    path = HERE.parent / "docs" / "benchmarks.md"
    size = sum(f.stat().st_size for f in (args.data / "base").glob("*.safetensors")) / 2e6
    lines = [
        f"Measured on {date.today()}, on {machine()}; base and 4 models of {size:.0f}M parameters in bf16, warm page "
        f"cache. {said}",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + " --- |" * len(COLUMNS),
        *("| " + " | ".join(row.cells()) + " |" for row in found),
    ]
    if table == "methods":
        lines += ["", *(f"- {row.method}: {RECIPES[row.method].words}." for row in found)]
    begin, end = f"<!-- {table}: made by benchmarks/speed.py -->", f"<!-- /{table} -->"
    before, found_it, rest = path.read_text().partition(begin)
    if not found_it:
        raise SystemExit(f"{path} has no '{begin}'")
    path.write_text(before + begin + "\n\n" + "\n".join(lines) + "\n\n" + end + rest.partition(end)[2])


if __name__ == "__main__":
    main()
