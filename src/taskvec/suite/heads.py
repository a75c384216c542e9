"""The head of each task: found again beside the base, or made."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from ..errors import FormatError, RecipeError
from ..evaluate import make_head
from ..evaluate.data import Examples
from ..evaluate.features import Reading
from ..evaluate.heads import Head
from ..evaluate.model import Model
from .examples import examples_of
from .load import Loaded
from .schema import ClassifyEntry, EncoderEntry, HeadEntry

MAKING = "2"
"""Raised when heads are made differently, so that older ones are not found again."""


def reading_of(loaded: Loaded, name: str) -> Reading:
    """Return how a task's inputs become vectors."""
    own = getattr(loaded.suite.tasks[name], "encoder", None)
    entry: EncoderEntry = own or loaded.suite.encoder
    return Reading(pooling=entry.pooling, tokens=entry.tokens, batch=entry.batch)


def head_of(loaded: Loaded, name: str, base: Model, names: tuple[str, ...], folder: Path | None = None) -> Head:
    """Return a task's head; made heads are kept in `folder`, by everything that decides them.

    Args:
        loaded: the suite.
        name: the task.
        base: the model that heads are made with.
        names: the labels, in the order of their numbers.
        folder: where heads are kept; nowhere when not given.

    Raises:
        RecipeError: 'kind: file' without a file, or 'kind: checkpoint' without a specialist.
        TaskVecError: the head cannot be made or read.
    """
    entry = loaded.suite.tasks[name]
    assert isinstance(entry, ClassifyEntry), "only classification has heads"
    reading = reading_of(loaded, name)
    if entry.head.kind == "checkpoint" and not entry.model:
        raise RecipeError(f"the head of '{name}' is its specialist's, and the task names none. Type 'model: …'.")
    if entry.head.kind == "file":
        if not entry.head.file:
            raise RecipeError(f"the head of '{name}' is a file and names none. Type 'file: heads/{name}.safetensors'.")
        return Head.load(Path(loaded.place(entry.head.file)))
    train = examples_of(loaded, name, "train") if entry.head.kind in ("class_means", "ridge", "trained") else None
    maker = _maker(loaded, entry, base)
    key = _key(entry.head, maker, names, reading, train)
    path = folder / f"{name}.safetensors" if folder else None
    if path and (found := _kept(path)) and found.made.get("key") == key:
        return found
    made = _make(entry.head, maker, names, reading, train)
    made = replace(made, made={**made.made, "key": key, "task": name})
    if path:
        made.save(path)
    return made


def _kept(path: Path) -> Head | None:
    """Return a head that was kept; None where there is none, or a damaged one, which is made again."""
    try:
        return Head.load(path) if path.is_file() else None
    except FormatError:
        return None


def _make(head: HeadEntry, base: Model, names: tuple[str, ...], reading: Reading, train: Examples | None) -> Head:
    if head.kind == "checkpoint":
        return make_head.of_checkpoint(base, names, reading)
    if head.kind == "labels":
        return make_head.from_label_names(
            base, names, reading, templates=head.template, texts=head.texts, scale=head.scale
        )
    assert train is not None, "these heads are made of training examples"
    if head.kind == "class_means":
        return make_head.from_class_means(base, train, reading, scale=head.scale)
    if head.kind == "ridge":
        return make_head.by_ridge(base, train, reading, ridge=head.ridge)
    return make_head.by_training(base, train, reading, decay=head.decay)


def _maker(loaded: Loaded, entry: ClassifyEntry, base: Model) -> Model:
    """Return the model that a head is made with, or taken from: in float32, whatever is scored."""
    if entry.head.kind == "checkpoint":
        return Model(loaded.place(str(entry.model)))
    return base if base.precision == "float32" else Model(base.path, device=str(base.device))


def _key(entry: HeadEntry, maker: Model, names: tuple[str, ...], reading: Reading, train: Examples | None) -> str:
    facts = [
        MAKING,
        entry.model_dump(),
        maker.content,
        names,
        reading.pooling,
        reading.tokens,
        train.digest if train else "",
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
