"""Many fine-tunes of one base in a small file, and any of them back as a model folder."""

from .packing import pack
from .report import Packed
from .unpacking import tasks_of, unpack

__all__ = ["Packed", "pack", "tasks_of", "unpack"]
