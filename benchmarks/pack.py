"""Many specialists in one file: bytes a task against the accuracy that is kept, on a prepared suite.

    python benchmarks/pack.py benchmarks/suite/text8.yaml
    python benchmarks/pack.py benchmarks/suite/text8.yaml --write-docs   # also writes the table into docs/benchmarks.md

The specialists must be there (`taskvec bench train`). Each way packs all of them, every task is unpacked into a folder,
and that folder is scored on the task's test examples. Measured against storing each specialist, and against one merge
that serves all tasks (task_arithmetic with λ = 0.3, nothing tuned).
"""

import argparse
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import taskvec as tv
from taskvec.evaluate.kept import Kept, score_all
from taskvec.evaluate.model import Model
from taskvec.progress import Silent
from taskvec.suite.competitors import LITERATURE
from taskvec.suite.ignore import ignore_of
from taskvec.suite.load import load_suite
from taskvec.suite.objective import specialists_on
from taskvec.suite.specialists import base_of, places_of, specialist_of
from taskvec.suite.tasks import tasks_of

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
WAYS: tuple[tuple[str, dict[str, Any], float | None], ...] = (
    ("tall", {}, None),
    ("emr", {}, None),
    ("tsv_c", {}, None),
    ("low_rank", {"rank": 16}, None),
    ("low_rank", {"rank": 4, "factors": "int8"}, None),
    ("low_rank", {"factors": "int8"}, 0.5),
    ("bits", {}, None),
    ("sparse", {"density": 0.1}, None),
    ("sparse", {"density": 0.02}, None),
)
"""Methods, their settings, and the error that chooses their size."""
COLUMNS = ("method", "a task", "of a model", "error", "mean kept", "worst task", "packed in")


@dataclass(frozen=True)
class Suite:
    """What is packed and scored."""

    name: str
    base: Model
    tests: Sequence[Any]
    paths: Mapping[str, str]
    own: Mapping[str, float]
    ignore: Sequence[str]
    kept: Kept
    work: Path

    @property
    def size(self) -> int:
        """Bytes of a stored model."""
        return tv.Checkpoint(self.base.path).nbytes

    def ratio(self, folder: Path, task: Any) -> float:
        """Return a folder's score on a task, over the specialist's."""
        model = Model(folder, device="cpu", precision=self.base.precision, inputs=self.base.path)
        return score_all(model, [task], self.kept)[0].value / self.own[task.name]


def opened(path: Path, root: Path | None, cache: Path) -> Suite:
    """Open a suite whose specialists are there; what is scored is kept in `cache`."""
    loaded, kept = load_suite(path, root), Kept(cache)
    places = places_of(loaded)
    base = base_of(loaded, device="cpu")
    tests = tasks_of(loaded, base, "test", (), places.heads)
    how = {"device": "cpu", "precision": base.precision, "inputs": base.path}
    own = {name: s.value for name, s in specialists_on(loaded, places, tests, kept, Silent(), how).items()}
    paths = {task.name: specialist_of(loaded, task.name, places) for task in tests}
    ignore = ignore_of(loaded.suite.ignore, list(paths.values()), base.path)
    return Suite(loaded.slug, base, tests, paths, own, ignore, kept, cache / "work")


def row(name: str, size: float, suite: Suite, kept: Mapping[str, float], error: str, seconds: str) -> list[str]:
    """Return a row of the table."""
    worst = min(kept, key=lambda task: kept[task])
    mean = sum(kept.values()) / len(kept)
    share = f"{100 * size / suite.size:.1f} %"
    return [
        name,
        f"{size / 1e6:.2f} MB",
        share,
        error,
        f"{100 * mean:.1f} %",
        f"{100 * kept[worst]:.1f} % ({worst})",
        seconds,
    ]


def packed(suite: Suite, method: str, settings: Mapping[str, Any], error: float | None) -> list[str]:
    """Pack all specialists in one way, unpack and score each."""
    models = [f"{name}={path}" for name, path in suite.paths.items()]
    out = suite.work / "tasks.pack"
    made = tv.pack(suite.base.path, models, out, method=method, settings=settings, error=error, force=True)
    kept = {}
    for task in suite.tests:
        folder = suite.work / "unpacked"
        tv.unpack(out, task.name, folder, base=suite.base.path, force=True)
        kept[task.name] = suite.ratio(folder, task)
    said = [f"{key}={value}" for key, value in settings.items()] + ([f"error {error:g}"] if error else [])
    errors = sum(task["error"] for task in made.tasks) / len(made.tasks)
    name = " ".join([f"`{method}`", ", ".join(said)]).strip()
    return row(name, made.facts["bytes"] / len(models), suite, kept, f"{errors:.3f}", f"{made.facts['seconds']:.0f} s")


def merged(suite: Suite) -> list[str]:
    """Merge all specialists into one model, and score it on every task."""
    data = {"method": "task_arithmetic", "base": str(suite.base.path), "models": list(suite.paths.values())}
    recipe = tv.Recipe.model_validate({**data, "scale": LITERATURE, "ignore": list(suite.ignore)})
    folder, began = suite.work / "merged", time.monotonic()
    tv.run(tv.make_plan(recipe), folder, force=True, restart=True)
    took = time.monotonic() - began
    kept = {task.name: suite.ratio(folder, task) for task in suite.tests}
    return row("one `task_arithmetic` merge", suite.size / len(suite.tests), suite, kept, "", f"{took:.0f} s")


def rows(suite: Suite) -> Iterator[list[str]]:
    """Yield the rows of the table."""
    kept = {task.name: suite.ratio(suite.base.path, task) for task in suite.tests}
    yield row("the base alone", 0.0, suite, kept, "1", "")
    yield row("each specialist stored", suite.size, suite, dict.fromkeys(suite.own, 1.0), "0", "")
    yield merged(suite)
    for way in WAYS:
        yield packed(suite, *way)


def main() -> None:
    """Pack in all the ways and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=Path)
    parser.add_argument("--root", type=Path, help="where the suite's relative paths start")
    parser.add_argument("--cache", type=Path, default=Path(".cache/bench/pack"), help="for scores and what is unpacked")
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md")
    args = parser.parse_args()
    suite = opened(args.suite, args.root, args.cache.absolute() / args.suite.stem)
    suite.work.mkdir(parents=True, exist_ok=True)
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    print("\n".join(lines))
    for found in rows(suite):
        lines.append("| " + " | ".join(found) + " |")
        print(lines[-1], flush=True)
    shutil.rmtree(suite.work)
    if args.write_docs:
        begin, end = f"<!-- pack {suite.name}: made by benchmarks/pack.py -->", f"<!-- /pack {suite.name} -->"
        before, mark, rest = PAGE.read_text("utf-8").partition(begin)
        if not mark:
            raise SystemExit(f"{PAGE} has no '{begin}'")
        PAGE.write_text(f"{before}{begin}\n\n" + "\n".join(lines) + f"\n\n{end}{rest.partition(end)[2]}", "utf-8")


if __name__ == "__main__":
    main()
