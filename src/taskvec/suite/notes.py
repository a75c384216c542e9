"""What a long benchmark has found, a line a piece, on disk at once, so that nothing is done twice."""

import json
import os
from pathlib import Path
from typing import Any

from ..store.json_lines import whole_lines


class Notes:
    """A file of JSON lines: what was found, of which task, with how many examples, drawn by which seed."""

    def __init__(self, path: Path) -> None:
        """Read what is there; a torn last line was never written."""
        self.path = path
        self._known: dict[str, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            lines, size = whole_lines(path)
            os.truncate(path, size)
            self._known = {_key(*line["of"]): line["found"] for line in lines}

    def find(self, what: str, task: str, examples: int, seed: int) -> dict[str, Any] | None:
        """Return what was found, if it was."""
        return self._known.get(_key(what, task, examples, seed))

    def add(self, what: str, task: str, examples: int, seed: int, found: dict[str, Any]) -> dict[str, Any]:
        """Write down what was found; it is on the disk when this returns."""
        line = json.dumps({"of": [what, task, examples, seed], "found": found}, ensure_ascii=False)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._known[_key(what, task, examples, seed)] = found
        return found


def _key(what: str, task: str, examples: int, seed: int) -> str:
    return json.dumps([what, task, examples, seed])
