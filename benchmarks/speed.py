"""Time and memory of a merge: taskvec, mergekit, and the limit of this machine, in one run and one table.

    python benchmarks/speed.py                     # base + 4 models of 953M parameters in bf16; half an hour
    python benchmarks/speed.py --hidden 512 --layers 4 --methods linear ties     # a minute
    python benchmarks/speed.py --write-docs        # also writes docs/benchmarks.md

Both tools read the same mergekit YAML file. mergekit is installed from the package index into an environment of its
own (`--mergekit-env`) when it is not there yet, and run with the fastest options known for a CPU (asynchronous writes,
small shards). Inputs are read once before each run, so that all start from a warm page cache.
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
from pathlib import Path

from limit import Limit, limit
from measure import Measured, measure

MERGEKIT = "mergekit==0.1.5"
HERE = Path(__file__).parent

RECIPES: dict[str, tuple[str, int, str, str]] = {
    # method: parameters of all models, how many models, of each model, what the recipe is in words
    "linear": ("", 4, "weight: 1.0", ""),
    "slerp": ("t: 0.5", 2, "", ""),
    "task_arithmetic": ("", 4, "weight: 0.4", ""),
    "model_stock": ("", 4, "", ""),
    "breadcrumbs": ("gamma: 0.01", 4, "weight: 0.4, density: 0.9", "density .9, gamma .01"),
    "ties": ("normalize: true", 4, "weight: 1.0, density: 0.2", "density .2"),
    "dare_linear": ("", 4, "weight: 0.4, density: 0.5", "density .5"),
    "dare_ties": ("", 4, "weight: 0.4, density: 0.5", "density .5"),
}


@dataclass(frozen=True)
class Row:
    """One method: both tools' runs, and the limit for the bytes it must move."""

    method: str
    limit: Limit
    ours: Measured
    stream: float
    theirs: Measured | None

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
            return [*cells, "", "", "", "", ""]
        return [
            *cells,
            f"{self.theirs.wall:.1f}",
            f"{self.theirs.cpu:.1f}",
            f"{self.theirs.anonymous / 1e6:.0f}",
            f"{self.theirs.total / 1e9:.2f}",
            f"**{self.theirs.wall / self.ours.wall:.1f}×**",
        ]


COLUMNS = (
    "method", "limit s", "stream s", "stream / limit", "taskvec s", "CPU s", "anon MB", "RSS GB",
    "mergekit s", "CPU s", "anon MB", "RSS GB", "faster",
)  # fmt: skip


def recipe(method: str, data: Path) -> str:
    """Return the YAML that both tools read."""
    shared, count, own, _ = RECIPES[method]
    lines = [f"merge_method: {method}", "models:"]
    if method == "slerp":
        lines.append(f"  - model: {data / 'base'}")
        count -= 1
    for i in range(1, count + 1):
        lines.append(f"  - model: {data / f'm{i}'}")
        if own:
            lines.append(f"    parameters: {{{own}}}")
    if method != "linear":
        lines.append(f"base_model: {data / 'base'}")
    if shared:
        lines.append(f"parameters: {{{shared}}}")
    return "\n".join([*lines, "dtype: bfloat16", ""])


def inputs_of(method: str, data: Path) -> list[Path]:
    """Return the files that a method must read."""
    names = {"linear": ["m1", "m2", "m3", "m4"], "slerp": ["base", "m1"]}.get(method, ["base", "m1", "m2", "m3", "m4"])
    return [file for name in names for file in sorted((data / name).glob("*.safetensors"))]


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


def rows(args: argparse.Namespace, work: Path) -> Iterator[Row]:
    """Measure every method asked for."""
    program = None if args.without_mergekit else mergekit(args.mergekit_env)
    nbytes = sum(f.stat().st_size for f in (args.data / "base").glob("*.safetensors"))
    for method in args.methods:
        (work / "recipe.yaml").write_text(recipe(method, args.data))
        files = inputs_of(method, args.data)
        warm(files)
        bounds = [limit(files, nbytes, work, len(os.sched_getaffinity(0))) for _ in range(args.repeats)]
        bound = sorted(bounds, key=lambda b: b.total)[len(bounds) // 2]
        ours, seconds = run_ours(method, args, work)
        shutil.rmtree(work / "ours", ignore_errors=True)
        row = Row(method, bound, ours, seconds, run_theirs(method, args, work, program) if program else None)
        print("| " + " | ".join(row.cells()) + " |", flush=True)
        yield row


def startup(args: argparse.Namespace, work: Path) -> str:
    """Return how long both tools take to say how they are used."""
    ours = [measure([sys.executable, "-m", "taskvec", "--help"], work / "help.log").wall for _ in range(5)]
    text = f"`taskvec --help` answers in {statistics.median(ours):.2f} s"
    if args.without_mergekit:
        return text + "."
    theirs = measure([str(mergekit(args.mergekit_env)), "--help"], work / "help.log").wall
    return text + f", `mergekit-yaml --help` in {theirs:.1f} s."


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
    parser.add_argument("--data", type=Path, default=Path(".cache/bench/data"), help="made if it is not there")
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--intermediate", type=int, default=5632)
    parser.add_argument("--methods", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--repeats", type=int, default=3, help="of our runs and of the limit; the median counts")
    parser.add_argument("--mergekit-env", type=Path, default=Path(".cache/bench/mergekit"))
    parser.add_argument("--without-mergekit", action="store_true")
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md")
    args = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # both tools run as installed: their bytecode is on disk
    args.data, args.mergekit_env = args.data.absolute(), args.mergekit_env.absolute()
    if not (args.data / "m4").exists():
        sizes = ["--hidden", args.hidden, "--layers", args.layers, "--intermediate", args.intermediate]
        subprocess.run([sys.executable, HERE / "make_checkpoints.py", args.data, *map(str, sizes)], check=True)
    work = args.data.parent / "work"
    work.mkdir(parents=True, exist_ok=True)
    print("| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS))
    found = list(rows(args, work))
    said = startup(args, work)
    print(said)
    (work / "speed.json").write_text(json.dumps([asdict(r) for r in found], indent=2))
    if args.write_docs:
        write_docs(found, said, args)


def write_docs(found: list[Row], said: str, args: argparse.Namespace) -> None:
    """Put the table where docs/benchmarks.md has its markers."""
    path = HERE.parent / "docs" / "benchmarks.md"
    size = sum(f.stat().st_size for f in (args.data / "base").glob("*.safetensors")) / 2e6
    lines = [
        f"Measured on {machine()}; base and 4 models of {size:.0f}M parameters in bf16, warm page cache. {said}",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + " --- |" * len(COLUMNS),
        *("| " + " | ".join(row.cells()) + " |" for row in found),
    ]
    begin, end = "<!-- speed: made by benchmarks/speed.py -->", "<!-- /speed -->"
    before, _, rest = path.read_text().partition(begin)
    path.write_text(before + begin + "\n\n" + "\n".join(lines) + "\n\n" + end + rest.partition(end)[2])


if __name__ == "__main__":
    main()
