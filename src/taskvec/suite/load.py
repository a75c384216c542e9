"""Load a file of tasks; say where its paths point."""

import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import RecipeError
from ..merge.registry import suggest
from ..recipe.paths import is_hub_id
from ..recipe.yaml_lines import Document, parse
from .extends import extended
from .schema import Suite, validate


@dataclass(frozen=True)
class Loaded:
    """A suite, the file it was read from, and where its relative paths start."""

    suite: Suite
    file: Path
    root: Path

    @property
    def name(self) -> str:
        """What it is called: its own name, or its file's."""
        return self.suite.name or self.file.stem

    @property
    def slug(self) -> str:
        """Its name as part of a path."""
        return self.file.stem

    def place(self, path: str) -> str:
        """Return a path of the suite from here; names on the hub and of data sets stay as they are."""
        here = self.root / Path(path).expanduser()
        if path.startswith("datasets:") or (is_hub_id(path) and not here.exists()):
            return path
        return str(here)


def load_suite(path: str | Path, root: str | Path | None = None) -> Loaded:
    """Return the suite in a YAML file; relative paths start from its 'root', or from `root` where one is given.

    Raises:
        RecipeError: the file is not there, or is no suite, or its control is none of its tasks.
    """
    path = Path(path)
    suite = validate(extended(_read(path), path, _read))
    if suite.control is not None and suite.control not in suite.tasks:
        known = list(suite.tasks)
        raise RecipeError(
            f"{path}: 'control' names '{suite.control}', which is no task.{suggest(suite.control, known)}"
        )
    return Loaded(suite, path, Path(os.path.normpath(root or path.parent / Path(suite.root).expanduser())))


def _read(path: Path) -> Document:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = getattr(exc, "strerror", None) or "it is no text"
        raise RecipeError(f"{path} cannot be read as a file of tasks: {reason}.") from exc
    return parse(text, str(path))
