"""The demo from beginning to end; each step is a file."""

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from . import merges, table
from .base import make_base
from .encoder import Encoder, label_head
from .keep import write_json, write_text
from .packages import pins, versions
from .page import page
from .progress import Progress
from .scores import Heads, Splits, score
from .settings import Settings
from .siblings import make_sibling
from .table import Row
from .tasks import TASKS, split

Notes = dict[str, dict[str, Any]]
"""What the training of each task took, and how many labels and texts it has."""


@dataclass(frozen=True)
class Run:
    """One run: where things lie, what was decided, and whom to tell. `recipes` and `models` must stay neighbours."""

    cache: Path
    settings: Settings
    console: Console

    def model(self, name: str) -> Path:
        """The folder of the base model or of a sibling."""
        return self.cache / "models" / name

    def scores(self, name: str) -> Path:
        """The file that keeps the scores of a model."""
        return self.cache / "scores" / f"{name}.json"


def run(cache: Path, document: Path | None, console: Console, settings: Settings) -> None:
    """Train what is not there yet, merge, score, print the table and write it down."""
    torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(True)
    this = Run(cache, settings, console)
    console.print(f"Reading {len(TASKS)} tasks and the pretrained model from installed packages.")
    splits = {task.name: split(task, settings) for task in TASKS}
    make_base(this.model("base"), settings)
    base = Encoder.load(this.model("base"), settings.tokens)
    heads = {task: label_head(base, texts.labels) for task, texts in splits.items()}
    notes = train(this, heads, splits)
    recipes = merges.lay_recipes(cache / "recipes")
    rows = [*score_trained(this, heads, splits), *merge_all(this, recipes, heads, splits)]
    console.print(table.as_rich(rows))
    write_down(this, rows, notes)
    if document is not None:
        write_text(document, page(rows, notes, recipes))


def train(this: Run, heads: Heads, splits: Splits) -> Notes:
    """Train the siblings that are not there yet."""
    notes: Notes = {}
    for task, texts in splits.items():
        report = Progress(task, this.console)
        note = make_sibling(this.model(task), this.model("base"), heads[task], texts, this.settings, report)
        how = "trained in" if note["trained"] else "kept from an earlier run, trained in"
        this.console.print(f"{task}: {how} {note['seconds']:.0f} s ({note['cpu_seconds']:.0f} s of CPU)")
        counts = {"labels": len(texts.labels), "train": len(texts.train), "test": len(texts.test)}
        notes[task] = counts | {name: note[name] for name in ("seconds", "cpu_seconds")}
    return notes


def score_trained(this: Run, heads: Heads, splits: Splits) -> list[Row]:
    """Score the base model and the specialists."""
    base = Row("base", "base", score(this.model("base"), this.scores("base"), heads, splits, this.settings))
    specialists = (
        Row(task, "specialist", score(this.model(task), this.scores(task), heads, splits, this.settings))
        for task in splits
    )
    return [base, *specialists]


def merge_all(this: Run, recipes: list[Path], heads: Heads, splits: Splits) -> list[Row]:
    """Merge each recipe, load the result like any model, and score it."""
    rows = []
    for recipe in recipes:
        out = this.cache / "merged" / recipe.stem
        this.console.print(f"$ {shlex.join(merges.command(recipe, out))}", soft_wrap=True)
        receipt = merges.merge(recipe, out)
        accuracy = score(out, this.scores(f"merged-{recipe.stem}"), heads, splits, this.settings)
        rows.append(Row(recipe.stem, "merge", accuracy, receipt))
    return rows


def write_down(this: Run, rows: list[Row], notes: Notes) -> None:
    """Leave the table in the cache folder, as JSON and as Markdown."""
    content = {
        "settings": asdict(this.settings),
        "versions": versions() | pins(),
        "tasks": notes,
        "models": table.as_json(rows),
    }
    write_json(this.cache / "results.json", content)
    write_text(this.cache / "results.md", table.as_markdown(rows))
    this.console.print(f"Models, recipes, merges and results.md are in {this.cache}.", soft_wrap=True)
