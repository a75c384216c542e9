"""How right a model is on the held-out texts of every task."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from .encoder import Encoder, accuracy
from .keep import key_of, read_json, source_of, write_json
from .packages import versions
from .settings import Settings
from .tasks import Split

Heads = Mapping[str, Tensor]
Splits = Mapping[str, Split]
Scores = dict[str, float]


def score(folder: Path, kept: Path, heads: Heads, splits: Splits, settings: Settings) -> Scores:
    """Return the accuracy of the model in `folder` on the test of each task.

    Found in the file `kept` if the same weights were scored on the same texts before.
    """
    tests = {task: [texts.labels, texts.test] for task, texts in splits.items()}
    key = key_of(
        weights=digest(folder),
        tests=tests,
        tokens=settings.tokens,
        threads=settings.threads,
        source=source_of("encoder.py", "scores.py"),
        versions=versions(),
    )
    found = read_json(kept)
    if found.get("key") == key:
        return Scores(found["accuracy"])
    encoder = Encoder.load(folder, settings.tokens)
    scores = {task: accuracy(encoder, heads[task], texts.labels, texts.test) for task, texts in splits.items()}
    write_json(kept, {"key": key, "accuracy": scores})
    return scores


def digest(folder: Path) -> str:
    """Return a hash of the weights in a folder, whatever they are called."""
    whole = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
