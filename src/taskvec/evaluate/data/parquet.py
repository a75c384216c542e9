"""Parquet, through pyarrow."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import FormatError, MissingExtraError
from .files import opened
from .table import Column, Table


def read_parquet(path: Path, label: str | None) -> Table:
    """Read a Parquet file, and the names of its classes where `datasets` wrote them into its header.

    Raises:
        MissingExtraError: pyarrow is not installed.
        FormatError: it is no Parquet file.
    """
    file = opened(path)
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as exc:
        file.close()
        raise MissingExtraError(f"{path} needs pyarrow to be read; type: pip install 'taskvec[data]'") from exc

    with file:
        try:
            table = pq.read_table(pa.py_buffer(file.read()))
        except pa.ArrowException as exc:
            raise FormatError(f"{path} is no Parquet file ({str(exc).splitlines()[0]}).") from exc
    loaders = {name: partial(_column, table, name) for name in table.column_names}
    return Table(name=str(path), loaders=loaders, classes=_classes(table.schema.metadata, label))


def _column(table: Any, name: str) -> Column:
    values: list[Any] = table.column(name).to_pylist()
    return values


def _classes(metadata: dict[bytes, bytes] | None, label: str | None) -> tuple[str, ...]:
    """Return the names in a `ClassLabel` of the header, if there are any."""
    try:
        described: Any = json.loads((metadata or {})[b"huggingface"])
        return tuple(map(str, described["info"]["features"][label]["names"]))
    except (KeyError, TypeError, ValueError):
        return ()  # written by something else, or no column of classes
