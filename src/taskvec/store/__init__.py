"""Tensors on disk and in hand: readers, the writer, fingerprints, and the task vector."""

from .checkpoint import Checkpoint
from .sample import fingerprint
from .taskvector import TaskVector, diff

__all__ = ["Checkpoint", "TaskVector", "diff", "fingerprint"]
