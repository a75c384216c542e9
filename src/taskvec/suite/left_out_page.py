"""Tasks left out in turn as tables: what each row scores, from how few examples, and how often verdicts were right."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..evaluate.score import RESAMPLES, Score, bounds
from ..evaluate.summary import Number, difference, summarise
from ..locating.contest import BASE, LOCATED, ROWS, TUNED, UNIFORM
from .left_out import Cell
from .page import change, share

Digits = npt.NDArray[np.float64]


def left_out_table(cells: Sequence[Cell]) -> list[list[str]]:
    """Return each row's mean over the tasks, header first; for each number of examples its gain over fine-tuning."""
    counts = sorted({c.examples for c in cells})
    header = ["model", *(part for n in counts for part in (f"{n} examples", "over fine-tuned"))]
    scores = {(row, n): scores_of(cells, row, n) for row in ROWS for n in counts}
    lines = []
    for row in ROWS:
        line = [row]
        for n in counts:
            mean = summarise(scores[row, n]).mean
            line += [share(mean), "" if row == TUNED else change(difference(scores[row, n], scores[TUNED, n]))]
        lines.append(line)
    return [header, *lines]


def tasks_table(cells: Sequence[Cell], count: int) -> list[list[str]]:
    """Return each row's mean over the seeds for every task, header first."""
    rows = {row: scores_of(cells, row, count) for row in ROWS}
    header = ["model", *(score.task for score in rows[BASE])]
    return [header] + [[row, *(f"{100 * s.value:.1f}" for s in rows[row])] for row in ROWS]


def verdicts_table(cells: Sequence[Cell]) -> list[list[str]]:
    """Return how often each verdict was given and right, header first; see `is_right`.

    The shares are medians over cells: what the span explains, and what it explains of a known task's signal.
    """
    out = [["examples", "verdict", "given", "right", "explained", "of a known task"]]
    for n in sorted({c.examples for c in cells}):
        some = [c for c in cells if c.examples == n]
        for verdict in dict.fromkeys(c.verdict for c in some):
            own = [c for c in some if c.verdict == verdict]
            explained, known = (
                100 * float(np.median([getattr(c, k) for c in own])) for k in ("explained", "reference")
            )
            right = str(sum(map(is_right, own)))
            out.append([str(n), verdict, str(len(own)), right, f"{explained:.2g} %", f"{known:.2g} %"])
    return out


def is_right(cell: Cell) -> bool:
    """Tell whether a verdict was right, by what the test examples say.

    learn: fine-tuning alone beats the located merge by more than its paired 95 % interval.
    retrieve, recombine: the located merge scores higher than both base and uniform merge.
    undecided: never.
    """
    located, tuned = (_single(cell, row) for row in (LOCATED, TUNED))
    if cell.verdict == "learn":
        return difference([tuned], [located]).low > 0
    others = (_single(cell, row) for row in (BASE, UNIFORM))
    return cell.verdict != "undecided" and all(located.value > other.value for other in others)


def scores_of(cells: Sequence[Cell], row: str, count: int) -> list[Score]:
    """Return a row's score on each task: the mean over seeds, with an interval over seeds and examples.

    Both are drawn anew: s_b = mean over drawn seeds of the mean over drawn examples. The same are drawn for every row,
    so differences of rows are paired.
    """
    tasks = list(dict.fromkeys(c.task for c in cells))
    return [_over_seeds(number, task, row, cells, count) for number, task in enumerate(tasks)]


def _over_seeds(number: int, task: str, row: str, cells: Sequence[Cell], count: int) -> Score:
    digits = np.array([_digits(c.right[row]) for c in cells if (c.task, c.examples) == (task, count)])
    drawn = _drawn(digits, number)
    low, high = bounds(drawn)
    return Score(
        task=task, metric="accuracy", value=float(digits.mean()), low=low, high=high, count=digits.shape[1], draws=drawn
    )


def _drawn(digits: Digits, number: int) -> Digits:
    """Return resampled means of (seed, example)."""
    seeds, examples = digits.shape
    chance = np.random.default_rng(number)
    of_seeds = chance.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES)
    of_examples = chance.multinomial(examples, np.full(examples, 1 / examples), RESAMPLES)
    return np.asarray(((of_seeds @ digits) * of_examples).sum(1) / (seeds * examples))


def _single(cell: Cell, row: str) -> Score:
    values = _digits(cell.right[row])
    mean = float(values.mean())
    return Score(task=cell.task, metric="accuracy", value=mean, low=mean, high=mean, count=len(values), values=values)


def _digits(text: str) -> Digits:
    return np.array([float(d) for d in text])


def as_data(cells: Sequence[Cell]) -> dict[str, Any]:
    """Return everything as JSON has it, without the single examples."""
    counts = sorted({c.examples for c in cells})
    rows = {row: {str(n): _plain(summarise(scores_of(cells, row, n)).mean) for n in counts} for row in ROWS}
    return {"rows": rows, "cells": [_cell(c) for c in cells]}


def _cell(cell: Cell) -> dict[str, Any]:
    scores = {row: text.count("1") / len(text) for row, text in cell.right.items()}
    return {**vars(cell), "right": is_right(cell), "scores": scores}


def _plain(number: Number) -> dict[str, float]:
    return {"value": number.value, "low": number.low, "high": number.high}
