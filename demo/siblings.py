"""The fine-tuned siblings, a folder a task; those that were trained before are found again."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from .base import base_key
from .encoder import Encoder
from .finetune import Report, finetune
from .keep import key_of, made_whole, note_of, source_of
from .packages import versions
from .settings import Settings
from .tasks import Split

SOURCES = ("encoder.py", "finetune.py", "siblings.py")


def sibling_key(split: Split, settings: Settings) -> str:
    """Return the key of a sibling: base, data, settings, the code that trains and the versions it runs on."""
    return key_of(
        base=base_key(),
        labels=split.labels,
        train=split.train,
        settings=asdict(settings),
        source=source_of(*SOURCES),
        versions=versions(),
    )


def make_sibling(
    folder: Path, base: Path, head: Tensor, split: Split, settings: Settings, report: Report
) -> dict[str, Any]:
    """Train a sibling of `base` into `folder` and return what it took, or what that took when it was trained."""
    key = sibling_key(split, settings)
    found = note_of(folder, key)
    if found is not None:
        return found | {"trained": False}
    with made_whole(folder, key) as (beside, note):
        wall, cpu = time.perf_counter(), time.process_time()
        encoder = Encoder.load(base, settings.tokens)
        finetune(encoder, head, split, settings, report)
        encoder.save(beside)
        note.update(seconds=time.perf_counter() - wall, cpu_seconds=time.process_time() - cpu)
    return note | {"trained": True}
