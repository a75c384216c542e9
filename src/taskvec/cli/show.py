"""What the commands print: numbers with units, tables, JSON, progress."""

import json
import os
import sys
import textwrap
import time
from collections.abc import Sequence
from typing import Any, NoReturn, TextIO

UNITS = ("B", "kB", "MB", "GB", "TB")
PIPED = 120
"""How wide tables are where neither a terminal nor COLUMNS says it."""


def size(count: float) -> str:
    """Say a number of bytes.

    >>> size(999), size(1_906_446_336)
    ('999 B', '1.91 GB')
    """
    power = 0
    while count >= 1000 and power < len(UNITS) - 1:
        count, power = count / 1000, power + 1
    return f"{count:.0f} {UNITS[power]}" if power == 0 else f"{count:.3g} {UNITS[power]}"


def duration(seconds: float) -> str:
    """Say a time.

    >>> duration(0.42), duration(75), duration(7300)
    ('0.4 s', '1 min 15 s', '2 h 01 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def as_json(data: Any) -> None:
    """Print data for a script."""
    print(json.dumps(data, indent=2, ensure_ascii=False))


def say(text: str, stream: TextIO | None = None) -> None:
    """Print a message, to the error stream by default.

    A terminal gets it wrapped at words; anything else gets a sentence as one line, which a script can search.
    """
    stream = stream or sys.stderr
    if stream is not None and stream.isatty():
        text = "\n".join(wrapped(line, width(stream), "", "  ") for line in text.splitlines())
    print(text, file=stream)


def width(stream: TextIO | None) -> int:
    """Return how many columns what is printed may take: what COLUMNS says, or the terminal has."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    try:
        return os.get_terminal_size(stream.fileno()).columns or PIPED if stream is not None else PIPED
    except (OSError, ValueError):
        return PIPED  # not a terminal


def wrapped(line: str, columns: int, first: str, later: str) -> str:
    """Return a line broken at words; a path or a number is never broken."""
    return textwrap.fill(
        line,
        max(columns, len(later) + 20),
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; numbers to the right."""
    from rich.console import Console
    from rich.table import Table

    out = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, column in enumerate(columns):
        numeric = bool(rows) and all(row[i][:1].isdigit() for row in rows)
        out.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        out.add_row(*row)
    console = Console(width=width(sys.stdout), highlight=False)
    console.on_broken_pipe = _pipe_closed  # type: ignore[method-assign]  # rich itself would exit with status 1
    console.print(out)


def _pipe_closed() -> NoReturn:
    raise BrokenPipeError


def _rate() -> Any:
    """Return a column with how much is done in a second."""
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.3g}/s" if task.speed else "")

    return Rate()


class Bar:
    """A bar with a rate and the time left, on a terminal."""

    def __init__(self) -> None:
        """Nothing is shown before `begin`."""
        self._progress: Any = None

    def begin(self, what: str, total: int, unit: str = "B") -> None:
        """See `progress.Progress`."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        left = TimeRemainingColumn(compact=True, elapsed_when_finished=True)
        note = TextColumn("{task.fields[note]}")
        amount = (
            (DownloadColumn(), TransferSpeedColumn(), left)
            if unit == "B"
            else (MofNCompleteColumn(), TextColumn(unit), _rate(), left, note)
        )
        columns = (TextColumn("{task.description}"), BarColumn(), *amount)
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task = self._progress.add_task(what, total=total, note="")
        self._progress.start()

    def advance(self, done: int, note: str = "") -> None:
        """See `progress.Progress`."""
        self._progress.update(self._task, completed=done, note=note)

    def end(self) -> None:
        """See `progress.Progress`."""
        self._progress.stop()


class Lines:
    """A line every few seconds, where there is no terminal."""

    EVERY = 5.0

    def begin(self, what: str, total: int, unit: str = "B") -> None:
        """See `progress.Progress`."""
        self._what, self._total, self._unit = what, max(total, 1), unit
        self._began = self._said = time.monotonic()

    def advance(self, done: int, note: str = "") -> None:
        """See `progress.Progress`."""
        now = time.monotonic()
        if now - self._said < self.EVERY or not done:
            return
        self._said = now
        rate = done / (now - self._began)
        left = (self._total - done) / rate
        share = min(done / self._total, 1.0)
        of = size(self._total) if self._unit == "B" else f"{self._total} {self._unit}"
        speed = size(rate) if self._unit == "B" else f"{rate:.3g}"
        line = f"{self._what}: {share:.0%} of {of}, {speed}/s, {duration(max(left, 0))} left"
        print(f"{line}; {note}" if note else line, file=sys.stderr, flush=True)

    def end(self) -> None:
        """See `progress.Progress`."""


def progress(quiet: bool) -> Any:
    """Return what shows progress here: a bar, lines, or nothing."""
    from ..progress import Silent

    if quiet:
        return Silent()
    return Bar() if sys.stderr.isatty() else Lines()
