"""What things are called in a pack (docs/formats.md)."""

from typing import Any

VERSION = "1"
ENDING = ".pack"

FORMAT, BASE, METHOD, SETTINGS = "taskvec.pack", "taskvec.base", "taskvec.method", "taskvec.settings"
TASKS, ENCODINGS, CHECKSUMS = "taskvec.tasks", "taskvec.encodings", "taskvec.crc32"

BLOCK = 1 << 16
"""Entries of a sparse tensor that are found together: where each block's begin is stored."""

Encoding = dict[str, Any] | None
"""How a task's change of one tensor is stored; None: it has none."""


def part(task: int, tensor: str, name: str) -> str:
    """Return what a part of a task's tensor is called.

    >>> part(0, "lm_head.weight", "left")
    'tasks/0/lm_head.weight/left'
    """
    return f"tasks/{task}/{tensor}/{name}"


def shared(tensor: str) -> str:
    """Return what the entries that all tasks share are called.

    >>> shared("lm_head.weight")
    'shared/lm_head.weight'
    """
    return f"shared/{tensor}"
