"""Models and their scores on tasks: the table behind every command that scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .score import Score
from .summary import Number, Summary, summarise


@dataclass(frozen=True)
class Row:
    """A model, its score on every task, and what is known of it besides."""

    name: str
    scores: Sequence[Score]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def of(self, task: str) -> Score | None:
        """Return the score on a task."""
        return next((s for s in self.scores if s.task == task), None)


@dataclass(frozen=True)
class Results:
    """Rows on the same tasks; `specialists` are the scores that normalised ones are measured by."""

    rows: Sequence[Row]
    specialists: Mapping[str, Score] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """The tasks, in the order of the first row."""
        return [s.task for s in self.rows[0].scores] if self.rows else []

    @property
    def comparable(self) -> bool:
        """Whether tasks have a mean: of one metric, or of shares of what could be had (as in GLUE)."""
        scores = [s for row in self.rows for s in row.scores]
        return all(s.larger_is_better for s in scores) or len({s.metric for s in scores}) == 1

    def summary(self, row: Row) -> Summary | None:
        """Return a row in a few numbers; None where tasks have no common mean."""
        if not self.comparable or not row.scores:
            return None
        return summarise(row.scores, self.specialists or None)


def as_data(results: Results) -> dict[str, Any]:
    """Return results as JSON has them, without the single examples."""
    return {"models": [_row_data(results, row) for row in results.rows]}


def _row_data(results: Results, row: Row) -> dict[str, Any]:
    data: dict[str, Any] = {"name": row.name, **row.facts, "tasks": {s.task: score_data(s) for s in row.scores}}
    summary = results.summary(row)
    if summary:
        data["mean"] = _number_data(summary.mean)
        data["normalised"] = _number_data(summary.normalised) if summary.normalised else None
        data["worst"] = {"task": summary.worst_task, **_number_data(summary.worst)}
    return data


def score_data(score: Score) -> dict[str, Any]:
    """Return a score as JSON has it, without the single examples."""
    return {
        "metric": score.metric, "value": score.value, "low": score.low, "high": score.high, "examples": score.count,
        **score.details,
    }  # fmt: skip


def _number_data(number: Number) -> dict[str, float]:
    return {"value": number.value, "low": number.low, "high": number.high}
