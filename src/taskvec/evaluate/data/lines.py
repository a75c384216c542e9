"""Tables that are lines of text: CSV, TSV and JSONL."""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import FormatError
from .files import opened_text
from .table import Column, Table, ready

LONGEST = 1 << 30
"""Characters in one field; Python's own limit of 128 Ki is less than a long document."""
NO_HEADER = " If the file has no header line, name its columns with 'columns'."


def read_csv(path: Path, columns: Sequence[str]) -> Table:
    """Read comma-separated values, quoted as usual: a quote inside quotes is doubled."""
    return _delimited(path, columns, delimiter=",", strict=True)


def read_tsv(path: Path, columns: Sequence[str]) -> Table:
    """Read tab-separated values; quotes are characters like any other, for texts in the wild have single ones."""
    return _delimited(path, columns, delimiter="\t", quoting=csv.QUOTE_NONE)


def _delimited(path: Path, columns: Sequence[str], **dialect: Any) -> Table:
    rows: list[list[str]] = []
    lines: list[int] = []
    with _decoding(path), opened_text(path) as file, _long_fields():
        reader = csv.reader(file, **dialect)
        try:
            for row in filter(None, reader):  # an empty line is no row
                rows.append(row)
                lines.append(reader.line_num)
        except csv.Error as exc:
            raise FormatError(f"{path}, line {reader.line_num}: not as CSV is quoted ({exc}).") from exc
    if not rows:
        raise FormatError(f"{path} is empty.")
    header = _header(path, rows[0], columns)
    if rows[0] == header:
        del rows[0], lines[0]
    _same_width(path, rows, lines, header)
    transposed = list(zip(*rows, strict=True)) or [()] * len(header)
    loaders = dict(zip(header, map(ready, transposed), strict=True))
    return Table(name=str(path), loaders=loaders, lines=lines, folder=path.parent, hint="" if columns else NO_HEADER)


def _header(path: Path, first: list[str], columns: Sequence[str]) -> list[str]:
    """Return the columns' names: as given, else those of the first line."""
    header = list(columns) or first
    if len(first) != len(header):
        raise FormatError(f"{path} has {len(first)} columns, and 'columns' names {len(header)}: {', '.join(header)}.")
    if twice := next((name for name in header if header.count(name) > 1), None):
        raise FormatError(f"{path} has two columns '{twice}' in its header.{NO_HEADER}")
    return header


def _same_width(path: Path, rows: list[list[str]], lines: list[int], header: list[str]) -> None:
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            raise FormatError(f"{path}, line {line}: {len(row)} columns, where the table has {len(header)}.")


@contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as exc:
        raise FormatError(f"{path} is not UTF-8 ({exc.reason}). Convert it, e.g. with iconv.") from exc


def read_jsonl(path: Path) -> Table:
    """Read one JSON object a line; a column is a key, and every row must have it."""
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    with _decoding(path), opened_text(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                rows.append(_object(path, number, line))
                lines.append(number)
    keys = dict.fromkeys(key for row in rows for key in row)
    if not keys:
        raise FormatError(f"{path} is empty.")

    def column(key: str) -> Column:
        if (row := next((i for i, row in enumerate(rows) if key not in row), None)) is not None:
            raise FormatError(f"{path}, line {lines[row]}: no '{key}', which other lines have.")
        return [row[key] for row in rows]

    return Table(name=str(path), loaders={key: partial(column, key) for key in keys}, lines=lines, folder=path.parent)


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as exc:
        raise FormatError(f"{path}, line {number}: no JSON ({exc}).") from exc
    if not isinstance(found, dict):
        raise FormatError(f"{path}, line {number}: {type(found).__name__}, where each line is an object {{...}}.")
    return found
