"""Scores that were found before: kept by the model's content, the data's hash and the settings."""

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OutputError
from ..progress import Progress, Silent
from ..store.writer import write_whole
from .model import Model
from .score import Score, Values
from .task import Task

ARRAYS = ("values", "draws")

SCORING = "1"
"""Raised when what a score means changes, so that older ones are not found again."""


def default_folder() -> Path:
    """Return where scores are kept: `$TASKVEC_CACHE`, else taskvec in the user's cache folder."""
    own = os.environ.get("TASKVEC_CACHE")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(own) if own else cache / "taskvec"


class Kept:
    """A folder of scores, a small file each. `Kept(None)` keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        """Take the folder; it is made when the first score is kept."""
        self.folder = folder

    def score(self, model: Model, task: Task, share: float = 1.0) -> Score:
        """Return a model's score on a task: found again, or found out and kept.

        Raises:
            OutputError: the folder cannot be written.
        """
        place = self._place(model, task, share)
        if place is not None and (found := _read(place)):
            return replace(found, task=task.name)
        if place is not None:
            self._make_room(place.parent)
        score = task.score(model, share)
        if place is not None:
            write_whole(place, json.dumps(as_data(score)))
        return score

    def _make_room(self, folder: Path) -> None:
        """Make the folder of a score, before the work."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise OutputError(
                f"scores cannot be kept in {self.folder}: {exc.strerror}. Type --cache with another folder, or set "
                f"TASKVEC_CACHE."
            ) from exc

    def _place(self, model: Model, task: Task, share: float) -> Path | None:
        if self.folder is None:
            return None
        facts = [SCORING, model.fingerprint, model.inputs_digest, model.precision, str(model.device), task.digest]
        key = hashlib.sha256(json.dumps([*facts, share, versions()]).encode()).hexdigest()
        return self.folder / "scores" / key[:2] / f"{key[2:34]}.json"


def score_all(
    model: Model, tasks: Sequence[Task], kept: Kept | None = None, progress: Progress | None = None, share: float = 1.0
) -> list[Score]:
    """Return a model's score on every task; each task is checked against the model before the first is scored.

    Raises:
        MismatchError: a task that the model does not fit.
    """
    kept, progress = kept or Kept(None), progress or Silent()
    for task in tasks:
        task.check(model)
    scores = []
    progress.begin(f"scoring {model.name}", len(tasks), "tasks")
    try:
        for done, task in enumerate(tasks, start=1):
            scores.append(kept.score(model, task, share))
            progress.advance(done, f"{task.name} {scores[-1].value:.4g}")
    finally:
        progress.end()
    return scores


def as_data(score: Score) -> dict[str, Any]:
    """Return a score as JSON has it; the examples' own values, and what was drawn of them, as base64 of float32."""
    data = asdict(replace(score, values=None, draws=None, details=dict(score.details)))
    for name in ARRAYS:
        if (values := getattr(score, name)) is not None:
            data[name] = base64.b64encode(values.astype("<f4").tobytes()).decode()
    return data


def _read(path: Path) -> Score | None:
    """Return a score that was kept; None where there is none, or where another hand changed the file."""
    try:
        data = dict(json.loads(path.read_text("utf-8")))
        arrays = {name: _floats(data.pop(name)) for name in ARRAYS if data.get(name) is not None}
        return Score(**{**data, **arrays})
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None  # it is found out again


def _floats(text: str) -> Values:
    return np.frombuffer(base64.b64decode(text), dtype="<f4").astype(np.float64)


@cache
def versions() -> dict[str, str]:
    """Return the versions of the libraries that decide a score."""
    found = {}
    for name in ("torch", "transformers", "tokenizers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found
