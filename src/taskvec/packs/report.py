"""What packing did."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Packed:
    """A pack that was written: the file, and what is known of it; `facts` is what --json prints."""

    path: Path
    facts: dict[str, Any]

    @property
    def tasks(self) -> list[dict[str, Any]]:
        """What is known of each task: bytes, share of a stored model, error, cosine."""
        found: list[dict[str, Any]] = self.facts["tasks"]
        return found
