"""Where a recipe was typed. Its file is read once more where a message needs the words that stand there."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as File
from typing import Any

from ..errors import RecipeError
from .yaml_lines import Document, Path, parse_all


@dataclass(frozen=True)
class Origin:
    """The file a recipe came from; '' where it was made in Python. It is no part of what the recipe says."""

    file: str = field(default="", compare=False)

    @property
    def folder(self) -> File:
        """The folder of the file."""
        return File(self.file).parent

    @property
    def is_mergekit(self) -> bool:
        """Whether the file is in mergekit's form."""
        return any(isinstance(d.data, dict) and "merge_method" in d.data for d in self._documents())

    def find(self, key: str, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield `file:line` of each place where a key has that value, and the mapping it stands in."""
        for document in self._documents():
            for path, mapping in _mappings(document.data, ()):
                if mapping.get(key) == value:
                    yield document.at((*path, key)), mapping

    def _documents(self) -> list[Document]:
        try:
            return parse_all(File(self.file).read_text("utf-8"), self.file)
        except (OSError, ValueError, RecipeError):
            return []  # gone or changed since: the message goes without


def _mappings(data: Any, path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    if isinstance(data, dict):
        yield path, data
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from _mappings(value, (*path, key))
