"""Examples in memory: what every kind of evaluation is given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy.typing as npt

from ...errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where examples come from, and which of them.

    path: a file (CSV, TSV, JSONL, Parquet, npz, MNIST's idx, or .gz of these), `datasets:org/name`,
        `datasets:org/name:config`, or `datasets:` and a folder.
    columns: the names of the columns, for a table without a header line.
    text: the column with the text, or the columns of a pair; None where a column 'text' is not to be read.
    image: the column (or the array of an npz) with the images, in a CSV, TSV or JSONL the paths of their files, from
        the table's own folder; None where a column 'image' is not to be read.
    label: the column with the labels; None where there are none.
    labels: the labels' names, in the order of their numbers; found in the data (all splits of it) when not given.
    scores: the labels are real numbers (similarities), not classes.
    split: which split: rows whose `split` column says so, the split of a data set, or a part of an npz; None only where
        there is no more than one.
    held_out: the share of the split that is held out of it, label by label, e.g. for validation.
    part: the whole split, what was kept, or what was held out. Kept and held out never share an example, nor equal
        inputs.
    limit: at most so many examples, spread evenly over the labels.
    seed: of the choice of what is held out and what a limit leaves.

    Raises:
        RecipeError: these settings contradict each other, or one is out of range.
    """

    path: str
    columns: tuple[str, ...] = ()
    text: str | tuple[str, ...] | None = "text"
    image: str | None = "image"
    label: str | None = "label"
    labels: tuple[str, ...] = ()
    scores: bool = False
    split: str | None = None
    held_out: float = 0.0
    part: Literal["all", "kept", "held_out"] = "all"
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for wrong in (self._wrong_names(), self._wrong_amounts()):
            if wrong:
                raise RecipeError(f"{self.path}: {wrong}")

    def _wrong_names(self) -> str | None:
        if isinstance(self.text, tuple) and len(self.text) not in (1, 2):
            return f"'text' names {len(self.text)} columns; it takes one, or the two of a pair."
        for setting, names in (("columns", self.columns), ("labels", self.labels)):
            if twice := next((n for n in names if names.count(n) > 1), None):
                return f"'{setting}' names '{twice}' twice; each name stands for one."
        if self.labels and self.scores:
            return "'labels' are names of classes and 'scores: true' says that there are none; leave one of them out."
        return None

    def _wrong_amounts(self) -> str | None:
        if not 0 <= self.held_out < 1:
            return f"'held_out' is a share in [0, 1), got {self.held_out!r}."
        if self.part not in ("all", "kept", "held_out"):
            return f"'part' is all, kept or held_out, got {self.part!r}."
        if self.part == "held_out" and self.held_out == 0:
            return "'part: held_out' needs a share to hold out; add e.g. 'held_out: 0.1'."
        if self.limit is not None and self.limit < 1:
            return f"'limit' is a number of examples from 1, got {self.limit!r}."
        return None


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Some examples of one split.

    kind: what the inputs are: texts (`str`), pairs of texts (tuples), or images (encoded bytes, or uint8 arrays of
        (height, width) or (height, width, channel)).
    inputs: one an example.
    labels: Shape (example,): the index of each one's label in `names` (int64), or a number, e.g. a similarity
        (float64); None without labels.
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
