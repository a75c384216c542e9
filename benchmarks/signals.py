"""Which signal of a few examples locates a task: the located merge of every task of a suite left out, for each signal.

    python benchmarks/signals.py benchmarks/suite/text8.yaml
    python benchmarks/signals.py benchmarks/suite/text8.yaml --write-docs   # also writes docs/benchmarks.md

The specialists must be there (`taskvec bench train`). It is `taskvec bench locate --signal …` without fine-tuning. What
was found before an interruption is found again.
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import get_args

from page import put
from taskvec.evaluate.summary import difference, summarise
from taskvec.locating.contest import BASE, LOCATED, NEAREST, UNIFORM, Contest
from taskvec.locating.signals import Kind
from taskvec.progress import Silent
from taskvec.suite.left_out import Asked, Cell, LeftOut, located
from taskvec.suite.left_out_page import scores_of
from taskvec.suite.load import load_suite
from taskvec.suite.page import change, share
from taskvec.suite.specialists import places_of

BEGIN, END = "<!-- signals: made by benchmarks/signals.py -->", "<!-- /signals -->"
COLUMNS = ("merge", "mean accuracy", "over the gradient", "explained", "of a known task", "seconds a task")


def cell_of(work: LeftOut, task: str, count: int, seed: int, with_others: bool) -> Cell:
    """Return what a located merge scores, and with others base, uniform merge and nearest model."""
    began = time.perf_counter()
    work.products(count, seed)
    found = located(work, task, count, seed)
    took = (time.perf_counter() - began) / len(work.names)
    arena = Contest(work.base, work.tests[task], work.asked.how, scored=work.scored, progress=work.progress)

    def score(what: str, make: object) -> str:
        return work.score(f"{what} {work.asked.signal} {count} {seed}", task, make)

    right = {LOCATED: score(LOCATED, lambda: arena.located(found))}
    if with_others:
        right[BASE] = work.score(BASE, task, lambda: arena.base(found))
        right[UNIFORM] = work.score(UNIFORM, task, lambda: arena.uniform(found))
        single = f"single {found.nearest}"
        right[NEAREST] = work.score(single, task, lambda: arena.single(found, found.nearest))
    explained = float(found.overall.span.explained)
    return Cell(task, count, seed, found.verdict, "", found.reference, explained, found.nearest, {}, {}, right, took)


def main() -> None:
    """Try every signal and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=Path)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--test", type=int, default=250)
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md")
    args = parser.parse_args()
    loaded, count = load_suite(args.suite, args.root), args.examples
    asked, lines, usual = Asked(examples=(count,), seeds=args.seeds, test=args.test), [], []
    print("| " + " | ".join(COLUMNS) + " |")
    for kind in get_args(Kind):
        work = LeftOut(loaded, places_of(loaded, None), replace(asked, signal=kind), "auto", Silent())
        first = not usual
        cells = [cell_of(work, task, count, seed, first) for seed in range(args.seeds) for task in work.names]
        if first:
            usual = scores_of(cells, LOCATED, count)
            for row in (BASE, UNIFORM, NEAREST):
                others = scores_of(cells, row, count)
                lines.append([row, share(summarise(others).mean), change(difference(others, usual)), "", "", ""])
        own = scores_of(cells, LOCATED, count)
        middle = [statistics.median(getattr(c, key) for c in cells) for key in ("explained", "reference")]
        numbers = [*(f"{100 * m:.2g} %" for m in middle), f"{max(c.seconds for c in cells):.1f}"]
        gain = "" if first else change(difference(own, usual))
        lines.append([f"located: `{kind}`", share(summarise(own).mean), gain, *numbers])
        print("\n".join("| " + " | ".join(line) + " |" for line in lines[-4 if first else -1 :]), flush=True)
    if args.write_docs:
        table = [list(COLUMNS), ["---"] * len(COLUMNS), *lines]
        put(BEGIN, END, ["| " + " | ".join(line) + " |" for line in table])


if __name__ == "__main__":
    main()
