"""From where examples are to the examples."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import RecipeError
from .arrays import read_npz
from .choose import choose
from .digest import digest, identity
from .examples import Examples, Source
from .files import bare
from .hub import PREFIX, read_dataset
from .idx import ENDING, read_idx
from .inputs import read_inputs
from .labels import read_labels
from .lines import read_csv, read_jsonl, read_tsv
from .parquet import read_parquet
from .splits import SPLIT, rows_of_split
from .table import Parts

KNOWN = f"known are .csv, .tsv, .jsonl, .parquet, .npz, {ENDING}, .gz of these, and 'datasets:org/name'"


def read(source: Source, *, root: Path | None = None) -> Examples:
    """Read examples from a file or a data set.

    The order is that of the rows. Labels have the same numbers in every split and part of a source.

    Args:
        source: where they are, and which of them.
        root: where relative paths start; the current folder when not given.

    Raises:
        StoreError: the file does not exist or cannot be read.
        FormatError: it is damaged, a row is malformed, or a label is unknown.
        RecipeError: the source asks for a column, split or label that is not there, or nothing is left of it.
        MissingExtraError: it needs pyarrow or datasets.
    """
    parts = _parts(source, root or Path())
    table, rows = rows_of_split(parts, source)
    kind, inputs = read_inputs(table, rows.tolist(), source)
    labels, names = read_labels(parts, table, rows.tolist(), source)
    if source.part != "all" or source.limit is not None:
        chosen = _chosen(inputs, labels, source)
        inputs = [inputs[i] for i in chosen]
        labels = None if labels is None else labels[chosen]
    return Examples(
        kind=kind,
        inputs=inputs,
        labels=labels,
        names=names,
        origin=_origin(source),
        digest=digest(inputs, labels, names),
    )


def split_names(source: Source, *, root: Path | None = None) -> list[str]:
    """Return the names of the splits that a source has; none where its rows belong to no split.

    Raises:
        TaskVecError: see `read`.
    """
    parts = _parts(source, root or Path())
    if None not in parts:
        return [name for name in parts if name is not None]
    table = parts[None]()
    return sorted({str(value) for value in table.column(SPLIT)}) if SPLIT in table.loaders else []


def _chosen(inputs: list[Any], labels: npt.NDArray[Any] | None, source: Source) -> npt.NDArray[np.int64]:
    chosen = choose(
        [identity(value) for value in inputs],
        None if source.scores else labels,
        held_out=source.held_out,
        part=source.part,
        limit=source.limit,
        seed=source.seed,
    )
    if not len(chosen):
        raise RecipeError(
            f"{source.path}: 'part: {source.part}' is empty, of {len(inputs)} examples with "
            f"'held_out: {source.held_out}'; change the share."
        )
    return chosen


def _parts(source: Source, root: Path) -> Parts:
    if source.path.startswith(PREFIX):
        return read_dataset(source.path, source.label, root)
    path = root / Path(source.path).expanduser()
    readers = {
        ".csv": lambda: read_csv(path, source.columns),
        ".tsv": lambda: read_tsv(path, source.columns),
        ".jsonl": lambda: read_jsonl(path),
        ".parquet": lambda: read_parquet(path, source.label),
        ENDING: lambda: read_idx(path, source),
    }
    ending = ENDING if path.name.removesuffix(".gz").endswith(ENDING) else bare(path)
    if ending == ".npz":
        return read_npz(path, source)
    if ending not in readers:
        raise RecipeError(f"{source.path} has an ending that is not known; {KNOWN}.")
    table = readers[ending]()
    return {None: lambda: table}


def _origin(source: Source) -> str:
    part = {"all": "", "kept": "kept", "held_out": "held out"}[source.part]
    return ", ".join(filter(None, (source.path, source.split, part)))
