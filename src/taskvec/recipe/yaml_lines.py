"""Read YAML and remember on which line everything stands."""

import re
from dataclasses import dataclass
from typing import Any

import yaml

from ..errors import RecipeError

Path = tuple[str | int, ...]


class Loader(yaml.SafeLoader):
    """YAML 1.2 numbers: 1e-5 is a number, and yes/no/on/off are words."""


FLOAT, BOOL = "tag:yaml.org,2002:float", "tag:yaml.org,2002:bool"
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (FLOAT, BOOL)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    FLOAT,
    re.compile(r"^[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+0123456789."),
)
Loader.add_implicit_resolver(BOOL, re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


@dataclass(frozen=True)
class Document:
    """A parsed document, its name, and the line of every key and item."""

    data: Any
    name: str
    lines: dict[Path, int]

    def at(self, path: Path) -> str:
        """Return `file:line` of the nearest thing that stands somewhere."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.name}:{self.lines.get(path, 1)}"


def parse(text: str, name: str) -> Document:
    """Read one YAML document.

    Raises:
        RecipeError: not YAML, several documents, or a key given twice; with file and line.
    """
    documents = parse_all(text, name)
    if len(documents) > 1:
        line = documents[1].lines[()]
        raise RecipeError(f"{name}:{line}: expected one document, got {len(documents)}. Remove what follows '---'.")
    return documents[0]


def parse_all(text: str, name: str) -> list[Document]:
    """Read all documents of a YAML file; empty ones are left out.

    Raises:
        RecipeError: not YAML, no document, or a key given twice; with file and line.
    """
    loader = None
    documents = []
    try:
        loader = Loader(text)
        while loader.check_node():
            node = loader.get_node()
            lines: dict[Path, int] = {}
            assert node is not None, "check_node said there is one"
            _walk(node, (), lines, name)
            data = loader.construct_document(node)
            documents += [] if data is None else [Document(data, name, lines)]
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 1
        if text.splitlines()[line - 1 : line] and text.splitlines()[line - 1].startswith("```"):
            raise RecipeError(
                f"{name}:{line}: '```' is a fence of Markdown, and no YAML. Remove this line and the other fence."
            ) from exc
        raise RecipeError(f"{name}:{line}: not valid YAML: {exc.problem or exc.context}.") from exc
    except (yaml.YAMLError, RecursionError) as exc:
        raise RecipeError(f"{name}: not valid YAML: {exc}.") from exc
    finally:
        if loader:
            loader.dispose()
    if not documents:
        raise RecipeError(f"{name}:1: the recipe is empty. Type e.g. 'method: ties', 'base: …' and 'models: …'.")
    return documents


def _walk(node: yaml.Node, path: Path, lines: dict[Path, int], name: str) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise RecipeError(f"{name}:{key.start_mark.line + 1}: a key must be a word, got a list or a mapping.")
            inner = (*path, key.value)
            if inner in lines:
                raise RecipeError(
                    f"{name}:{key.start_mark.line + 1}: '{key.value}' is given twice, first on line {lines[inner]}."
                )
            lines[inner] = key.start_mark.line + 1
            _walk(value, inner, lines, name)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            lines[(*path, i)] = item.start_mark.line + 1
            _walk(item, (*path, i), lines, name)
