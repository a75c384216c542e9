"""Which signal of a few examples, and which inner product, locates a task: the located merge of every task of a suite
left out, in each way.

    python benchmarks/signals.py benchmarks/suite/text8.yaml
    python benchmarks/signals.py benchmarks/suite/text8.yaml --write-docs   # also writes docs/benchmarks.md

The specialists must be there (`taskvec bench train`). It is `taskvec bench locate --signal …` without fine-tuning. What
was found before an interruption is found again.

Beside the signals: weights of its own in each layer (`taskvec locate --weights layer`), the metrics of `--metric`, and
two metrics of outputs, for which the base is run with each known vector. J τ_i is what a vector changes in the logits
of the few examples, to first order (central differences), p what the base answers, y what is right:

    ntk   K_ij = ⟨J τ_i, J τ_j⟩            k_i = ⟨J τ_i, y - p⟩
    ggn   K_ij = ⟨J τ_i, (diag(p) - ppᵀ) J τ_j⟩,   k_i as before: a step of Newton's method in the known span
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from page import put
from taskvec.evaluate.features import features, ready
from taskvec.evaluate.model import Model
from taskvec.evaluate.summary import difference, summarise
from taskvec.finetune.lessons import Lesson, make_ready
from taskvec.locating.contest import BASE, LOCATED, NEAREST, UNIFORM, Contest, put_base
from taskvec.locating.known import Known
from taskvec.locating.locate import By, locate_task
from taskvec.locating.place import Place
from taskvec.locating.realise import recipe_of, scale_of
from taskvec.locating.signals import Kind
from taskvec.ops.locate import locate
from taskvec.progress import Silent
from taskvec.recipe.in_memory import merge_in_memory
from taskvec.recipe.plan import make_plan
from taskvec.suite.left_out import Asked, Cell, LeftOut, located
from taskvec.suite.left_out_page import scores_of
from taskvec.suite.load import load_suite
from taskvec.suite.page import change, share
from taskvec.suite.specialists import places_of

BEGIN, END = "<!-- signals: made by benchmarks/signals.py -->", "<!-- /signals -->"
STEP = 0.1
"""How far along a known vector central differences go, as a share of it."""

Way = Callable[[LeftOut, str, int, int], Place]
"""(suite in hand, task, number of examples, seed) → where the task lies."""

COLUMNS = ("merge", "mean accuracy", "over the gradient", "explained", "of a known task", "seconds a task")


def layered(work: LeftOut, task: str, count: int, seed: int) -> Place:
    """Locate a task, and give each layer weights of its own."""
    return replace(located(work, task, count, seed), by_layer=True)


def by_metric(metric: str) -> Way:
    """Return a way that locates by another metric of weights."""

    def way(work: LeftOut, task: str, count: int, seed: int) -> Place:
        known, lesson = work.known.without(task), work.lesson(task, count, seed)
        put_base(work.base)
        return locate_task(work.base, known, lesson, By(metric=metric))

    return way


def by_outputs(weighted: bool) -> Way:
    """Return a way that locates by what the known vectors change in the outputs of the few examples."""

    def way(work: LeftOut, task: str, count: int, seed: int) -> Place:
        found, lesson = located(work, task, count, seed), work.lesson(task, count, seed)
        put_base(work.base)
        answers = logits(work.base, lesson).softmax(-1)
        wrong = torch.nn.functional.one_hot(make_ready(work.base, lesson).answers, answers.shape[1]) - answers
        changes = [change_of(work.base, found.known, name, lesson) for name in found.known.names]
        bent = [answers * (c - (answers * c).sum(-1, keepdim=True)) if weighted else c for c in changes]
        gram = np.array([[float((one * other).sum()) for other in bent] for one in changes])
        products = np.array([float((one * wrong).sum()) for one in changes])
        fitted = locate(gram, products, np.array(float((wrong * wrong).sum())), entries=wrong.numel())
        lengths = scale_of(fitted.mixture, work.products(count, seed).among(found.known.names).plain)
        return replace(found, mixture=fitted.mixture, scale=lengths)

    return way


def change_of(base: Model, known: Known, name: str, lesson: Lesson) -> torch.Tensor:
    """Return J τ: what a known vector changes in the logits, to first order."""
    sides = []
    for step in (STEP, -STEP):
        merged = merge_in_memory(make_plan(recipe_of(known, [step * (n == name) for n in known.names])))
        base.put({tensor: merged.torch(tensor) for tensor in merged}, "a step along a known vector")
        sides.append(logits(base, lesson))
    return (sides[0] - sides[1]) / (2 * STEP)


def logits(model: Model, lesson: Lesson) -> torch.Tensor:
    """Return the logits of the examples, in their order: (example, class)."""
    with torch.no_grad():
        vectors = features(model, ready(model, lesson.examples, lesson.reading), lesson.reading)
        return lesson.head.logits(vectors.float()).double()


def cell_of(work: LeftOut, task: str, count: int, seed: int, label: str, way: Way, with_others: bool) -> Cell:
    """Return what a located merge scores, and with others base, uniform merge and nearest model."""
    began = time.perf_counter()
    work.products(count, seed)
    shared = (time.perf_counter() - began) / len(work.names)
    began = time.perf_counter()
    found = way(work, task, count, seed)
    took = shared + time.perf_counter() - began
    arena = Contest(work.base, work.tests[task], work.asked.how, scored=work.scored, progress=work.progress)

    def score(what: str, make: object) -> str:
        return work.score(f"{what} {label} {count} {seed}", task, make)

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
    ways: list[tuple[str, Kind, Way]] = [(f"`{kind}`", kind, located) for kind in get_args(Kind)]
    ways += [("`gradient`, weights a layer", "gradient", layered)]
    ways += [(f"`gradient`, metric `{name}`", "gradient", by_metric(name)) for name in ("tensors", "fisher")]
    ways += [(f"`gradient`, {name} of outputs", "gradient", by_outputs(name == "ggn")) for name in ("ntk", "ggn")]
    for label, kind, way in ways:
        work = LeftOut(loaded, places_of(loaded, None), replace(asked, signal=kind), "auto", Silent())
        first, drawn = not usual, range(args.seeds)
        cells = [cell_of(work, task, count, seed, label, way, first) for seed in drawn for task in work.names]
        if first:
            usual = scores_of(cells, LOCATED, count)
            for row in (BASE, UNIFORM, NEAREST):
                others = scores_of(cells, row, count)
                lines.append([row, share(summarise(others).mean), change(difference(others, usual)), "", "", ""])
        own = scores_of(cells, LOCATED, count)
        middle = [statistics.median(getattr(c, key) or 0.0 for c in cells) for key in ("explained", "reference")]
        shares = [f"{100 * m:.2g} %" if way is located else "" for m in middle]
        numbers = [*shares, f"{max(c.seconds for c in cells):.1f}"]
        gain = "" if first else change(difference(own, usual))
        lines.append([f"located: {label}", share(summarise(own).mean), gain, *numbers])
        print("\n".join("| " + " | ".join(line) + " |" for line in lines[-4 if first else -1 :]), flush=True)
    if args.write_docs:
        table = [list(COLUMNS), ["---"] * len(COLUMNS), *lines]
        put(BEGIN, END, ["| " + " | ".join(line) + " |" for line in table])


if __name__ == "__main__":
    main()
