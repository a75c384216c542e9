"""The one table: who is how good at what, and what the merges cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.box import SIMPLE
from rich.table import Table

from .merges import entry

Kind = Literal["base", "specialist", "merge"]


@dataclass(frozen=True)
class Row:
    """A model, its accuracy on each task and, if taskvec merged it, the receipt."""

    name: str
    kind: Kind
    accuracy: dict[str, float]
    receipt: dict[str, Any] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """The mean of the accuracies."""
        return sum(self.accuracy.values()) / len(self.accuracy)


def normalised(row: Row, rows: Sequence[Row]) -> float:
    """Return the mean over the tasks of accuracy(row) / accuracy(that task's specialist).

    A specialist bears the name of its task.
    """
    best = {other.name: other.accuracy[other.name] for other in rows if other.kind == "specialist"}
    return sum(row.accuracy[task] / best[task] for task in best) / len(best)


def in_bytes(number: float) -> str:
    """Write a number of bytes with a fitting unit.

    >>> in_bytes(90_868_376), in_bytes(512)
    ('90.9 MB', '512 B')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            break
        number /= 1000
    return f"{number:.3g} {unit}"


RECEIPT: dict[str, tuple[str, Callable[[float], str]]] = {
    "read": ("bytes.read", in_bytes),
    "wrote": ("bytes.written", in_bytes),
    "took": ("seconds", "{:.2f} s".format),
    "needed": ("memory.peak_anonymous", in_bytes),
    "rounding lost": ("rounding.lost", "{:.2g}".format),
}
"""Column, place in the receipt, how it is written."""


def cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return the head of the table and its lines, as text."""
    tasks = list(rows[0].accuracy)
    head = ["model", *tasks, "mean", "normalised", *RECEIPT]
    return head, [_line(row, rows, tasks) for row in rows]


def _line(row: Row, rows: Sequence[Row], tasks: Sequence[str]) -> list[str]:
    scores = [row.accuracy[task] for task in tasks]
    percent = [f"{100 * score:.1f}" for score in [*scores, row.mean, normalised(row, rows)]]
    return [f"{row.name} ({row.kind})" if row.kind != "base" else row.name, *percent, *_cost(row)]


def _cost(row: Row) -> list[str]:
    found = [(entry(row.receipt, place), write) for place, write in RECEIPT.values()]
    return ["" if value is None else write(value) for value, write in found]


def as_rich(rows: Sequence[Row]) -> Table:
    """Return the table for the terminal, a rule between base, specialists and merges."""
    head, lines = cells(rows)
    table = Table(title="Accuracy on held-out texts, in per cent", box=SIMPLE)
    for name in head:
        table.add_column(name, justify="left" if name == "model" else "right")
    for place, line in enumerate(lines):
        last = place + 1 < len(rows) and rows[place].kind != rows[place + 1].kind
        table.add_row(*line, end_section=last)
    return table


def as_markdown(rows: Sequence[Row]) -> str:
    """Return the table for a page."""
    head, lines = cells(rows)
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, rule, *lines])


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the table as plain numbers, unrounded."""
    return [
        {
            "name": row.name,
            "kind": row.kind,
            "accuracy": row.accuracy,
            "mean": row.mean,
            "normalised": normalised(row, rows),
            "receipt": {name: entry(row.receipt, place) for name, (place, _) in RECEIPT.items()}
            if row.receipt
            else None,
        }
        for row in rows
    ]
