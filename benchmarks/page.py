"""docs/benchmarks.md, where each table stands between two markers."""

from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def put(begin: str, end: str, lines: Sequence[str]) -> None:
    """Write a table between its markers."""
    before, found, rest = PAGE.read_text().partition(begin)
    if not found:
        raise SystemExit(f"{PAGE} has no '{begin}'")
    PAGE.write_text(before + begin + "\n\n" + "\n".join(lines) + "\n\n" + end + rest.partition(end)[2])


def rows_between(begin: str, end: str) -> list[str]:
    """Return the rows of the table between two markers, without its head."""
    found = PAGE.read_text().partition(begin)[2].partition(end)[0]
    return [line for line in found.splitlines() if line.startswith("| ") and not line.startswith("| ---")][1:]
