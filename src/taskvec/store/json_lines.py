"""Files of JSON lines that grow while something works: whatever is torn at their end was never written."""

import json
from pathlib import Path
from typing import Any


def whole_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the lines before the first torn one, and how many bytes they take."""
    lines: list[dict[str, Any]] = []
    size = 0
    for text in path.read_bytes().splitlines(keepends=True):
        try:
            line = json.loads(text) if text.endswith(b"\n") else None
        except ValueError:
            line = None
        if not isinstance(line, dict):
            break
        lines.append(line)
        size += len(text)
    return lines, size
