"""What reading a checkpoint's headers finds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..tensors import TensorInfo


@dataclass(frozen=True)
class Found:
    """The tensors of a checkpoint, its folder if it is one, and the free text of its headers."""

    tensors: dict[str, TensorInfo]
    folder: Path | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
