"""Examples in memory: what every kind of evaluation is given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where examples come from, and which of them.

    path: a file (CSV, TSV, JSONL, Parquet, npz, or .gz of these), or `datasets:org/name` or `datasets:org/name:config`.
    columns: the names of the columns, for a table without a header line.
    text: the column with the text, or the columns of a pair.
    image: the column (or the array of an npz) with the images.
    label: the column with the labels; None where there are none.
    labels: the labels' names, in the order of their numbers; found in the data when not given.
    split: which split: rows whose `split` column says so, the split of a data set, or a part of an npz.
    held_out: the share of the split that is held out of it, label by label, e.g. for validation.
    part: the whole split, what was kept, or what was held out. Kept and held out never share an example.
    limit: at most so many examples, spread evenly over the labels.
    seed: of the choice of what is held out and what a limit leaves.
    """

    path: str
    columns: tuple[str, ...] = ()
    text: str | tuple[str, ...] = "text"
    image: str = "image"
    label: str | None = "label"
    labels: tuple[str, ...] = ()
    split: str | None = None
    held_out: float = 0.0
    part: Literal["all", "kept", "held_out"] = "all"
    limit: int | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Some examples of one split.

    kind: what the inputs are: texts (`str`), pairs of texts (tuples), or images (encoded bytes, or uint8 arrays of
        (height, width) or (height, width, channel)).
    inputs: one an example.
    labels: Shape (example,): the index of each one's label in `names`, or a number (a similarity); None without labels.
    names: the labels' names; empty where labels are numbers or missing.
    origin: the file and split, for messages.
    digest: SHA-256 of inputs, labels and names, in their order.
    """

    kind: Literal["text", "pair", "image"]
    inputs: Sequence[Any]
    labels: npt.NDArray[Any] | None
    names: tuple[str, ...]
    origin: str
    digest: str

    def __len__(self) -> int:
        return len(self.inputs)
