"""What reading a checkpoint's headers finds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..tensors import Tensor


@dataclass(frozen=True)
class Found:
    """The tensors of a checkpoint, its folder if it is one, and the free text of its headers.

    config: what config.json would say, for formats that carry it elsewhere; None: read it from the folder.
    notes: what was left out, a sentence each.
    stems: how a loader expects the files of weights to be called (`model` of model.safetensors), by the part of a
        tensor's name that stands for a folder of its own (`unet/`); in most models there is one file and no such part.
    """

    tensors: Mapping[str, Tensor]
    folder: Path | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    stems: Mapping[str, str] = field(default_factory=lambda: {"": "model"})
