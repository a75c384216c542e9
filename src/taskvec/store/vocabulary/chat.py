"""Chat templates: which one a result gets, and into which files it goes."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...errors import RecipeError
from .tokens import as_text, read_json

BUILT_IN = {path.stem: path for path in sorted((Path(__file__).parent / "chat_templates").glob("*.jinja"))}
LEAST = 20
"""Characters of the shortest text that may be a template itself."""


def choose_template(asked: str, folders: Iterable[Path | None]) -> str | None:
    """Return a template: by name, the most common of the folders' (`auto`), or the text itself; None if none has one.

    Raises:
        RecipeError: neither a known name nor a template.
    """
    if asked == "auto":
        found = [template.strip() for folder in folders if (template := template_of(folder))]
        return Counter(found).most_common(1)[0][0] if found else None
    if asked in BUILT_IN:
        return BUILT_IN[asked].read_text("utf-8")
    if len(asked) < LEAST or "{" not in asked:
        raise RecipeError(
            f"'chat_template: {asked}' is neither the text of a template nor the name of one. "
            f"Known: auto, {', '.join(BUILT_IN)}."
        )
    return asked


def template_of(folder: Path | None) -> str | None:
    """Return the template that a folder's tokenizer would use, or None."""
    if folder is None:
        return None
    if (path := folder / "chat_template.jinja").is_file():
        return path.read_text("utf-8")
    for name in ("tokenizer_config.json", "chat_template.json"):
        template = read_json(folder / name).get("chat_template") if (folder / name).is_file() else None
        if isinstance(template, list):
            template = {entry["name"]: entry["template"] for entry in template}.get("default")
        if isinstance(template, str) and template:
            return template
    return None


def write_template(template: str, folder: Path) -> list[str]:
    """Write a template as the folder's only default one; return the files."""
    (folder / "chat_template.jinja").write_text(template, "utf-8")
    written = ["chat_template.jinja"]
    for name in ("tokenizer_config.json", "chat_template.json"):
        path = folder / name
        data: dict[str, Any] = read_json(path) if path.is_file() else {}
        if "chat_template" in data:
            path.write_text(as_text({**data, "chat_template": template}), "utf-8")
            written.append(name)
    return written
