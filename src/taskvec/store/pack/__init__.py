"""Many task vectors in one small file: how it is written, and how each of them is read without the others."""

from .opened import PACKED, Pack, pack_and_task, packed

__all__ = ["PACKED", "Pack", "pack_and_task", "packed"]
